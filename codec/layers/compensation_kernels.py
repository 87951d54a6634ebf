"""Numba kernels of block motion compensation with separable filters, and of its gradient.

`block_compensation` says what they compute. Cells of a row that lie side by side and move alike are
filtered as one run. A pixel goes through the same operations in the same order in any run: loops
have the length of a cell, and sums start at zero, so that there is one way to contract them.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit
from numba.np.unsafe.ndarray import to_fixed_tuple

_ZERO, _ONE = np.float32(0), np.float32(1)
_RUN = 64  # pixels of the longest run: its patch stays in the first cache


@cache
def forward_kernel(block: int, taps: int) -> Callable:
    """The kernel that adds one reference's part, made for one `block` and number of `taps`.

    `kernel(reference, vectors, weights, which, filters, target, first, end)` adds the part of
    reference number `which` to rows of cells `first .. end - 1`, counted over all planes, after it
    has cleared them if `which` is 0. `reference` and `target` are `(B, C, H, W)` float32, `vectors`
    `(B, 2·R, H / block, W / block)` int32, `weights` `(B, R, H / block, W / block)` float32,
    `filters` `(fraction, taps)` float32.
    """
    before, longest, beside = taps // 2 - 1, max(1, _RUN // block), -(-(taps - 1) // block)

    @njit(cache=True, nogil=True, fastmath={"contract"})
    def compensate_rows(reference, vectors, weights, which, filters, target, first, end):
        channels, height, width = reference.shape[1:]
        tall, wide = vectors.shape[2:]
        fraction = filters.shape[0]
        patch = np.zeros((block + taps - 1, (longest + beside) * block), np.float32)
        middle = np.zeros((block, (longest + beside) * block), np.float32)
        for line in range(first, end):
            at, row = line // tall, line % tall
            b, c = at // channels, at % channels
            plane, made = reference[b, c], target[b, c]
            if which == 0:
                made[row * block : (row + 1) * block] = _ZERO
            start = 0
            while start < wide:
                stop = _run_end(vectors, weights, which, b, row, start, longest)
                weight = weights[b, which, row, start]
                if weight != 0:
                    vx = np.int64(vectors[b, 2 * which, row, start])
                    vy = np.int64(vectors[b, 2 * which + 1, row, start])
                    across, down = vx % fraction, vy % fraction
                    x, y = start * block + vx // fraction, row * block + vy // fraction
                    cells, rows = stop - start, block
                    if across != 0:
                        x, cells = x - before, cells + beside
                    if down != 0:
                        y, rows = y - before, rows + taps - 1
                    area = plane
                    if x < 0 or y < 0 or x + cells * block > width or y + rows > height:
                        _cut(plane, x, y, patch, rows, cells * block)
                        area, x, y = patch, 0, 0
                    if down != 0:
                        coefficients = to_fixed_tuple(filters[down], taps)
                        _filter_down(area, x, y, coefficients, middle, block, cells, block)
                        area, x, y = middle, 0, 0
                    left, top = start * block, row * block
                    if across != 0:
                        coefficients = to_fixed_tuple(filters[across], taps)
                        cells = stop - start
                        _add_across(area, x, y, coefficients, weight, made, left, top, cells, block)
                    else:
                        _add(area, x, y, weight, made, left, top, block, cells, block)
                start = stop

    return compensate_rows


@cache
def backward_kernel(block: int, taps: int) -> Callable:
    """The kernel of the gradient to one reference, made for one `block` and number of `taps`.

    `kernel(gradient, vectors, weights, which, filters, target, first, end)` adds to planes
    `first .. end - 1` of `target`, counted over the batch, what reference `which` gets of
    `gradient`; both are `(B, C, H, W)` float32, the rest as for `forward_kernel`.
    """
    before, longest, beside = taps // 2 - 1, max(1, _RUN // block), -(-(taps - 1) // block)

    @njit(cache=True, nogil=True, fastmath={"contract"})
    def scatter_planes(gradient, vectors, weights, which, filters, target, first, end):
        channels, height, width = target.shape[1:]
        tall, wide = vectors.shape[2:]
        fraction = filters.shape[0]
        turned = np.ascontiguousarray(filters[:, ::-1])
        room = (longest + beside) * block
        padded = np.zeros((block, taps - 1 + room), np.float32)  # zeros on the left
        middle = np.zeros((block + 2 * (taps - 1), room), np.float32)  # zeros above and below
        patch = np.zeros((block + taps - 1, room), np.float32)
        for line in range(first * tall, end * tall):
            at, row = line // tall, line % tall
            b, c = at // channels, at % channels
            plane, given = target[b, c], gradient[b, c]
            start = 0
            while start < wide:
                stop = _run_end(vectors, weights, which, b, row, start, longest)
                weight = weights[b, which, row, start]
                if weight != 0:
                    vx = np.int64(vectors[b, 2 * which, row, start])
                    vy = np.int64(vectors[b, 2 * which + 1, row, start])
                    across, down = vx % fraction, vy % fraction
                    x, y = start * block + vx // fraction, row * block + vy // fraction
                    cells, rows, left, top = stop - start, block, start * block, row * block
                    if across != 0:
                        x, cells = x - before, cells + beside
                        _scale(given, left, top, weight, padded, taps - 1, 0, stop - start, block)
                        _clear(padded, taps - 1 + (stop - start) * block, beside * block)
                        coefficients = to_fixed_tuple(turned[across], taps)
                        _filter_across(padded, coefficients, middle, taps - 1, block, cells, block)
                    else:
                        _scale(given, left, top, weight, middle, 0, taps - 1, cells, block)
                    if down != 0:
                        y, rows = y - before, rows + taps - 1
                    inside = x >= 0 and y >= 0 and x + cells * block <= width and y + rows <= height
                    goal = plane if inside else patch
                    if not inside:
                        patch[:] = _ZERO
                    left, top = (x, y) if inside else (0, 0)
                    if down != 0:
                        coefficients = to_fixed_tuple(turned[down], taps)
                        _add_down(middle, coefficients, goal, left, top, rows, cells, block)
                    else:
                        _add(middle, 0, taps - 1, _ONE, goal, left, top, rows, cells, block)
                    if not inside:
                        _put_back(patch, plane, x, y, rows, cells * block)
                start = stop

    return scatter_planes


@cache
def filters_kernel(block: int, taps: int) -> Callable:
    """The kernel of the gradient to the filters, made for one `block` and number of `taps`.

    `kernel(reference, gradient, vectors, weights, which, filters, sums, first, end)` adds to `sums`
    `(B·C, fraction, taps)` float64 what planes `first .. end - 1` contribute through reference
    `which`; the rest as for `backward_kernel`.
    """
    before, longest, beside = taps // 2 - 1, max(1, _RUN // block), -(-(taps - 1) // block)

    @njit(cache=True, nogil=True, fastmath={"contract"})
    def correlate_planes(reference, gradient, vectors, weights, which, filters, sums, first, end):
        channels, height, width = reference.shape[1:]
        tall, wide = vectors.shape[2:]
        fraction = filters.shape[0]
        room = (longest + beside) * block
        patch = np.zeros((block + taps - 1, room), np.float32)
        middle = np.zeros((block + taps - 1, room), np.float32)
        for line in range(first * tall, end * tall):
            at, row = line // tall, line % tall
            b, c = at // channels, at % channels
            plane, given = reference[b, c], gradient[b, c]
            start = 0
            while start < wide:
                stop = _run_end(vectors, weights, which, b, row, start, longest)
                weight = weights[b, which, row, start]
                vx = np.int64(vectors[b, 2 * which, row, start])
                vy = np.int64(vectors[b, 2 * which + 1, row, start])
                across, down = vx % fraction, vy % fraction
                if weight != 0 and (across != 0 or down != 0):
                    x, y = start * block + vx // fraction, row * block + vy // fraction
                    cells, rows, left, top = stop - start, block, start * block, row * block
                    if across != 0:
                        x, cells = x - before, cells + beside
                    if down != 0:
                        y, rows = y - before, rows + taps - 1
                    area = plane
                    if x < 0 or y < 0 or x + cells * block > width or y + rows > height:
                        _cut(plane, x, y, patch, rows, cells * block)
                        area, x, y = patch, 0, 0
                    count = stop - start
                    if across != 0:
                        between, u, v = area, x, y
                        if down != 0:
                            coefficients = to_fixed_tuple(filters[down], taps)
                            _filter_down(area, x, y, coefficients, middle, block, cells, block)
                            between, u, v = middle, 0, 0
                        for k in range(taps):
                            found = _product(between, u + k, v, given, left, top, count, block)
                            sums[at, across, k] += weight * found
                    if down != 0:
                        between, u, v = area, x, y
                        if across != 0:
                            coefficients = to_fixed_tuple(filters[across], taps)
                            _filter_rows(area, x, y, coefficients, middle, rows, count, block)
                            between, u, v = middle, 0, 0
                        for k in range(taps):
                            found = _product(between, u, v + k, given, left, top, count, block)
                            sums[at, down, k] += weight * found
                start = stop

    return correlate_planes


@njit(inline="always")
def _run_end(vectors, weights, which, b, row, start, longest):
    """The cell behind the run of cells that begins at `start` and takes the same from `which`."""
    stop, end = start + 1, min(vectors.shape[3], start + longest)
    weight = weights[b, which, row, start]
    vx, vy = vectors[b, 2 * which, row, start], vectors[b, 2 * which + 1, row, start]
    while stop < end and weights[b, which, row, stop] == weight:
        x, y = vectors[b, 2 * which, row, stop], vectors[b, 2 * which + 1, row, stop]
        if weight != 0 and (x != vx or y != vy):
            break
        stop += 1
    return stop


@njit(inline="always")
def _filter_down(area, x, y, coefficients, made, rows, cells, block):
    """Filter columns: `cells · block` of them from (x, y) of `area`, into `rows` of `made`."""
    x, y, side = np.uintp(x), np.uintp(y), np.uintp(block)
    for i in range(np.uintp(rows)):
        for cell in range(np.uintp(cells)):
            left = cell * side
            for j in range(side):
                value = _ZERO
                for k in range(len(coefficients)):
                    value += coefficients[k] * area[y + i + np.uintp(k), x + left + j]
                made[i, left + j] = value


@njit(inline="always")
def _filter_rows(area, x, y, coefficients, made, rows, cells, block):
    """Filter rows from (x, y) of `area` into `rows` of `made`."""
    x, y, side = np.uintp(x), np.uintp(y), np.uintp(block)
    for i in range(np.uintp(rows)):
        for cell in range(np.uintp(cells)):
            at = cell * side
            for j in range(side):
                value = _ZERO
                for k in range(len(coefficients)):
                    value += coefficients[k] * area[y + i, x + at + j + np.uintp(k)]
                made[i, at + j] = value


@njit(inline="always")
def _filter_across(area, coefficients, made, top, rows, cells, block):
    """Filter rows of `area` into `rows` of `made` from its row `top`."""
    top, side = np.uintp(top), np.uintp(block)
    for i in range(np.uintp(rows)):
        for cell in range(np.uintp(cells)):
            at = cell * side
            for j in range(side):
                value = _ZERO
                for k in range(len(coefficients)):
                    value += coefficients[k] * area[i, at + j + np.uintp(k)]
                made[top + i, at + j] = value


@njit(inline="always")
def _add_down(area, coefficients, made, left, top, rows, cells, block):
    """Filter columns of `area` and add the result to `rows` of `made` at (left, top)."""
    left, top, side = np.uintp(left), np.uintp(top), np.uintp(block)
    for i in range(np.uintp(rows)):
        for cell in range(np.uintp(cells)):
            at = cell * side
            for j in range(side):
                value = _ZERO
                for k in range(len(coefficients)):
                    value += coefficients[k] * area[i + np.uintp(k), at + j]
                made[top + i, left + at + j] += value


@njit(inline="always")
def _scale(area, x, y, weight, made, left, top, cells, block):
    """Put `weight` times a row of cells at (x, y) of `area` into `made` at (left, top)."""
    x, y, left, top, side = np.uintp(x), np.uintp(y), np.uintp(left), np.uintp(top), np.uintp(block)
    for i in range(side):
        for cell in range(np.uintp(cells)):
            at = cell * side
            for j in range(side):
                made[top + i, left + at + j] = weight * area[y + i, x + at + j]


@njit(inline="always")
def _clear(area, left, columns):
    """Set `columns` columns of `area` to zero."""
    for i in range(area.shape[0]):
        for j in range(left, left + columns):
            area[i, j] = _ZERO


@njit(inline="always")
def _product(area, x, y, given, left, top, cells, block):
    """The inner product of a row of cells at (x, y) of `area` and at (left, top) of `given`."""
    x, y, left, top, side = np.uintp(x), np.uintp(y), np.uintp(left), np.uintp(top), np.uintp(block)
    found = 0.0
    for i in range(side):
        for at in range(np.uintp(cells) * side):
            found += area[y + i, x + at] * given[top + i, left + at]
    return found


@njit(inline="always")
def _add_across(area, x, y, coefficients, weight, made, left, top, cells, block):
    """Filter rows from (x, y) of `area`, add `weight` times the result to `made` at (left, top)."""
    x, y, left, top, side = np.uintp(x), np.uintp(y), np.uintp(left), np.uintp(top), np.uintp(block)
    for i in range(side):
        for cell in range(np.uintp(cells)):
            at = cell * side
            for j in range(side):
                value = _ZERO
                for k in range(len(coefficients)):
                    value += coefficients[k] * area[y + i, x + at + j + np.uintp(k)]
                made[top + i, left + at + j] += weight * value


@njit(inline="always")
def _add(area, x, y, weight, made, left, top, rows, cells, block):
    """Add `weight` times what lies at (x, y) of `area` to `made` at (left, top)."""
    x, y, left, top, side = np.uintp(x), np.uintp(y), np.uintp(left), np.uintp(top), np.uintp(block)
    for i in range(np.uintp(rows)):
        for cell in range(np.uintp(cells)):
            at = cell * side
            for j in range(side):
                made[top + i, left + at + j] += weight * area[y + i, x + at + j]


@njit(inline="always")
def _clamp(index, size):
    return min(max(index, 0), size - 1)


@njit
def _cut(plane, x, y, patch, rows, columns):
    """Fill `rows` x `columns` of `patch` from `plane` at (x, y), borders repeated."""
    height, width = plane.shape
    for i in range(rows):
        source = _clamp(y + i, height)
        for j in range(columns):
            patch[i, j] = plane[source, _clamp(x + j, width)]


@njit
def _put_back(patch, plane, x, y, rows, columns):
    """Add `rows` x `columns` of `patch` to `plane` at (x, y): what `_cut` repeats adds up."""
    height, width = plane.shape
    for i in range(rows):
        target = _clamp(y + i, height)
        for j in range(columns):
            plane[target, _clamp(x + j, width)] += patch[i, j]


@njit(cache=True, nogil=True, fastmath={"contract"})
def compensate_positions(reference, vectors, weights, which, fraction, target, first, end):
    """Add reference `which`'s part, bilinear, to rows `first .. end - 1` counted over the batch.

    They are cleared before if `which` is 0. `reference` and `target` are `(B, H, W, C)` float32,
    `vectors` `(B, 2·R, H, W)` int32 in 1 / `fraction`, `weights` `(B, R, H, W)` float32.
    """
    height, width, channels = reference.shape[1:]
    for line in range(first, end):
        b, row = line // height, line % height
        if which == 0:
            target[b, row] = _ZERO
        for column in range(width):
            weight = weights[b, which, row, column]
            if weight == 0:
                continue
            x, y, right, down = _corner(vectors, which, fraction, b, row, column)
            left, beside = _clamp(x, width), _clamp(x + 1, width)
            above, below = reference[b, _clamp(y, height)], reference[b, _clamp(y + 1, height)]
            made = target[b, row, column]
            if right == 0 and down == 0:
                for c in range(channels):
                    made[c] += weight * above[left, c]
            else:
                w00, w01 = (_ONE - right) * (_ONE - down), right * (_ONE - down)
                w10, w11 = (_ONE - right) * down, right * down
                for c in range(channels):
                    value = _ZERO
                    value += w00 * above[left, c]
                    value += w01 * above[beside, c]
                    value += w10 * below[left, c]
                    value += w11 * below[beside, c]
                    made[c] += weight * value


@njit(cache=True, nogil=True, fastmath={"contract"})
def scatter_positions(gradient, vectors, weights, which, fraction, target, start, stop):
    """Add to channels `start .. stop - 1` of `target` what reference `which` gets of `gradient`.

    Both are `(B, H, W, C)` float32, the rest as for `compensate_positions`.
    """
    batch, height, width = target.shape[:3]
    for b in range(batch):
        for row in range(height):
            for column in range(width):
                weight = weights[b, which, row, column]
                if weight == 0:
                    continue
                x, y, right, down = _corner(vectors, which, fraction, b, row, column)
                left, beside = _clamp(x, width), _clamp(x + 1, width)
                above, below = target[b, _clamp(y, height)], target[b, _clamp(y + 1, height)]
                given = gradient[b, row, column]
                if right == 0 and down == 0:
                    for c in range(start, stop):
                        above[left, c] += weight * given[c]
                else:
                    w00, w01 = (_ONE - right) * (_ONE - down), right * (_ONE - down)
                    w10, w11 = (_ONE - right) * down, right * down
                    for c in range(start, stop):
                        value = weight * given[c]
                        above[left, c] += w00 * value
                        above[beside, c] += w01 * value
                        below[left, c] += w10 * value
                        below[beside, c] += w11 * value


@njit(inline="always")
def _corner(vectors, which, fraction, b, row, column):
    """Where a position's vector points: x and y in whole, and the rest of both in 0..1."""
    vx = np.int64(vectors[b, 2 * which, row, column])
    vy = np.int64(vectors[b, 2 * which + 1, row, column])
    right, down = np.float32(vx % fraction) / fraction, np.float32(vy % fraction) / fraction
    return column + vx // fraction, row + vy // fraction, np.float32(right), np.float32(down)
