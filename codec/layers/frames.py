"""Frames as the networks see them: luma and colour differences, padded to whole blocks.

The numba kernels round as the tensor operations do: sums and products are not contracted, so that
frames are equal bit by bit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional as F

from codec.errors import CodecError
from codec.layers.kernels import by_kernel, in_bands, trains_on_cpu

SMALLEST_SIDE = 16
# BT.709 luma weights; the colour differences are scaled to -0.5..0.5 and luma is centred, so that
# zero is mid-grey.
_RED, _GREEN, _BLUE = 0.2126, 0.7152, 0.0722
_WEIGHTS = np.array([_RED, _GREEN, _BLUE], np.float32)
_SCALES = np.array([2 - 2 * _RED, 2 - 2 * _BLUE], np.float32)  # of Cr in red, of Cb in blue
_ZERO, _HALF, _ONE, _WHITE = np.float32(0), np.float32(0.5), np.float32(1), np.float32(255)


def rgb_to_ycc(rgb: Tensor) -> Tensor:
    """RGB in 0..1 `(…, 3, H, W)` -> luma and colour differences, each in -0.5..0.5 (ITU-R BT.709,
    full range).
    """
    red, green, blue = rgb.unbind(-3)
    luma = _RED * red + _GREEN * green + _BLUE * blue
    return torch.stack(
        [luma - 0.5, (blue - luma) / (2 - 2 * _BLUE), (red - luma) / (2 - 2 * _RED)], -3
    )


def ycc_to_rgb(ycc: Tensor) -> Tensor:
    """The inverse of `rgb_to_ycc`; values are not clamped."""
    if trains_on_cpu(ycc):
        return _ToRgb.apply(ycc)
    luma, cb, cr = ycc.unbind(-3)
    luma = luma + 0.5
    red = luma + (2 - 2 * _RED) * cr
    blue = luma + (2 - 2 * _BLUE) * cb
    return torch.stack([red, (luma - _RED * red - _BLUE * blue) / _GREEN, blue], -3)


class _ToRgb(torch.autograd.Function):
    """`ycc_to_rgb` by kernels."""

    @staticmethod
    def forward(ctx, ycc: Tensor) -> Tensor:
        return _by_rows(ycc_rows, ycc)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _by_rows(ycc_gradients, gradient)


def _by_rows(kernel: Callable[..., None], frames: Tensor) -> Tensor:
    """What a kernel makes of the rows of `(…, 3, H, W)`, in the same shape."""
    given = frames.detach().contiguous().view(-1, *frames.shape[-3:])
    made = torch.empty_like(given)
    arrays = given.numpy(), made.numpy(), _WEIGHTS, _SCALES
    in_bands(partial(kernel, *arrays), given.shape[0] * given.shape[2])
    return made.view(frames.shape)


def rgb_to_levels(rgb: Tensor) -> Tensor:
    """RGB in 0..1, clamped -> uint8 levels of the same shape."""
    return (rgb.clamp(0, 1) * 255).round().to(torch.uint8)


def ycc_to_levels(ycc: Tensor) -> Tensor:
    """`rgb_to_levels(ycc_to_rgb(ycc))`, `(B, 3, H, W)`; on the CPU and without a gradient in one
    pass, with the same result.
    """
    if ycc.dtype != torch.float32 or not by_kernel(ycc):
        return rgb_to_levels(ycc_to_rgb(ycc))
    levels = torch.empty(ycc.shape, dtype=torch.uint8)
    arrays = ycc.detach().contiguous().numpy(), levels.numpy(), _WEIGHTS, _SCALES
    in_bands(lambda first, end: ycc_levels(*arrays, first, end), ycc.shape[0] * ycc.shape[2])
    return levels


@dataclass(frozen=True)
class Colours:
    """The colours that a codec's networks work in.

    Attributes:
        from_rgb, to_rgb: between RGB in 0..1 and these, `(…, 3, H, W)`.
        to_levels: from these to RGB as it is shown, uint8, `(B, 3, H, W)`.
        limits: smallest and largest value of a reference frame, or None where the networks were
            made to do without.
    """

    from_rgb: Callable[[Tensor], Tensor]
    to_rgb: Callable[[Tensor], Tensor]
    to_levels: Callable[[Tensor], Tensor]
    limits: tuple[float, float] | None

    def limit(self, frame: Tensor) -> Tensor:
        """Keep a reconstruction within the limits."""
        return frame if self.limits is None else torch.clamp(frame, *self.limits)


COLOURS = {
    "ycc": Colours(rgb_to_ycc, ycc_to_rgb, ycc_to_levels, (-0.5, 0.5)),
    "rgb": Colours(lambda rgb: rgb, lambda rgb: rgb, rgb_to_levels, None),
}


def check_size(height: int, width: int) -> None:
    """Raise CodecError where a frame is smaller than 16×16."""
    if min(height, width) < SMALLEST_SIDE:
        raise CodecError(
            f"frame size: {width}×{height} given; the smallest that can be coded is "
            f"{SMALLEST_SIDE}×{SMALLEST_SIDE}"
        )


def padded(size: int, multiple: int) -> int:
    """`size` rounded up to a multiple."""
    return -(-size // multiple) * multiple


def pad_frames(frames: Tensor, multiple: int) -> Tensor:
    """Repeat the right and bottom border of `(B, C, H, W)` until both sides are multiples of
    `multiple`.
    """
    height, width = frames.shape[-2:]
    return F.pad(
        frames,
        (0, padded(width, multiple) - width, 0, padded(height, multiple) - height),
        mode="replicate",
    )


@njit(cache=True, nogil=True)
def ycc_rows(ycc, rgb, weights, scales, first, end):
    """Rows `first .. end - 1`, counted over frames, of `rgb` `(N, 3, H, W)` from `ycc`, float32.

    `weights` and `scales` are as of `ycc_levels`.
    """
    red_weight, green_weight, blue_weight = weights
    red_scale, blue_scale = scales
    height, width = ycc.shape[2:]
    for line in range(first, end):
        n, y = line // height, line % height
        lumas, cbs, crs = ycc[n, 0, y], ycc[n, 1, y], ycc[n, 2, y]
        reds, greens, blues = rgb[n, 0, y], rgb[n, 1, y], rgb[n, 2, y]
        for x in range(width):
            luma = lumas[x] + _HALF
            red, blue = luma + red_scale * crs[x], luma + blue_scale * cbs[x]
            reds[x], blues[x] = red, blue
            greens[x] = (luma - red_weight * red - blue_weight * blue) / green_weight


@njit(cache=True, nogil=True)
def ycc_gradients(rgb, ycc, weights, scales, first, end):
    """What `ycc_rows` passes back: the gradient `ycc` from that of `rgb`."""
    red_weight, green_weight, blue_weight = weights
    red_scale, blue_scale = scales
    height, width = ycc.shape[2:]
    for line in range(first, end):
        n, y = line // height, line % height
        lumas, cbs, crs = ycc[n, 0, y], ycc[n, 1, y], ycc[n, 2, y]
        reds, greens, blues = rgb[n, 0, y], rgb[n, 1, y], rgb[n, 2, y]
        for x in range(width):
            green = greens[x] / green_weight
            red, blue = reds[x] - red_weight * green, blues[x] - blue_weight * green
            lumas[x], cbs[x], crs[x] = red + green + blue, blue_scale * blue, red_scale * red


@njit(cache=True, nogil=True)
def ycc_levels(ycc, levels, weights, scales, first, end):
    """Fill rows `first .. end - 1`, counted over the batch, of `levels` `(B, 3, H, W)` uint8 RGB
    from `ycc`, float32.

    `weights` are luma's of red, green and blue, `scales` those of Cr in red and of Cb in blue:
    float32.
    """
    red_weight, green_weight, blue_weight = weights
    red_scale, blue_scale = scales
    height, width = ycc.shape[2:]
    for line in range(first, end):
        b, y = line // height, line % height
        lumas, cbs, crs = ycc[b, 0, y], ycc[b, 1, y], ycc[b, 2, y]
        reds, greens, blues = levels[b, 0, y], levels[b, 1, y], levels[b, 2, y]
        for x in range(width):
            luma = lumas[x] + _HALF
            red, blue = luma + red_scale * crs[x], luma + blue_scale * cbs[x]
            green = (luma - red_weight * red - blue_weight * blue) / green_weight
            reds[x], greens[x], blues[x] = _level(red), _level(green), _level(blue)


@njit(inline="always")
def _level(value):
    return np.uint8(np.int32(np.rint(min(max(value, _ZERO), _ONE) * _WHITE)))
