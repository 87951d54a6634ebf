"""Files of CompressAI's models as CompressAI's own evaluation writes them, and their decoding."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from compressai.ops import compute_padding
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from codec.errors import CodecError
from codec.video import is_intra

HEADER = struct.Struct(">IIBIiB")  # height, width, bit depth, frames, intra period, quality
WHOLE = 128  # sides are padded to multiples: ssf2020 needs 2 ** (4 + 3), image models 64
PARTS = ("motion", "residual")  # of a predicted frame

Body = tuple[Sequence[Sequence[bytes]], tuple[int, int]]


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
    reconstructed, sizes, before = [], [], None
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
        frames, before = [], None
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


def encode_intra(model: nn.Module, frame: Tensor) -> tuple[Tensor, list[Body]]:
    """A frame by itself: its reconstruction and its body."""
    if hasattr(model, "encode_keyframe"):
        decoded, coded = model.encode_keyframe(frame)
        return decoded, [(coded["strings"], coded["shape"])]
    coded = model.compress(frame)
    return model.decompress(coded["strings"], coded["shape"])["x_hat"], [
        (coded["strings"], coded["shape"])
    ]


def encode_predicted(model: nn.Module, frame: Tensor, before: Tensor) -> tuple[Tensor, list[Body]]:
    """A frame from the one before: its reconstruction, and the bodies of motion and residual."""
    decoded, coded = model.encode_inter(frame, before)
    return decoded, [(coded["strings"][name], coded["shape"][name]) for name in PARTS]


def decode_predicted(model: nn.Module, bodies: Sequence[Body], before: Tensor) -> Tensor:
    """A frame from the one before, out of the bodies of motion and residual."""
    parts = dict(zip(PARTS, bodies, strict=True))
    strings, shapes = ({name: body[i] for name, body in parts.items()} for i in (0, 1))
    return model.decode_inter(before, strings, shapes)


def decode_intra(model: nn.Module, body: Body) -> Tensor:
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
