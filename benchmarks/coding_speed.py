"""Encoding and decoding speed of a predicted frame against CompressAI's ssf2020, both untrained, in one run.

Both code the same real clip, networks and entropy coding and warping included; medians of several runs, interleaved.

    python benchmarks/coding_speed.py [--codec demo] [--frames 4] [--repeats 5] [--json FILE]
"""

import argparse
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import torch
from compressai.zoo import ssf2020
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from codec.stream import compress, decompress
from codec.video import VideoCodec
from data.files import find_videos
from data.source import read_source

CONF = Path(__file__).parents[1] / "conf"
QUALITY = 32


def main() -> None:
    """Measure, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--codec", default="demo", help="a choice of conf/codec")
    parser.add_argument("--clip", default="sample:city")
    parser.add_argument("--frames", type=int, default=4, help="frames coded; the first, intra, is not counted")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    source = read_source(find_videos(choice.clip)[0], choice.frames)
    frames = source.rgb[:, :, : source.height // 128 * 128, : source.width // 128 * 128]
    print(f"{source.name}: {choice.frames} frames of {frames.shape[-1]}×{frames.shape[-2]}, {torch.get_num_threads()} threads")
    ours, peer = our_codec(choice.codec), ssf2020(4).eval()
    peer.update(force=True)
    runs = [measure_ours(ours, frames) + measure_peer(peer, frames) for _ in range(choice.repeats + 1)][1:]
    encode, decode, peer_encode, peer_decode = (statistics.median(run[i] for run in runs) for i in range(4))
    report(
        {
            "encode_speedup": round(peer_encode / encode, 2),
            "decode_speedup": round(peer_decode / decode, 2),
            "encode_fps": round(1 / encode, 2),
            "decode_fps": round(1 / decode, 2),
        },
        choice.json,
    )


def our_codec(name: str) -> VideoCodec:
    """The codec of `conf/codec/<name>.yaml`, as it starts."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=[f"codec={name}", "name=benchmark"])
    return instantiate(OmegaConf.to_container(config.codec, resolve=True)).eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def measure_ours(codec: VideoCodec, frames: Tensor) -> tuple[float, float]:
    """Seconds to encode and to decode one predicted frame: all frames less the first alone, evenly shared."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for part in (frames[:1], frames):
            file = Path(folder) / "a.cvd"
            written = compress(codec, part, 30, QUALITY, file)
            seconds.append((written.seconds, decompress(file, codec).seconds))
    return tuple((whole - first) / (len(frames) - 1) for first, whole in zip(*seconds, strict=True))


@torch.inference_mode()
def measure_peer(model: torch.nn.Module, frames: Tensor) -> tuple[float, float]:
    """The same for CompressAI's model, by its own calls for predicted frames."""
    pictures = [frame[None].float() / 255 for frame in frames]
    reference, _ = model.encode_keyframe(pictures[0])
    encode = decode = 0.0
    for picture in pictures[1:]:
        start = time.perf_counter()
        _, strings = model.encode_inter(picture, reference)
        middle = time.perf_counter()
        reference = model.decode_inter(reference, strings["strings"], strings["shape"])
        encode, decode = encode + middle - start, decode + time.perf_counter() - middle
    return encode / (len(pictures) - 1), decode / (len(pictures) - 1)


def report(figures: dict[str, float], file: Path | None) -> None:
    """One line a figure, and the same as JSON."""
    for name, value in figures.items():
        print(f"{name}: {value}")
    if file:
        file.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
