"""Numba kernels that pass over full-size frames once; `assemble` and `frames` say what they
compute.

They round as the tensor operations do: sums and products are not contracted, so that frames are
equal bit by bit.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit

_ZERO, _HALF, _ONE, _WHITE = np.float32(0), np.float32(0.5), np.float32(1), np.float32(255)


@cache
def patches_kernel(side: int, bits: bool, gated: bool) -> Callable:
    """The kernel of `add_patches`, made for one `side` so that its inner loops have a fixed length.

    `kernel(frame, patches, gain, kept, gate, made, first, end)` fills rows of patches `first .. end
    - 1`, counted over the batch; `frame`, `kept` and `made` are `(B, 3, h, side, w, side)` float32,
    `patches` `(B, h, w, 3, side, side)` float32, or with `bits` bfloat16 seen as uint16, `gain` is
    `(B,)` and `gate` `(B, h / n, w / n)` float32: a value for n × n patches. `kept` and `gate` are
    used if `gated`.
    """

    @njit(cache=True, nogil=True)
    def assemble(frame, patches, gain, kept, gate, made, first, end):
        tall, wide = patches.shape[1:3]
        cell = wide // gate.shape[2]
        for line in range(first, end):
            b, row = line // tall, line % tall
            for c in range(3):
                for i in range(side):
                    for column in range(wide):
                        opened = gate[b, row // cell, column // cell] if gated else gain[b]
                        for j in range(side):
                            value = patches[b, row, column, c, i, j]
                            value = _widen(value) if bits else np.float32(value)
                            value = frame[b, c, row, i, column, j] + value * gain[b]
                            if gated:
                                other = kept[b, c, row, i, column, j]
                                value = other + opened * (value - other)
                            made[b, c, row, i, column, j] = value

    return assemble


@cache
def patches_backward_kernel(side: int, gated: bool) -> Callable:
    """What `patches_kernel` passes back.

    `kernel(given, frame, patches, gain, kept, gate, of_frame, of_patches, of_kept, of_gain,
    of_gate, first, end)` fills rows of gates `first .. end - 1`, counted over the batch. `given` is
    the gradient of `made`; gradients have the shape of what they belong to, but `of_gain` `(B, h /
    n)`, a value a row; all are float32. Without `gated`, `of_frame` is not filled: it is `given`.
    """

    @njit(cache=True, nogil=True)
    def pass_back(
        given,
        frame,
        patches,
        gain,
        kept,
        gate,
        of_frame,
        of_patches,
        of_kept,
        of_gain,
        of_gate,
        first,
        end,
    ):
        tall, wide = patches.shape[1:3]
        rows, columns = gate.shape[1:]
        cell = wide // columns
        for line in range(first, end):
            b, top = line // rows, line % rows
            of_row = np.float64(0)
            for left in range(columns):
                opened, of_opened = gate[b, top, left], np.float64(0)
                for row in range(top * cell, top * cell + cell):
                    for column in range(left * cell, left * cell + cell):
                        for c in range(3):
                            for i in range(side):
                                for j in range(side):
                                    slope = given[b, c, row, i, column, j]
                                    value = patches[b, row, column, c, i, j]
                                    if gated:
                                        other = kept[b, c, row, i, column, j]
                                        made = frame[b, c, row, i, column, j] + value * gain[b]
                                        of_opened += slope * (made - other)
                                        through = opened * slope
                                        of_kept[b, c, row, i, column, j] = slope - through
                                        of_frame[b, c, row, i, column, j] = through
                                        slope = through
                                    of_row += slope * value
                                    of_patches[b, row, column, c, i, j] = slope * gain[b]
                if gated:
                    of_gate[b, top, left] = of_opened
            of_gain[b, top] = of_row

    return pass_back


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


@njit(inline="always")
def _widen(bits):
    """A bfloat16, given as its bits, as float32."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)
