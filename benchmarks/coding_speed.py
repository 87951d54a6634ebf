"""Encoding and decoding speed of a predicted frame against CompressAI's ssf2020, in one run; of an
intra frame; memory of 1080p.

Both code the same real clip, networks and entropy coding and warping included; medians of several
runs, interleaved.

    python benchmarks/coding_speed.py [--codec corvid_s] [--checkpoint RUN] [--size 1280x720]
        [--repeats 5] [--json FILE]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from compressai.zoo import ssf2020
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from parts.figures import report
from torch import Tensor
from torch.nn import functional as F

from codec.checkpoint import build_codec, load_codec, save_checkpoint
from codec.entropy.coding.symbol_coder import SymbolCounter, SymbolEncoder
from codec.evaluation.complexity.profiler import measure_complexity, total
from codec.freeze import freeze
from codec.stream import compress, decompress
from codec.video import VideoCodec
from common.resources import keep_freed_memory
from data.io.source_clip import read_source
from data.sources.discovery import find_videos

CONF = Path(__file__).parents[1] / "conf"
FULL_HD = (1080, 1920)
PEER_MULTIPLE = 128  # ssf2020 codes frames of whole 128s


def main() -> None:
    """Measure, print, and write JSON where wanted."""
    choice = arguments()
    keep_freed_memory()  # for both, as `corvid` does
    width, height = map(int, choice.size.split("x"))
    source = read_source(find_videos(choice.clip)[0], choice.frames)
    frames = resized(source.rgb, (height, width))
    print(
        f"{source.name}: {len(frames)} frames of {choice.size}, quality {choice.quality}, "
        f"{torch.get_num_threads()} threads"
    )
    ours, peer = our_codec(choice.codec, choice.checkpoint), ssf2020(4).eval()
    peer.update(force=True)
    frozen = freeze(ours)
    runs = [
        measure_ours(frozen, frames, choice.quality) + measure_peer(peer, frames)
        for _ in range(choice.repeats + 1)
    ][1:]
    medians = [statistics.median(run[i] for run in runs) for i in range(6)]
    encode, decode, intra_encode, intra_decode, peer_encode, peer_decode = medians
    print(f"encode: {1000 * encode:.0f} ms, ssf2020 {1000 * peer_encode:.0f} ms")
    print(f"decode: {1000 * decode:.0f} ms, ssf2020 {1000 * peer_decode:.0f} ms")
    name, size = choice.codec, f"{height}p"
    coded, peer_coded = our_symbols(ours, frames, choice.quality), peer_symbols(peer, frames)
    print(f"symbols a predicted frame: {coded:.0f} coded, ssf2020 {peer_coded:.0f}")
    complexity = measure_complexity(ours, frames[:3, :, :256, :256], choice.quality, repeats=0)
    report(
        {
            f"{name}_decode_speedup_{size}": round(peer_decode / decode, 2),
            f"{name}_encode_speedup_{size}": round(peer_encode / encode, 2),
            f"{name}_decode_fps_{size}": round(1 / decode, 2),
            f"{name}_encode_fps_{size}": round(1 / encode, 2),
            f"{name}_intra_encode_ms_{size}": round(1000 * intra_encode),
            f"{name}_intra_decode_ms_{size}": round(1000 * intra_decode),
            f"{name}_decoder_kmac_per_pixel": round(
                total(complexity.predicted.decoding).kmac_per_pixel, 2
            ),
            "coded_symbols_per_frame": round(coded),
            "ssf2020_symbols_per_frame": round(peer_coded),
            f"{name}_decode_1080p_peak_mb": round(
                peak_memory(ours, resized(frames[:4], FULL_HD), choice.quality)
            ),
        },
        choice.json,
    )


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--codec", default="corvid_s", help="a choice of conf/codec, as it starts")
    parser.add_argument(
        "--checkpoint", default=None, help="a trained one of this codec: file or run folder"
    )
    parser.add_argument("--clip", default="sample:bigbuckbunny")
    parser.add_argument("--size", default="1280x720")
    parser.add_argument(
        "--frames", type=int, default=5, help="frames coded; the first, intra, is not counted"
    )
    parser.add_argument("--quality", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    if choice.frames < 3:
        parser.error(f"--frames: {choice.frames} given; at least 3")
    return choice


def our_codec(name: str, checkpoint: str | None = None) -> VideoCodec:
    """The codec of a checkpoint, or of `conf/codec/<name>.yaml` as it starts."""
    if checkpoint:
        return load_codec(checkpoint)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=[f"codec={name}", "name=benchmark"])
    return build_codec(OmegaConf.to_container(config.codec, resolve=True)).eval()


def resized(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 frames scaled to `(H, W)`; as they are where that is their size."""
    if tuple(frames.shape[-2:]) == size:
        return frames
    return (
        F.interpolate(frames.float(), size, mode="bicubic", antialias=True)
        .round()
        .clamp(0, 255)
        .to(torch.uint8)
    )


@torch.inference_mode()
def measure_ours(codec: VideoCodec, frames: Tensor, quality: int) -> tuple[float, ...]:
    """Seconds to encode and to decode one predicted frame, all frames less the first alone, evenly
    shared; and the same of an intra frame: all frames intra less the first alone.

    `codec` is frozen: what is made once for all frames of a process is no part of a frame.
    """
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.cvd"
        for part, intra_period in ((frames[:1], 1), (frames, -1), (frames, 1)):
            written = compress(codec, part, 30, quality, file, intra_period)
            seconds.append((written.seconds, decompress(file, codec).seconds))
    first, predicted, intra = seconds
    return tuple(
        (whole - alone) / (len(frames) - 1)
        for some in (predicted, intra)
        for whole, alone in zip(some, first, strict=True)
    )


@torch.inference_mode()
def measure_peer(model: torch.nn.Module, frames: Tensor) -> tuple[float, float]:
    """The same for CompressAI's model, by its own calls for predicted frames."""
    pictures = peer_pictures(frames)
    reference, _ = model.encode_keyframe(pictures[0])
    encode = decode = 0.0
    for picture in pictures[1:]:
        start = time.perf_counter()
        _, strings = model.encode_inter(picture, reference)
        middle = time.perf_counter()
        reference = model.decode_inter(reference, strings["strings"], strings["shape"])
        encode, decode = encode + middle - start, decode + time.perf_counter() - middle
    return encode / (len(pictures) - 1), decode / (len(pictures) - 1)


def peer_pictures(frames: Tensor) -> list[Tensor]:
    """Padded as CompressAI's model needs them, `(1, 3, H, W)` in 0..1 each."""
    padding = (0, -frames.shape[-1] % PEER_MULTIPLE, 0, -frames.shape[-2] % PEER_MULTIPLE)
    return list(F.pad(frames.float() / 255, padding, mode="replicate")[:, None])


@torch.inference_mode()
def our_symbols(codec: VideoCodec, frames: Tensor, quality: int) -> float:
    """Symbols that the entropy coder codes in a predicted frame, on average."""
    codec, references, counts = freeze(codec), None, []
    for frame in frames[:, None].float() / 255:
        symbol_coder = SymbolCounter(SymbolEncoder())
        coded = codec.code_frame(
            frame, references, frame.shape[-2:], torch.tensor([quality]), symbol_coder
        )
        references = coded.references
        counts.append(sum(symbol_coder.coded.values()))
    return statistics.mean(counts[1:])


@torch.inference_mode()
def peer_symbols(model: torch.nn.Module, frames: Tensor) -> int:
    """Symbols of a predicted frame: CompressAI's model codes every value of its four latents."""
    first, second = peer_pictures(frames)[:2]
    reference, _ = model.forward_keyframe(first)
    _, likelihoods = model.forward_inter(second, reference)
    return sum(values.numel() for part in likelihoods.values() for values in part.values())


def peak_memory(codec: VideoCodec, frames: Tensor, quality: int) -> float:
    """Resident MiB, at the most, of a process that does nothing but `corvid decompress`."""
    with tempfile.TemporaryDirectory() as folder:
        file, checkpoint = Path(folder) / "a.cvd", Path(folder) / "a.ckpt"
        save_checkpoint(checkpoint, codec)
        compress(codec, frames, 30, quality, file)
        command = [
            "decompress",
            str(file),
            str(Path(folder) / "a.npy"),
            "--checkpoint",
            str(checkpoint),
        ]
        done = subprocess.run(
            [sys.executable, "-c", _DECOMPRESS, *command],
            check=True,
            capture_output=True,
            text=True,
        )
    return int(done.stdout.split()[-2]) / 1024


# The peak of the process itself: getrusage would count what its parent held when it was forked.
_DECOMPRESS = """
import sys
from codec.cli import main
main(sys.argv[1:])
print(*[line for line in open("/proc/self/status") if line.startswith("VmHWM")])
"""


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
