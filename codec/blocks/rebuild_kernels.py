"""Numba kernels that predict and rebuild intra blocks, in integers: every machine rebuilds the same
pixels.

`codec.blocks.rebuild` says what they compute in tensors. Blocks are rows of `side²` int32.
"""

import numpy as np
from numba import njit

from codec.blocks.tables import (
    CELL,
    CHROMA,
    DC,
    DERIVED,
    HORIZONTAL,
    LARGEST,
    LINEAR,
    MIDDLE,
    PLANAR,
    UNIT,
    VERTICAL,
)
from codec.layers.intrinsics import address_of, next_row, set_progress, wait_for

FAR = 32767  # what a coefficient and its sums by column are clipped to


@njit(cache=True, nogil=True)
def gather_neighbours(plane, y, x, side, above_right, below_left, found):
    """Fill `found` with the `4·side + 1` neighbours of the block at (y, x), from below left to
    above right.

    What is not there is what is nearest in that order; `above_right` and `below_left` say whether
    those come earlier, where they lie in the plane. Source: ITU-T H.265, 8.4.4.2.2.
    """
    corner = 2 * side
    if x > 0:
        for i in range(side):
            found[corner - 1 - i] = plane[y + i, x - 1]
        if below_left:
            for i in range(side, corner):
                found[corner - 1 - i] = plane[y + i, x - 1]
        else:
            found[:side] = found[side]
    else:
        found[:corner] = plane[y - 1, 0] if y > 0 else MIDDLE
    if y > 0:
        found[corner] = plane[y - 1, x - 1] if x > 0 else plane[y - 1, 0]
        for j in range(side):
            found[corner + 1 + j] = plane[y - 1, x + j]
        if above_right:
            for j in range(side, corner):
                found[corner + 1 + j] = plane[y - 1, x + j]
        else:
            found[corner + 1 + side : 4 * side + 1] = found[corner + side]
    else:
        found[corner : 4 * side + 1] = found[corner - 1]


@njit(cache=True, nogil=True)
def smooth_neighbours(found, side):
    """Append the neighbours smoothed by (1, 2, 1) / 4; both ends stay (ITU-T H.265, 8.4.4.2.3)."""
    count = 4 * side + 1
    found[count], found[2 * count - 1] = found[0], found[count - 1]
    for k in range(1, count - 1):
        found[count + k] = (found[k - 1] + 2 * found[k] + found[k + 1] + 2) >> 2


@njit(cache=True, nogil=True)
def predict_planar(found, side, shift, start, made):
    """Fill `made` from neighbours that begin at `start` in `found`; `shift` is log2(side) + 1."""
    corner = start + 2 * side
    below, right = found[corner - side - 1], found[corner + side + 1]
    for y in range(side):
        left = found[corner - 1 - y]
        for x in range(side):
            across = (side - 1 - x) * left + (x + 1) * right
            down = (side - 1 - y) * found[corner + 1 + x] + (y + 1) * below
            made[y * side + x] = (across + down + side) >> shift


@njit(cache=True, nogil=True)
def predict_mean(found, side, shift, edges, made):
    """Fill `made` with the mean of the neighbours beside and above; with `edges` its border is
    drawn to these.
    """
    corner, total = 2 * side, side
    for k in range(1, side + 1):
        total += found[corner - k] + found[corner + k]
    mean = total >> shift
    made[: side * side] = mean
    if edges:
        made[0] = (found[corner - 1] + 2 * mean + found[corner + 1] + 2) >> 2
        for k in range(1, side):
            made[k] = (found[corner + 1 + k] + 3 * mean + 2) >> 2
            made[k * side] = (found[corner - 1 - k] + 3 * mean + 2) >> 2


@njit(cache=True, nogil=True)
def draw_edge(found, side, mode, made):
    """What H.265, 8.4.4.2.6, adds to the border of a block predicted vertically or horizontally."""
    corner = 2 * side
    for k in range(side):
        if mode == VERTICAL:
            place, value = (
                k * side,
                found[corner + 1] + ((found[corner - 1 - k] - found[corner]) >> 1),
            )
        else:
            place, value = k, found[corner - 1] + ((found[corner + 1 + k] - found[corner]) >> 1)
        made[place] = min(max(value, 0), LARGEST)


@njit(cache=True, nogil=True)
def predict_block(found, side, mode, luma, tables, made):
    """Fill `made` `(side²,)` by a mode from neighbours, with smoothed ones appended for `luma`;
    `tables` are `directions`.
    """
    shift = 4 if side == CELL else 5
    if mode == PLANAR:
        predict_planar(found, side, shift, 4 * side + 1 if luma else 0, made)
    elif mode == DC:
        predict_mean(found, side, shift, luma, made)
    else:
        first, second, part = tables[0][mode], tables[1][mode], tables[2][mode]
        for p in range(side * side):
            made[p] = ((32 - part[p]) * found[first[p]] + part[p] * found[second[p]] + 16) >> 5
        if luma and mode in (VERTICAL, HORIZONTAL):
            draw_edge(found, side, mode, made)


@njit(cache=True, nogil=True)
def small_luma(plane, y, x):
    """The mean of 2×2 pixels."""
    return (plane[y, x] + plane[y, x + 1] + plane[y + 1, x] + plane[y + 1, x + 1] + 2) >> 2


@njit(cache=True, nogil=True)
def predict_linear(luma, plane, y, x, made):
    """Predict the 8×8 chroma block at (y, x) as a line over the luma rebuilt there, fitted to the
    neighbours.

    Source: the linear model of Zhang et al., *Chroma intra prediction based on inter-channel
    correlation for HEVC*, 2014.
    """
    count = sum_l = sum_c = sum_ll = sum_lc = 0
    for k in range(CHROMA):
        if y > 0:
            value, own = small_luma(luma, 2 * y - 2, 2 * (x + k)), np.int64(plane[y - 1, x + k])
            count, sum_l, sum_c = count + 1, sum_l + value, sum_c + own
            sum_ll, sum_lc = sum_ll + value * value, sum_lc + value * own
        if x > 0:
            value, own = small_luma(luma, 2 * (y + k), 2 * x - 2), np.int64(plane[y + k, x - 1])
            count, sum_l, sum_c = count + 1, sum_l + value, sum_c + own
            sum_ll, sum_lc = sum_ll + value * value, sum_lc + value * own
    slope = offset = 0
    if count == 0:
        offset = 64 * MIDDLE
    else:
        spread = count * sum_ll - sum_l * sum_l
        if spread > 0:
            slope = min(max((64 * (count * sum_lc - sum_l * sum_c)) // spread, -512), 512)
        offset = (64 * sum_c - slope * sum_l) // count
    for i in range(CHROMA):
        for j in range(CHROMA):
            value = (slope * small_luma(luma, 2 * (y + i), 2 * (x + j)) + offset + 32) >> 6
            made[i * CHROMA + j] = min(max(value, 0), LARGEST)


@njit(cache=True, nogil=True)
def add_residual(levels, side, step, matrix, sums, made):
    """Add to the prediction `made` what `levels` `(side²,)` stand for, and clip.

    `sums` is scratch, `(side²,)`. Source: ITU-T H.265, 8.6.4.2, for 10-bit pixels.
    """
    shift = 3 if side == UNIT else 2
    last_row = last_column = -1
    for v in range(side):
        for u in range(side):
            if levels[v * side + u] != 0:
                last_row, last_column = v, max(last_column, u)
    if last_row < 0:
        return
    for p in range(side * side):
        sums[p] = 64
    for v in range(last_row + 1):
        for u in range(last_column + 1):
            level = levels[v * side + u]
            if level != 0:
                value = min(max((level * step + (1 << (shift - 1))) >> shift, -FAR - 1), FAR)
                for y in range(side):
                    sums[u * side + y] += matrix[v, y] * value
    for u in range(last_column + 1):
        for y in range(side):
            sums[u * side + y] = min(max(sums[u * side + y] >> 7, -FAR - 1), FAR)
    for y in range(side):
        for x in range(side):
            total = 512
            for u in range(last_column + 1):
                total += matrix[u, x] * sums[u * side + y]
            p = y * side + x
            made[p] = min(max(made[p] + (total >> 10), 0), LARGEST)


@njit(cache=True, nogil=True)
def store_block(made, side, plane, y, x):
    """Copy a block into a plane."""
    for i in range(side):
        for j in range(side):
            plane[y + i, x + j] = made[i * side + j]


@njit(cache=True, nogil=True)
def luma_neighbours(plane, y, x, side, part, found):
    """The neighbours of a luma block, raw and smoothed: of a unit, or of the 8×8 block `part` 0..3
    of one.
    """
    height, width = plane.shape
    if side == UNIT:
        above_right, below_left = x + side < width and y > 0, False
    else:
        above_right = y > 0 and (part == 0 or part == 2 or (part == 1 and x + side < width))
        below_left = part == 0 and x > 0
    gather_neighbours(plane, y, x, side, above_right, below_left, found)
    smooth_neighbours(found, side)


@njit(cache=True, nogil=True)
def predict_chroma(luma, plane, y, x, kind, derived, chroma_modes, tables, found, made):
    """Predict the chroma block at (y, x) of its plane by class `kind`; `derived` is the mode of the
    luma there.
    """
    if kind == LINEAR:
        predict_linear(luma, plane, y, x, made)
        return
    gather_neighbours(plane, y, x, CHROMA, y > 0 and x + CHROMA < plane.shape[1], False, found)
    mode = derived if kind == DERIVED else chroma_modes[kind - 2]
    predict_block(found, CHROMA, mode, False, tables, made)


@njit(cache=True, nogil=True)
def rebuild_unit(b, r, c, levels, split, modes, kinds, steps, planes, places, constants, work):
    """Rebuild the unit at (r, c) of frame b from its neighbours; all else is as for `rebuild_rows`.

    `work` is scratch: neighbours, predictions, sums and levels.
    """
    luma, chroma = planes
    whole, cells, colours = places
    wide_matrix, matrix, of_unit, of_cell, of_chroma, chroma_modes = constants
    found, made, sums, own = work
    y, x = r * UNIT, c * UNIT
    given = levels[b, r, c]
    if split[b, r, c]:
        for part in range(4):
            top, left = y + CELL * (part // 2), x + CELL * (part % 2)
            luma_neighbours(luma[b], top, left, CELL, part, found)
            predict_block(found, CELL, modes[b, top // CELL, left // CELL], True, of_cell, made)
            for p in range(CELL * CELL):
                own[p] = given[cells[part, p]]
            add_residual(own, CELL, steps[b, 0], matrix, sums, made)
            store_block(made, CELL, luma[b], top, left)
    else:
        luma_neighbours(luma[b], y, x, UNIT, 0, found)
        predict_block(found, UNIT, modes[b, 2 * r, 2 * c], True, of_unit, made)
        for p in range(UNIT * UNIT):
            own[p] = given[whole[p]]
        add_residual(own, UNIT, steps[b, 0], wide_matrix, sums, made)
        store_block(made, UNIT, luma[b], y, x)
    for k in range(2):
        plane, kind, derived = chroma[b, k], kinds[b, r, c], modes[b, 2 * r, 2 * c]
        predict_chroma(
            luma[b],
            plane,
            y // 2,
            x // 2,
            kind,
            derived,
            chroma_modes,
            of_chroma,
            found,
            made,
        )
        for p in range(CHROMA * CHROMA):
            own[p] = given[colours[k, p]]
        add_residual(own, CHROMA, steps[b, 1], matrix, sums, made)
        store_block(made, CHROMA, plane, y // 2, x // 2)


@njit(cache=True, nogil=True)
def rebuild_scratch():
    """Memory of a thread."""
    most = UNIT * UNIT
    found = np.empty(2 * (4 * UNIT + 1), np.int32)
    return found, np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.int32)


@njit(cache=True, nogil=True)
def rebuild_rows(levels, split, modes, kinds, steps, planes, places, constants, progress):
    """Rebuild rows of units as long as there are some that no other thread has begun.

    Args:
        levels: `(B, h, w, C)` int32.
        split: `(B, h, w)`, `modes` `(B, 2·h, 2·w)`, `kinds` (of chroma) `(B, h, w)`, uint8.
        steps: `(B, 2)` int32, of luma and of chroma.
        planes: int32, luma `(B, H, W)` and both of chroma `(B, 2, H / 2, W / 2)`, to be filled.
        places: `channel_places()`.
        constants: matrices of 16 and 8, `directions` of luma 16, of 8 and of chroma, `CHROMA_MODES`
            as an array.
        progress: `(1 + B·h,)` int64, zeros: the next row, and how far each is.
    """
    batch, tall, wide = split.shape
    work = rebuild_scratch()
    counter = address_of(progress)
    while True:
        row = next_row(counter)
        if row >= batch * tall:
            return
        b, r = row // tall, row % tall
        for c in range(wide):
            if r > 0:
                wait_for(counter + 8 * row, min(c + 2, wide))
            rebuild_unit(
                b, r, c, levels, split, modes, kinds, steps, planes, places, constants, work
            )
            set_progress(counter + 8 * (row + 1), c + 1)
