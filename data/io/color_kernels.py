"""Planes to RGB, one picture a call: a numba kernel, compiled when first used (for 8-bit and for
10-bit samples).

Nothing is cached on disk: the package may lie on a path that many nodes share, and compiling takes
about a second.
"""

import numpy as np
from numba import njit


@njit(nogil=True)
def convert(y, u, v, half_size, window, luma, chroma, shift, out):
    """Write a window of one picture as RGB.

    Args:
        y, u, v: `(lines, columns)` uint8 or uint16; there may be more columns than the picture has.
        half_size: lines and columns of 4:2:0 chroma, (0, 0) for 4:4:4.
        window: top, left, height, width, inside the picture.
        luma: int32: black, eight times luma's factor, and half of what `shift` cuts off.
        chroma: int32: neutral, and the factors of V in red, U in green, V in green, U in blue.
        shift: int32, fractional bits of the sums.
        out: uint8 `(3, height, width)`.
    """
    top, left, height, width = window
    black, scale, half = luma
    neutral, red, green_u, green_v, blue = chroma
    skip = left & 1 if half_size[0] else 0
    mixed = np.empty((width + 5) // 2, np.int32)
    row_u = np.empty(width + 3, np.int32)
    row_v = np.empty(width + 3, np.int32)
    for row in range(height):
        for plane, values in ((u, row_u), (v, row_v)):
            if half_size[0]:
                _interpolate(plane, top + row, left, width, half_size, neutral, mixed, values)
            else:
                for x in range(width):
                    values[x] = 8 * (np.int32(plane[top + row, left + x]) - neutral)
        for x in range(width):
            grey = (np.int32(y[top + row, left + x]) - black) * scale + half
            cu = row_u[skip + x]
            cv = row_v[skip + x]
            out[0, row, x] = _byte((grey + cv * red) >> shift)
            out[1, row, x] = _byte((grey - cu * green_u - cv * green_v) >> shift)
            out[2, row, x] = _byte((grey + cu * blue) >> shift)


@njit(nogil=True)
def _interpolate(plane, line, left, width, half_size, neutral, mixed, values):
    """Eight times the chroma of `line` from column `left & ~1` on, 3:1 between lines and 1:1
    between columns.
    """
    near = line >> 1
    far = near + 1 if line & 1 else near - 1
    if far < 0 or far == half_size[0]:
        far = near
    begin = left >> 1
    count = (width + 3) >> 1
    inside = min(count + 1, half_size[1] - begin)
    for i in range(inside):
        mixed[i] = (
            3 * np.int32(plane[near, begin + i]) + np.int32(plane[far, begin + i]) - 4 * neutral
        )
    for i in range(inside, count + 1):
        mixed[i] = mixed[inside - 1]
    for i in range(count):
        values[2 * i], values[2 * i + 1] = 2 * mixed[i], mixed[i] + mixed[i + 1]


@njit(nogil=True)
def _byte(value):
    return 0 if value < 0 else (255 if value > 255 else value)
