"""Colour: which matrix and range a source has, and 4:2:0 planes to RGB in exact integers."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # Kr, Kb
TAGS = {1: "bt709", 5: "bt601", 6: "bt601"}  # ITU-T H.273 MatrixCoefficients
RGB, UNSPECIFIED = 0, 2
FULL_RANGE = 2  # ffmpeg's AVCOL_RANGE_JPEG
BITS = 16


@dataclass(frozen=True)
class Colour:
    """Matrix "bt601" or "bt709", range, and whether the file was "tagged" or the matrix "guessed" from the height."""

    matrix: str
    full_range: bool
    origin: str


def colour_of(name: str, pixel_format: str, matrix: int, colour_range: int, height: int) -> Colour:
    """The colour of a stream from its tags; an untagged one is BT.709 from 720 lines up, else BT.601, limited range.

    Args:
        name: the file, for the error.
        pixel_format: ffmpeg's name; "yuvj..." is full range.
        matrix: H.273 MatrixCoefficients. RGB sources (0) need none: they get the guess, as their label if coded as YUV.
        colour_range: ffmpeg's AVColorRange: 2 is full, 0 and 1 are limited.
        height: lines of the picture.

    Raises:
        ValueError: the stream is tagged with another matrix (BT.2020, for instance).
    """
    full = colour_range == FULL_RANGE or pixel_format.startswith("yuvj")
    if matrix in TAGS:
        return Colour(TAGS[matrix], full, "tagged")
    if matrix not in (RGB, UNSPECIFIED):
        raise ValueError(f"{name}: colour matrix {matrix} (H.273) is neither BT.601 nor BT.709; convert the video")
    return Colour("bt709" if height >= 720 else "bt601", full, "guessed")


def planes_to_rgb(y: Tensor, u: Tensor, v: Tensor, colour: Colour) -> Tensor:
    """4:2:0 planes to RGB: chroma bilinear at MPEG-2's siting (left column, between two lines), borders repeated.

    Integer arithmetic with 16 fractional bits, rounded once: the same answer everywhere. Numpy on the CPU, since
    torch's threads gain nothing here and wait for each other when the machine is busy.

    Args:
        y: uint8 `(T, H, W)` on the CPU.
        u, v: uint8 `(T, ceil(H/2), ceil(W/2))`.
        colour: matrix and range of the planes.

    Returns:
        uint8 `(T, 3, H, W)`, clamped to 0..255.

    Raises:
        ValueError: the planes' sizes do not belong together.

    Source: ITU-T H.273, equations 20-35 (range) and 38-40 (matrix); BT.601 and BT.709.
    """
    frames, height, width = y.shape
    half = (frames, -(-height // 2), -(-width // 2))
    if tuple(u.shape) != half or tuple(v.shape) != half:
        raise ValueError(f"planes_to_rgb: chroma {tuple(u.shape)} and {tuple(v.shape)}, {half} expected")
    rgb = np.empty((frames, 3, height, width), np.uint8)
    for picture, luma, blue, red in zip(rgb, y.numpy(), u.numpy(), v.numpy(), strict=True):
        _convert(luma, _upsampled(blue, height, width), _upsampled(red, height, width), colour, picture)
    return torch.from_numpy(rgb)


def _convert(y: np.ndarray, u: np.ndarray, v: np.ndarray, colour: Colour, out: np.ndarray) -> None:
    """One frame `(H, W)` into `out` `(3, H, W)`; `u` and `v` come eight times too large and centred on zero."""
    kr, kb = WEIGHTS[colour.matrix]
    kg = 1 - kr - kb
    luma_scale, black, chroma_scale = (1.0, 0, 1.0) if colour.full_range else (255 / 219, 16, 255 / 224)
    luma = (y.astype(np.int32) - black) * (8 * _fixed(luma_scale)) + (1 << (BITS + 2))
    red, blue = 2 * (1 - kr) * chroma_scale, 2 * (1 - kb) * chroma_scale
    sums = (
        luma + v * _fixed(red),
        luma - u * _fixed(blue * kb / kg) - v * _fixed(red * kr / kg),
        luma + u * _fixed(blue),
    )
    for channel, total in zip(out, sums, strict=True):
        channel[:] = np.clip(total >> (BITS + 3), 0, 255, out=total)


def _fixed(value: float) -> np.int32:
    return np.int32(round(value * (1 << BITS)))


def _upsampled(chroma: np.ndarray, height: int, width: int) -> np.ndarray:
    """`(h, w)` uint8 to int32 `(height, width)`, eight times (chroma - 128)."""
    c = np.pad(chroma.astype(np.int32) - 128, ((1, 1), (0, 1)), mode="edge")
    wide = np.empty((c.shape[0], 2 * chroma.shape[1]), np.int32)
    wide[:, 0::2] = 2 * c[:, :-1]
    wide[:, 1::2] = c[:, :-1] + c[:, 1:]
    middle = 3 * wide[1:-1]
    full = np.empty((2 * chroma.shape[0], wide.shape[1]), np.int32)
    full[0::2] = middle + wide[:-2]
    full[1::2] = middle + wide[2:]
    return full[:height, :width]
