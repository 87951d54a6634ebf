"""Numba kernels of block motion compensation with separable filters, and of its gradient.

`compensation` says what they compute. Cells of a row that lie side by side and move alike are
filtered as one run. A pixel goes through the same operations in the same order in any run.
"""

from collections.abc import Callable
from functools import cache
from math import gcd

import numpy as np
from numba import njit
from numba.np.unsafe.ndarray import to_fixed_tuple

from codec.layers.intrinsics import add_filtered_lanes, address_of, correlate_lanes, filter_lanes

_ZERO, _ONE = np.float32(0), np.float32(1)
_RUN = 64  # pixels of the longest run: its patch stays in the first cache
_PIXEL = 4  # bytes


@cache
def forward_kernel(block: int, taps: int) -> Callable:
    """The kernel that adds one reference's part, made for one `block` and number of `taps`.

    `kernel(reference, vectors, weights, which, filters, target, first, end)` adds the part of
    reference number `which` to rows of cells `first .. end - 1`, counted over all planes, after it
    has cleared them if `which` is 0. `reference` and `target` are `(B, C, H, W)` float32, `vectors`
    `(B, 2·R, H / block, W / block)` int32, `weights` `(B, R, H / block, W / block)` float32,
    `filters` `(fraction, taps)` float32; all contiguous.
    """
    before, longest, beside, lane = _sizes(block, taps)

    @njit(cache=True, nogil=True)
    def compensate_rows(reference, vectors, weights, which, filters, target, first, end):
        channels, height, width = reference.shape[1:]
        tall, wide = vectors.shape[2:]
        fraction, room = filters.shape[0], (longest + beside) * block
        patch = np.zeros((block + taps - 1, room), np.float32)
        middle = np.zeros((block, room), np.float32)
        lanes, alone = to_fixed_tuple(np.zeros(lane), lane), (_ONE,)
        for line in range(first, end):
            at, row = line // tall, line % tall
            b, c = at // channels, at % channels
            plane = address_of(reference) + at * height * width * _PIXEL
            made = address_of(target) + (at * height + row * block) * width * _PIXEL
            if which == 0:
                target[b, c, row * block : (row + 1) * block] = _ZERO
            start = 0
            while start < wide:
                stop = _run_end(vectors, weights, which, b, row, start, longest)
                weight = weights[b, which, row, start]
                if weight != 0:
                    vx = np.int64(vectors[b, 2 * which, row, start])
                    vy = np.int64(vectors[b, 2 * which + 1, row, start])
                    across, down = vx % fraction, vy % fraction
                    x, y = start * block + vx // fraction, row * block + vy // fraction
                    columns, rows = (stop - start) * block, block
                    if across != 0:
                        x, columns = x - before, columns + beside * block
                    if down != 0:
                        y, rows = y - before, rows + taps - 1
                    area, stride = plane + (y * width + x) * _PIXEL, width
                    if x < 0 or y < 0 or x + columns > width or y + rows > height:
                        _cut(reference, b, c, x, y, patch, rows, columns)
                        area, stride = address_of(patch), room
                    if down != 0:
                        part = to_fixed_tuple(filters[down], taps)
                        goal = address_of(middle)
                        _filter(area, stride, stride, part, goal, room, block, columns, lanes)
                        area, stride = goal, room
                    goal, columns = made + start * block * _PIXEL, (stop - start) * block
                    if across != 0:
                        part = to_fixed_tuple(filters[across], taps)
                        _add(area, stride, 1, part, weight, goal, width, block, columns, lanes)
                    else:
                        _add(area, stride, 1, alone, weight, goal, width, block, columns, lanes)
                start = stop

    return compensate_rows


@cache
def backward_kernel(block: int, taps: int) -> Callable:
    """The kernel of the gradient to one reference, made for one `block` and number of `taps`.

    `kernel(gradient, vectors, weights, which, filters, target, first, end)` adds to planes
    `first .. end - 1` of `target`, counted over the batch, what reference `which` gets of
    `gradient`; both are `(B, C, H, W)` float32, the rest as for `forward_kernel`.
    """
    before, longest, beside, lane = _sizes(block, taps)

    @njit(cache=True, nogil=True)
    def scatter_planes(gradient, vectors, weights, which, filters, target, first, end):
        channels, height, width = target.shape[1:]
        tall, wide = vectors.shape[2:]
        fraction, room = filters.shape[0], (longest + beside) * block
        long = taps - 1 + room
        turned = np.ascontiguousarray(filters[:, ::-1])
        padded = np.zeros((block, long), np.float32)  # zeros on the left and the right
        middle = np.zeros((block + 2 * (taps - 1), room), np.float32)  # zeros above and below
        patch = np.zeros((block + taps - 1, room), np.float32)
        lanes, alone = to_fixed_tuple(np.zeros(lane), lane), (_ONE,)
        for line in range(first * tall, end * tall):
            at, row = line // tall, line % tall
            b, c = at // channels, at % channels
            plane = address_of(target) + at * height * width * _PIXEL
            given = address_of(gradient) + (at * height + row * block) * width * _PIXEL
            start = 0
            while start < wide:
                stop = _run_end(vectors, weights, which, b, row, start, longest)
                weight = weights[b, which, row, start]
                if weight != 0:
                    vx = np.int64(vectors[b, 2 * which, row, start])
                    vy = np.int64(vectors[b, 2 * which + 1, row, start])
                    across, down = vx % fraction, vy % fraction
                    x, y = start * block + vx // fraction, row * block + vy // fraction
                    columns, rows = (stop - start) * block, block
                    area, scale = given + start * block * _PIXEL, (weight,)
                    inner = address_of(middle) + (taps - 1) * room * _PIXEL
                    if across != 0:
                        goal = address_of(padded) + (taps - 1) * _PIXEL
                        _filter(area, width, 1, scale, goal, long, block, columns, lanes)
                        _clear(padded, taps - 1 + columns, beside * block)
                        x, columns = x - before, columns + beside * block
                        part, area = to_fixed_tuple(turned[across], taps), address_of(padded)
                        _filter(area, long, 1, part, inner, room, block, columns, lanes)
                    else:
                        _filter(area, width, 1, scale, inner, room, block, columns, lanes)
                    if down != 0:
                        y, rows = y - before, rows + taps - 1
                    goal, stride = plane + (y * width + x) * _PIXEL, width
                    inside = x >= 0 and y >= 0 and x + columns <= width and y + rows <= height
                    if not inside:
                        patch[:] = _ZERO
                        goal, stride = address_of(patch), room
                    if down != 0:
                        part, area = to_fixed_tuple(turned[down], taps), address_of(middle)
                        _add(area, room, room, part, _ONE, goal, stride, rows, columns, lanes)
                    else:
                        _add(inner, room, 1, alone, _ONE, goal, stride, rows, columns, lanes)
                    if not inside:
                        _put_back(patch, target, b, c, x, y, rows, columns)
                start = stop

    return scatter_planes


@cache
def filters_kernel(block: int, taps: int) -> Callable:
    """The kernel of the gradient to the filters, made for one `block` and number of `taps`.

    `kernel(reference, gradient, vectors, weights, which, filters, sums, first, end)` adds to `sums`
    `(B·C, fraction, taps)` float64 what planes `first .. end - 1` contribute through reference
    `which`; the rest as for `backward_kernel`.
    """
    before, longest, beside, lane = _sizes(block, taps)

    @njit(cache=True, nogil=True)
    def correlate_planes(reference, gradient, vectors, weights, which, filters, sums, first, end):
        channels, height, width = reference.shape[1:]
        tall, wide = vectors.shape[2:]
        fraction, room = filters.shape[0], (longest + beside) * block
        patch = np.zeros((block + taps - 1, room), np.float32)
        middle = np.zeros((block + taps - 1, room), np.float32)
        found = np.zeros((taps, lane), np.float32)
        lanes = to_fixed_tuple(np.zeros(lane), lane)
        for line in range(first * tall, end * tall):
            at, row = line // tall, line % tall
            b, c = at // channels, at % channels
            plane = address_of(reference) + at * height * width * _PIXEL
            given = address_of(gradient) + (at * height + row * block) * width * _PIXEL
            start = 0
            while start < wide:
                stop = _run_end(vectors, weights, which, b, row, start, longest)
                weight = weights[b, which, row, start]
                vx = np.int64(vectors[b, 2 * which, row, start])
                vy = np.int64(vectors[b, 2 * which + 1, row, start])
                across, down = vx % fraction, vy % fraction
                if weight != 0 and (across != 0 or down != 0):
                    x, y = start * block + vx // fraction, row * block + vy // fraction
                    columns, rows = (stop - start) * block, block
                    ours, span = given + start * block * _PIXEL, columns
                    if across != 0:
                        x, columns = x - before, columns + beside * block
                    if down != 0:
                        y, rows = y - before, rows + taps - 1
                    area, stride = plane + (y * width + x) * _PIXEL, width
                    if x < 0 or y < 0 or x + columns > width or y + rows > height:
                        _cut(reference, b, c, x, y, patch, rows, columns)
                        area, stride = address_of(patch), room
                    goal = address_of(middle)
                    if across != 0:
                        part, half, pitch = to_fixed_tuple(filters[across], taps), area, stride
                        if down != 0:
                            other = to_fixed_tuple(filters[down], taps)
                            _filter(area, stride, stride, other, goal, room, block, columns, lanes)
                            half, pitch = goal, room
                        _correlate(half, pitch, 1, part, ours, width, found, block, span, lanes)
                        _add_sums(found, weight, sums, at, across)
                    if down != 0:
                        part, half, pitch = to_fixed_tuple(filters[down], taps), area, stride
                        if across != 0:
                            other = to_fixed_tuple(filters[across], taps)
                            _filter(area, stride, 1, other, goal, room, rows, span, lanes)
                            half, pitch = goal, room
                        _correlate(half, pitch, pitch, part, ours, width, found, block, span, lanes)
                        _add_sums(found, weight, sums, at, down)
                start = stop

    return correlate_planes


def _sizes(block: int, taps: int) -> tuple[int, int, int, int]:
    """Taps before a pixel, cells of the longest run, of what filters need beside one, and lanes."""
    return taps // 2 - 1, max(1, _RUN // block), -(-(taps - 1) // block), gcd(block, 8)


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
def _filter(area, stride, step, coefficients, goal, pitch, rows, columns, lanes):
    """Filter `rows` x `columns` from address `area` to `goal`; their rows are `stride` and `pitch`.

    Taps are `step` apart: 1 filters rows, `stride` columns.
    """
    for i in range(rows):
        for j in range(0, columns, len(lanes)):
            source, target = area + (i * stride + j) * _PIXEL, goal + (i * pitch + j) * _PIXEL
            filter_lanes(target, source, step, coefficients, lanes)


@njit(inline="always")
def _add(area, stride, step, coefficients, weight, goal, pitch, rows, columns, lanes):
    """As `_filter`, but adds `weight` times the result to what is at `goal`."""
    for i in range(rows):
        for j in range(0, columns, len(lanes)):
            source, target = area + (i * stride + j) * _PIXEL, goal + (i * pitch + j) * _PIXEL
            add_filtered_lanes(target, weight, source, step, coefficients, lanes)


@njit(inline="always")
def _correlate(area, stride, step, coefficients, given, pitch, found, rows, columns, lanes):
    """Fill `found` `(taps, lanes)` with inner products of `given` and `area`, tap by tap."""
    found[:] = _ZERO
    for i in range(rows):
        for j in range(0, columns, len(lanes)):
            source, other = area + (i * stride + j) * _PIXEL, given + (i * pitch + j) * _PIXEL
            correlate_lanes(address_of(found), other, source, step, coefficients, lanes)


@njit(inline="always")
def _add_sums(found, weight, sums, at, phase):
    for k in range(found.shape[0]):
        for j in range(found.shape[1]):
            sums[at, phase, k] += weight * np.float64(found[k, j])


@njit(inline="always")
def _clear(area, left, columns):
    """Set `columns` columns of `area` to zero."""
    for i in range(area.shape[0]):
        for j in range(left, left + columns):
            area[i, j] = _ZERO


@njit(inline="always")
def _clamp(index, size):
    return min(max(index, 0), size - 1)


@njit
def _cut(planes, b, c, x, y, patch, rows, columns):
    """Fill `rows` x `columns` of `patch` from a plane at (x, y), borders repeated."""
    height, width = planes.shape[2:]
    for i in range(rows):
        source = _clamp(y + i, height)
        for j in range(columns):
            patch[i, j] = planes[b, c, source, _clamp(x + j, width)]


@njit
def _put_back(patch, planes, b, c, x, y, rows, columns):
    """Add `rows` x `columns` of `patch` to a plane at (x, y): what `_cut` repeats adds up."""
    height, width = planes.shape[2:]
    for i in range(rows):
        target = _clamp(y + i, height)
        for j in range(columns):
            planes[b, c, target, _clamp(x + j, width)] += patch[i, j]


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
