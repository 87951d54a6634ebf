"""Color: which matrix and range a source has, and planes to RGB in exact integers."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # Kr, Kb
TAGS = {1: "bt709", 5: "bt601", 6: "bt601"}  # ITU-T H.273 MatrixCoefficients
RGB = 0
UNSPECIFIED = 2
FULL_RANGE = 2  # ffmpeg's AVCOL_RANGE_JPEG
BITS = 16
Window = tuple[int, int, int, int]  # top, left, height, width
SAMPLES = {8: np.uint8, 10: np.uint16}


@dataclass(frozen=True)
class ColorSpace:
    """Matrix "bt601" or "bt709", range, and whether the file was "tagged" or the matrix "guessed"
    from the height.
    """

    matrix: str
    full_range: bool
    origin: str


def color_space_of(
    name: str, pixel_format: str, matrix: int, color_range: int, height: int
) -> ColorSpace:
    """The color of a stream from its tags; an untagged one is BT.709 from 720 lines up, else
    BT.601, limited range.

    Args:
        name: the file, for the error.
        pixel_format: ffmpeg's name; "yuvj..." is full range.
        matrix: H.273 MatrixCoefficients. RGB sources (0) need none: they get the guess, as their
            label if coded as YUV.
        color_range: ffmpeg's AVColorRange: 2 is full, 0 and 1 are limited.
        height: lines of the picture.

    Raises:
        ValueError: the stream is tagged with another matrix (BT.2020, for instance).
    """
    full = color_range == FULL_RANGE or pixel_format.startswith("yuvj")
    if matrix in TAGS:
        return ColorSpace(TAGS[matrix], full, "tagged")
    if matrix not in (RGB, UNSPECIFIED):
        raise ValueError(
            f"{name}: color matrix {matrix} (H.273) is neither BT.601 nor BT.709; convert the video"
        )
    return ColorSpace("bt709" if height >= 720 else "bt601", full, "guessed")


def planes_to_rgb(
    y: Tensor,
    u: Tensor,
    v: Tensor,
    color_space: ColorSpace,
    bits: int = 8,
    window: Window | None = None,
) -> Tensor:
    """Planes to RGB; 4:2:0 chroma bilinear at MPEG-2's siting (left column, between two lines),
    borders repeated.

    Integer arithmetic with 16 fractional bits or more, rounded once: the same answer everywhere.

    Args:
        y: `(T, H, W)` on the CPU, uint8, or uint16 for 10 bits.
        u, v: of the same type; `(T, ceil(H/2), ceil(W/2))` for 4:2:0, `(T, H, W)` for 4:4:4.
        color_space: matrix and range of the planes.
        bits: 8 or 10; 10-bit samples are 0..1023.
        window: top, left, height, width to convert; the same pixels as cutting them out of the
            whole.

    Returns:
        uint8 `(T, 3, H, W)` or, of a window, `(T, 3, height, width)`; clamped to 0..255.

    Raises:
        ValueError: the planes' sizes or types do not belong together, or the window leaves the
            picture.

    Source: ITU-T H.273, equations 20-35 (range) and 38-40 (matrix); BT.601 and BT.709.
    """
    planes = [plane.contiguous().numpy() for plane in (y, u, v)]
    height, width = y.shape[1:]
    half = (-(-height // 2), -(-width // 2))
    if (
        u.shape != v.shape
        or u.shape[0] != y.shape[0]
        or tuple(u.shape[1:]) not in (half, (height, width))
    ):
        expected = f"{(y.shape[0], *half)} or {tuple(y.shape)} expected"
        raise ValueError(f"planes_to_rgb: chroma {tuple(u.shape)} and {tuple(v.shape)}, {expected}")
    if bits not in SAMPLES or any(plane.dtype != SAMPLES[bits] for plane in planes):
        raise ValueError(
            f"planes_to_rgb: {bits} bits in {[str(plane.dtype) for plane in planes]}; 8 are uint8, "
            "10 are uint16"
        )
    top, left, high, broad = window or (0, 0, height, width)
    if min(top, left) < 0 or min(high, broad) < 1 or top + high > height or left + broad > width:
        raise ValueError(
            f"planes_to_rgb: window {window} (top, left, height, width) leaves {width}x{height}"
        )
    rgb = np.empty((y.shape[0], 3, high, broad), np.uint8)
    halved = tuple(u.shape[1:]) == half and half != (height, width)
    for out, *picture in zip(rgb, *planes, strict=True):
        frame_to_rgb(
            picture,
            half=half if halved else None,
            color_space=color_space,
            bits=bits,
            window=(top, left, high, broad),
            out=out,
        )
    return torch.from_numpy(rgb)


def frame_to_rgb(
    planes: list[np.ndarray],
    half: tuple[int, int] | None,
    color_space: ColorSpace,
    bits: int,
    window: Window,
    out: np.ndarray,
) -> None:
    """One picture as `planes_to_rgb`, unchecked.

    Args:
        planes: Y, U, V `(lines, columns)`, uint8 or uint16, contiguous; columns right of the
            picture are not read.
        half: lines and columns of 4:2:0 chroma, None for 4:4:4.
        color_space, bits, window: as there.
        out: uint8 `(3, height, width)` of the window.
    """
    from data.io.color_kernels import (
        convert,
    )  # here: numba takes time and memory that not every process needs

    y, u, v = planes
    convert(y, u, v, half or (0, 0), window, *_factors(color_space, bits), out)


def compile_kernels() -> None:
    """Compile now what the first 8-bit picture needs, about a second's work."""
    grey = torch.zeros(1, 2, 2, dtype=torch.uint8)
    planes_to_rgb(
        grey,
        u=grey[:, :1, :1],
        v=grey[:, :1, :1],
        color_space=ColorSpace("bt601", False, "guessed"),
    )


@cache
def _factors(
    color_space: ColorSpace, bits: int
) -> tuple[tuple[np.int32, ...], tuple[np.int32, ...], np.int32]:
    """The kernel's `luma`, `chroma` and `shift`; more bits in a sample are more fractional bits of
    the sums.
    """
    kr, kb = WEIGHTS[color_space.matrix]
    kg = 1 - kr - kb
    more = 1 << (bits - 8)
    full = 255 * more / (256 * more - 1)
    luma, black, chroma = (
        (full, 0, full) if color_space.full_range else (255 / 219, 16 * more, 255 / 224)
    )
    red = 2 * (1 - kr) * chroma
    blue = 2 * (1 - kb) * chroma
    shift = BITS + bits - 8 + 3
    factors = (_fixed(red), _fixed(blue * kb / kg), _fixed(red * kr / kg), _fixed(blue))
    scale = np.int32(8 * _fixed(luma))
    return (
        (np.int32(black), scale, np.int32(1 << (shift - 1))),
        (np.int32(128 * more), *factors),
        np.int32(shift),
    )


def _fixed(value: float) -> np.int32:
    return np.int32(round(value * (1 << BITS)))
