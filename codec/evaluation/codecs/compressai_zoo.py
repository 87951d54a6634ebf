"""CompressAI's zoo as codecs to evaluate: real files, decoded in another process.

Models take weights from a local file, a folder or the torch hub's cache; nothing is fetched. Files
are as CompressAI's own evaluation writes them.
"""

import functools
import importlib.metadata
import struct
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from compressai.ops import compute_padding
from compressai.zoo import image as zoo_image
from compressai.zoo import load_state_dict
from compressai.zoo import video as zoo_video
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from codec.anchors.coder import CodedResult, Decoded
from codec.errors import CodecError
from codec.evaluation.codecs.isolated_decoder import process, stamp
from codec.video import is_intra
from common.files import sha256_of
from data.io.source_clip import SourceClip

ROUNDING = 1  # levels by which two processes may differ
VIDEO = "ssf2020"
INSIDE = (
    "state_dict",
    "network",
    "model_state_dict",
)  # of checkpoints, as CompressAI's evaluation reads them
HEADER = struct.Struct(">IIBIiB")  # height, width, bit depth, frames, intra period, quality
WHOLE = 128  # sides are padded to multiples: ssf2020 needs 2 ** (4 + 3), image models 64
PARTS = ("motion", "residual")  # of a predicted frame

Body = tuple[Sequence[Sequence[bytes]], tuple[int, int]]


@dataclass(frozen=True)
class ZooCodec:
    """A model of CompressAI's zoo at each of its qualities: `ssf2020`, or an image model, which
    codes every frame as intra.

    Args:
        model: the zoo's name, such as `ssf2020` or `bmshj2018-hyperprior`.
        name: what tables call it.
        metric: what it was trained for, `mse` or `ms-ssim`.
        qualities: the zoo's, all by default.
        weights: a folder that holds the zoo's files, or a file by quality; without it the torch
            hub's cache is looked into.
        intra_period: frames from one intra frame to the next; -1: only the first is intra. Image
            models have 1.
        device: where networks run, in both processes.
    """

    model: str = VIDEO
    name: str = ""
    metric: str = "mse"
    qualities: Sequence[int] = ()
    weights: str | Mapping[Any, str] | None = None
    intra_period: int = -1
    device: str = "cpu"
    tunes: Sequence[str | None] = field(default=(None,))

    def __post_init__(self) -> None:
        there = qualities_of(self.model, self.metric)
        wrong = [quality for quality in self.qualities if quality not in there]
        if wrong:
            raise CodecError(
                f"{self.model}: qualities {wrong}; CompressAI's zoo has {there[0]} to {there[-1]}"
            )
        object.__setattr__(self, "name", self.name or f"{self.model}_{self.metric}")
        object.__setattr__(self, "qualities", tuple(dict.fromkeys(self.qualities)) or there)
        if self.model != VIDEO:
            object.__setattr__(self, "intra_period", 1)

    def file(self, quality: int) -> Path:
        """Where the weights of a quality are; CodecError says how to get them."""
        return weights_file(self.model, self.metric, quality, self.weights)

    def settings(self) -> dict[str, Any]:
        """Which weights, and how they were run."""
        return {
            "compressai": importlib.metadata.version("compressai"),
            "model": f"{self.model}, trained for {self.metric}",
            "weights": {str(quality): sha256_of(self.file(quality)) for quality in self.qualities},
            "intra_period": self.intra_period,
            "input": "RGB, padded with 0 to multiples of 128 as CompressAI's evaluation does",
            "device": self.device,
            "decoded": "in another process, from the file",
        }

    def code(self, source: SourceClip, quality: int, tune: str | None, folder: Path) -> CodedResult:
        """Compress in this process, decompress in another.

        Raises:
            CodecError: there are no weights, or the decoder's frames are not the encoder's
                reconstruction.
        """
        weights = self.file(quality)
        model = model_on(self.model, str(weights), self.device)
        file = folder / f"{source.name}_q{quality}.bin"
        started = time.perf_counter()
        reconstructed, frame_bytes = encode_file(
            model, source.rgb, file, self.intra_period, quality, self.device
        )
        encoded = time.perf_counter() - started
        decoded, seconds = decode_elsewhere(file, self.model, str(weights), self.device)
        if (decoded.int() - reconstructed.int()).abs().max() > ROUNDING:
            what = "decodes to other frames than the encoder reconstructed"
            raise CodecError(
                f"{file}: {what}; its entropy coding depends on float rounding, use device=cpu and "
                "1 thread"
            )
        return CodedResult(
            file, file.stat().st_size, decoded, encoded, seconds, frame_bytes=frame_bytes
        )

    def decode(self, file: Path, source: SourceClip) -> Decoded:
        """The frames of a file that `code` wrote, from another process."""
        decoded, _ = decode_elsewhere(
            file, self.model, str(self.file(quality_in(file))), self.device
        )
        if decoded.shape != source.rgb.shape:
            raise CodecError(
                f"{file}: {tuple(decoded.shape)} frames, {source.name} has "
                f"{tuple(source.rgb.shape)}; code it again"
            )
        return Decoded(decoded)

    def complexity(self, source: SourceClip) -> dict[str, Any]:
        """What coding `source` costs at the middle quality: operations of its last frame, counted,
        and seconds.
        """
        quality = sorted(self.qualities)[len(self.qualities) // 2]
        model = model_on(self.model, str(self.file(quality)), self.device)
        encode, decode = operations(
            model, source.rgb[-2:] if self.intra_period != 1 else source.rgb[-1:], self.device
        )
        with tempfile.TemporaryDirectory() as folder:
            made = self.code(source, quality, None, Path(folder))
        pixels = source.width * source.height
        return {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "encode_kmac": encode / pixels / 1000,
            "decode_kmac": decode / pixels / 1000,
            "encode_fps": source.frames / made.encode_seconds,
            "decode_fps": source.frames / made.decode_seconds,
            "encode_memory_mb": None,
            "decode_memory_mb": None,
            "threads": torch.get_num_threads(),
            "size": f"{source.width}x{source.height}",
            "frames": source.frames,
            "quality": quality,
        }


def model_on(model: str, weights: str, device: str) -> nn.Module:
    """A model, kept until another is asked for, or its file is another one."""
    return _loaded(model, weights, device, stamp(Path(weights)))


@functools.lru_cache(maxsize=1)
def _loaded(model: str, weights: str, device: str, stamped: tuple[int, int, int]) -> nn.Module:
    return load_model(model, Path(weights), device)


def decode_elsewhere(file: Path, model: str, weights: str, device: str) -> tuple[Tensor, float]:
    """Frames and seconds of decoding in the spawned process, which knows the file and the weights
    only.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "frames.npy"
        try:
            seconds = (
                process()
                .submit(
                    decode_zoo_to, answer, file, model, weights, device, torch.get_num_threads()
                )
                .result()
            )
        except BrokenProcessPool as error:
            process.cache_clear()
            raise CodecError(
                f"{file}: the decoding process died ({error}); is there memory enough?"
            ) from error
        return torch.from_numpy(np.load(answer)), seconds


def decode_zoo_to(
    answer: Path, file: Path, model: str, weights: str, device: str, threads: int
) -> float:
    """In the other process: decode `file`, leave the frames in `answer`, return the seconds."""
    torch.set_num_threads(threads)
    network = model_on(model, weights, device)
    started = time.perf_counter()
    frames = decode_file(network, file)
    seconds = time.perf_counter() - started
    np.save(answer, frames.numpy())
    return seconds


def qualities_of(model: str, metric: str) -> tuple[int, ...]:
    """The qualities that the zoo has of a model.

    Raises:
        CodecError: it has no such model, or not for this metric.
    """
    urls = zoo_video.model_urls | zoo_image.model_urls
    if metric not in urls.get(model, {}):
        known = ", ".join(f"{name} ({' or '.join(metrics)})" for name, metrics in urls.items())
        raise CodecError(
            f"model {model!r} for {metric!r}: not in CompressAI's zoo; choose from {known}"
        )
    return tuple(urls[model][metric])


def weights_file(
    model: str, metric: str, quality: int, weights: str | Path | Mapping[Any, str] | None
) -> Path:
    """Where the weights of a model are.

    Args:
        weights: a file by quality, or a folder that holds the zoo's files; without it the torch
            hub's cache is that folder.

    Raises:
        CodecError: there are none; the message says how to get them.
    """
    url = (zoo_video.model_urls | zoo_image.model_urls)[model][metric][quality]
    if isinstance(weights, Mapping):
        named = weights.get(quality, weights.get(str(quality)))
        if named is None:
            raise CodecError(
                f"{model}: no weights for quality {quality}; give weights.{quality}=FILE or leave "
                "the quality out"
            )
        file = Path(named)
    else:
        folder = Path(weights) if weights else Path(torch.hub.get_dir()) / "checkpoints"
        file = folder / url.rsplit("/", 1)[1]
    if not file.is_file():
        where = file if weights else f"{file.name} is not in the torch hub's cache"
        raise CodecError(
            f"{model}: no weights of quality {quality} ({where}); fetch {url} and give "
            "weights=FOLDER that holds it"
        )
    return file


def load_model(model: str, file: Path, device: str = "cpu") -> nn.Module:
    """A model of the zoo in evaluation mode, with its CDF tables.

    Raises:
        CodecError: the file is no state dict of this model.
    """
    kind = (zoo_video.model_architectures | zoo_image.model_architectures)[model]
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        inner = next((content[name] for name in INSIDE if name in content), content)
        built = kind.from_state_dict(load_state_dict(inner))
    except Exception as error:  # torch and compressai raise whatever they like on foreign files
        said = str(error).splitlines()[0]
        raise CodecError(
            f"{file}: no weights of CompressAI's {model} ({said}); give the zoo's file of this "
            "model"
        ) from error
    built.update()
    return built.eval().to(device)


@torch.inference_mode()
def encode_file(
    model: nn.Module, frames: Tensor, file: Path, intra_period: int, quality: int, device: str
) -> tuple[Tensor, list[int]]:
    """Code frames with real bits.

    Args:
        frames: `(T, 3, H, W)` uint8 RGB.
        intra_period: as `is_intra` has it; 1 for image models, which code nothing else.
        quality: for the header: which model decodes the file.

    Returns:
        The encoder's reconstruction, `(T, 3, H, W)` uint8, and the bytes of each frame.
    """
    height, width = frames.shape[-2:]
    padding, crop = compute_padding(height, width, min_div=WHOLE)
    reconstructed: list[Tensor] = []
    sizes: list[int] = []
    before = frames.new_zeros(0)  # nothing: the first frame is intra
    with file.open("wb") as out:
        out.write(HEADER.pack(height, width, 8, len(frames), intra_period, quality))
        for time, frame in enumerate(frames):
            padded = F.pad(frame[None].to(device) / 255, padding)
            intra = is_intra(time, intra_period)
            before, bodies = (
                encode_intra(model, padded) if intra else encode_predicted(model, padded, before)
            )
            before = before.clamp(0, 1)
            sizes.append(sum(write_body(out, *body) for body in bodies))
            reconstructed.append(to_pixels(F.pad(before, crop)))
    return torch.cat(reconstructed), sizes


@torch.inference_mode()
def decode_file(model: nn.Module, file: Path) -> Tensor:
    """Decode a file of `encode_file` into `(T, 3, H, W)` uint8.

    Raises:
        CodecError: the file ends too early, or has more than its header says.
    """
    with file.open("rb") as source:
        height, width, _, count, intra_period, _ = HEADER.unpack(take(source, HEADER.size))
        crop = compute_padding(height, width, min_div=WHOLE)[1]
        frames: list[Tensor] = []
        before = torch.empty(0)  # nothing: the first frame is intra
        for time in range(count):
            if is_intra(time, intra_period):
                before = decode_intra(model, read_body(source))
            else:
                before = decode_predicted(model, [read_body(source) for _ in PARTS], before)
            before = before.clamp(0, 1)
            frames.append(to_pixels(F.pad(before, crop)))
        if source.read(1):
            raise CodecError(f"{file}: goes on behind its {count} frames; encode it again")
    return torch.cat(frames)


def quality_in(file: Path) -> int:
    """The quality that a file of `encode_file` was coded at."""
    with file.open("rb") as source:
        return HEADER.unpack(take(source, HEADER.size))[-1]


def encode_intra(model: Any, frame: Tensor) -> tuple[Tensor, list[Body]]:
    """A frame by itself: its reconstruction and its body."""
    if hasattr(model, "encode_keyframe"):
        decoded, coded = model.encode_keyframe(frame)
        return decoded, [(coded["strings"], coded["shape"])]
    coded = model.compress(frame)
    return model.decompress(coded["strings"], coded["shape"])["x_hat"], [
        (coded["strings"], coded["shape"])
    ]


def encode_predicted(model: Any, frame: Tensor, before: Tensor) -> tuple[Tensor, list[Body]]:
    """A frame from the one before: its reconstruction, and the bodies of motion and residual."""
    decoded, coded = model.encode_inter(frame, before)
    return decoded, [(coded["strings"][name], coded["shape"][name]) for name in PARTS]


def decode_predicted(model: Any, bodies: Sequence[Body], before: Tensor) -> Tensor:
    """A frame from the one before, out of the bodies of motion and residual."""
    parts = dict(zip(PARTS, bodies, strict=True))
    strings, shapes = ({name: body[i] for name, body in parts.items()} for i in (0, 1))
    return model.decode_inter(before, strings, shapes)


def decode_intra(model: Any, body: Body) -> Tensor:
    """A frame by itself."""
    if hasattr(model, "decode_keyframe"):
        return model.decode_keyframe(*body)
    return model.decompress(*body)["x_hat"]


@torch.inference_mode()
def operations(model: nn.Module, frames: Tensor, device: str) -> tuple[float, float]:
    """Multiply-accumulates of encoding and of decoding the last of one or two frames, padding
    included.

    Args:
        frames: `(1 or 2, 3, H, W)` uint8; of two, the last is predicted from the first.
    """
    padding, _ = compute_padding(*frames.shape[-2:], min_div=WHOLE)
    padded = [F.pad(frame[None].to(device) / 255, padding) for frame in frames]
    before = encode_intra(model, padded[0])[0].clamp(0, 1) if len(padded) > 1 else None
    with FlopCounterMode(display=False) as encoding:
        _, bodies = (
            encode_intra(model, padded[0])
            if before is None
            else encode_predicted(model, padded[1], before)
        )
    with FlopCounterMode(display=False) as decoding:
        if before is None:
            decode_intra(model, bodies[0])
        else:
            decode_predicted(model, bodies, before)
    return encoding.get_total_flops() / 2, decoding.get_total_flops() / 2


def to_pixels(frame: Tensor) -> Tensor:
    """uint8 of a frame in 0..1."""
    return (frame * 255).round().to(torch.uint8).cpu()


def write_body(out: BinaryIO, strings: Sequence[Sequence[bytes]], shape: Sequence[int]) -> int:
    """Shape, number of strings, and each with its length; returns the bytes."""
    parts = [struct.pack(">III", shape[0], shape[1], len(strings))]
    parts += [struct.pack(">I", len(one[0])) + one[0] for one in strings]
    return out.write(b"".join(parts))


def read_body(source: BinaryIO) -> Body:
    """What `write_body` wrote."""
    high, wide, count = struct.unpack(">III", take(source, 12))
    return [[take(source, struct.unpack(">I", take(source, 4))[0])] for _ in range(count)], (
        high,
        wide,
    )


def take(source: BinaryIO, count: int) -> bytes:
    """Exactly so many bytes."""
    found = source.read(count)
    if len(found) != count:
        raise CodecError(
            f"{source.name}: ends after {source.tell()} bytes, {count - len(found)} more expected; "
            "encode it again"
        )
    return found
