"""Numba kernels of block motion compensation; `block_warp` says what they compute."""

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit

_ONE = np.float32(1)


@cache
def planes_kernel(block: int) -> Callable:
    """The kernel for planes, made for one `block` so that its inner loops have a fixed length.

    `kernel(source, field, moved, first, end)` fills rows of blocks `first .. end - 1`, counted over
    all planes; `source` and `moved` are `(B, C, H, W)` float32, `field` `(B, 2, H / block, W /
    block)` float32.
    """

    @njit(cache=True, nogil=True, fastmath={"contract"})
    def warp_planes(source, field, moved, first, end):
        channels, height, width = source.shape[1:]
        tall, wide = field.shape[2:]
        patch = np.empty((block + 1, block + 1), np.float32)
        for line in range(first, end):
            plane, row = line // tall, line % tall
            b, c = plane // channels, plane % channels
            for column in range(wide):
                dx, right = _whole_and_part(field[b, 0, row, column], width, block)
                dy, down = _whole_and_part(field[b, 1, row, column], height, block)
                x, y = column * block + dx, row * block + dy
                if x < 0 or y < 0 or x + block >= width or y + block >= height:
                    _cut(source[b, c], x, y, patch)
                    _fill(patch, 0, 0, right, down, moved[b, c], row * block, column * block, block)
                else:
                    _fill(
                        source[b, c],
                        x,
                        y,
                        right,
                        down,
                        moved[b, c],
                        row * block,
                        column * block,
                        block,
                    )

    return warp_planes


@njit(cache=True, nogil=True, fastmath={"contract"})
def warp_channels_last(source, field, moved, block, first, end):
    """As `planes_kernel`'s, for `(B, H, W, C)` float32; `first` and `end` count over the batch."""
    height, width, channels = source.shape[1:]
    tall, wide = field.shape[2:]
    for line in range(first, end):
        b, row = line // tall, line % tall
        for column in range(wide):
            dx, right = _whole_and_part(field[b, 0, row, column], width, block)
            dy, down = _whole_and_part(field[b, 1, row, column], height, block)
            left, up = _ONE - right, _ONE - down
            for i in range(row * block, (row + 1) * block):
                above, below = (
                    source[b, _clamp(i + dy, height)],
                    source[b, _clamp(i + dy + 1, height)],
                )
                for j in range(column * block, (column + 1) * block):
                    x, beside, target = (
                        _clamp(j + dx, width),
                        _clamp(j + dx + 1, width),
                        moved[b, i, j],
                    )
                    if right == 0 and down == 0:
                        for c in range(channels):
                            target[c] = above[x, c]
                    else:
                        for c in range(channels):
                            upper = above[x, c] * left + above[beside, c] * right
                            lower = below[x, c] * left + below[beside, c] * right
                            target[c] = upper * up + lower * down


@njit(inline="always")
def _fill(area, x, y, right, down, moved, top, left, block):
    """Interpolate a block of `moved` at (top, left) from `area` at (x, y) and a part of a pixel
    further.
    """
    w11 = right * down
    w01, w10 = right - w11, down - w11
    w00 = _ONE - right - w10
    x, y, top, left = (
        np.uintp(x),
        np.uintp(y),
        np.uintp(top),
        np.uintp(left),
    )  # signed ones do not vectorise:
    side, one = np.uintp(block), np.uintp(1)  # numba lets them count from the end
    if right == 0 and down == 0:
        for i in range(side):
            for j in range(side):
                moved[top + i, left + j] = area[y + i, x + j]
    else:
        for i in range(side):
            for j in range(side):
                upper = w00 * area[y + i, x + j] + w01 * area[y + i, x + j + one]
                lower = w10 * area[y + i + one, x + j] + w11 * area[y + i + one, x + j + one]
                moved[top + i, left + j] = upper + lower


@njit(inline="always")
def _whole_and_part(shift, size, block):
    """A displacement as whole pixels and the rest in 0..1; what is not a number or points outside,
    just outside.
    """
    limit = np.float32(size + block)
    shift = min(shift, limit) if shift > -limit else -limit
    whole = np.floor(shift)
    return int(whole), shift - whole


@njit(inline="always")
def _clamp(index, size):
    return min(max(index, 0), size - 1)


@njit(inline="always")
def _cut(area, x, y, patch):
    """Fill `patch` from `area` at (x, y), borders repeated."""
    height, width = area.shape
    for i in range(patch.shape[0]):
        for j in range(patch.shape[1]):
            patch[i, j] = area[_clamp(y + i, height), _clamp(x + j, width)]
