"""Numba kernels by which an encoder decides on intra blocks, by rate and distortion.

All modes of a block are predicted and compared at once, side by side in memory. What is rebuilt is
what `codec.blocks.rebuild_kernels` rebuilds: the encoder predicts from the decoder's pixels.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from codec.blocks.rebuild_kernels import (
    add_residual,
    luma_neighbours,
    predict_block,
    predict_chroma,
    predict_mean,
    predict_planar,
    store_block,
)
from codec.blocks.tables import CELL, CHROMA, DC, LINEAR, MODES, PLANAR, STEP_PARTS, UNIT
from codec.layers.intrinsics import address_of, next_row, set_progress, wait_for

MODE_LANES = 40  # modes side by side, a multiple of what a vector holds
SATD_OF_A_BIT = np.float32(0.8)  # over the root of what a bit may cost in squared pixels
_FAST = {"contract", "reassoc", "nsz"}
_FAR = np.float32(3e38)


class Frames(NamedTuple):
    """What is coded, and what becomes of it.

    Levels, sizes, modes, classes and rebuilt pixels are as `rebuild_rows` takes them.
    """

    source: np.ndarray  # luma (B, H, W) int32
    source_chroma: np.ndarray  # (B, 2, H / 2, W / 2) int32
    levels: np.ndarray
    split: np.ndarray
    modes: np.ndarray
    kinds: np.ndarray
    luma: np.ndarray
    chroma: np.ndarray
    spent: (
        np.ndarray
    )  # (B, h, w, 4) float32, bits: luma's levels, modes and sizes, chroma's, classes


class Choices(NamedTuple):
    """Steps, the price of a bit, and how thorough the search is."""

    steps: np.ndarray  # (B, 2) int32, of luma and chroma, in sixteenths of a pixel
    bits: np.ndarray  # (B, 2) float32, squared pixels that a bit may cost in luma and in chroma
    unit: int  # modes that are tried in earnest at 16
    cell: int  # at 8
    kinds: int  # classes of chroma


class Prices(NamedTuple):
    """Bits of symbols, float32; of levels by coefficient: of 0, of ±1, and of each further one."""

    unit: np.ndarray  # (B, G, 3, 256) of levels, with the scales of a block multiplied by G gains
    cell: np.ndarray  # (B, G, 3, 64)
    chroma: np.ndarray  # (B, 2, G, 3, 64)
    mode: np.ndarray  # (B, 2, MODES + 2), as `bits_of_mode` takes them
    kind: np.ndarray  # (B, CHROMA_CLASSES)
    size: np.ndarray  # (B, 2)
    levels: np.ndarray  # (64, 3) of levels by scale index
    scales: np.ndarray  # (B, 2, h, w, C) int8, positions of a unit as one and as four; or B is 0


class Tables(NamedTuple):
    """Constants: see `codec.blocks.tables`."""

    whole: np.ndarray  # channels of a unit's coefficients, (256,)
    cells: np.ndarray  # (4, 64)
    colours: np.ndarray  # (2, 64)
    matrix_16: np.ndarray  # integer transforms
    matrix_8: np.ndarray
    dct_16: np.ndarray  # (2, 16, 16) float32, and the transpose
    dct_8: np.ndarray
    of_unit: tuple  # directions
    of_cell: tuple
    of_chroma: tuple
    by_pixel_16: tuple  # the same by pixel, (side², MODE_LANES)
    by_pixel_8: tuple
    chroma_modes: np.ndarray


class Scratch(NamedTuple):
    """Memory of one thread."""

    found: np.ndarray  # neighbours
    made: np.ndarray  # predictions and levels that are tried
    sums: np.ndarray
    tried: np.ndarray
    own: np.ndarray
    kept: np.ndarray  # the best levels and predictions
    kept_made: np.ndarray
    unit_levels: np.ndarray
    unit_made: np.ndarray
    cell_levels: np.ndarray
    both_levels: np.ndarray
    both_made: np.ndarray
    errors: np.ndarray
    hadamard: np.ndarray
    costs: np.ndarray
    half: np.ndarray
    coefficients: np.ndarray
    unit_prices: np.ndarray
    cell_prices: np.ndarray


@njit(cache=True, nogil=True, fastmath=_FAST)
def predict_all(found, side, by_pixel, made, errors):
    """Fill `errors` `(side², MODE_LANES)` float32 with the predictions by all modes; `made` is
    scratch.
    """
    first, second, part = by_pixel
    for p in range(side * side):
        for m in range(MODE_LANES):
            a, b, f = found[first[p, m]], found[second[p, m]], part[p, m]
            errors[p, m] = np.float32(np.int32(np.int32((32 - f) * a + f * b + 16) >> 5))
    shift = 4 if side == CELL else 5
    predict_planar(found, side, shift, 4 * side + 1, made)
    for p in range(side * side):
        errors[p, PLANAR] = made[p]
    predict_mean(found, side, shift, True, made)
    for p in range(side * side):
        errors[p, DC] = made[p]


@njit(cache=True, nogil=True, fastmath=_FAST)
def satd_of_modes(source, y, x, side, errors, hadamard, costs):
    """Fill `costs` `(MODE_LANES,)` float32 with sums of absolute orthonormal Hadamard coefficients
    of what each mode leaves.

    `errors` are the predictions `(side², MODE_LANES)`, `hadamard` is scratch
    `(8, 8, MODE_LANES)`. Eight values at a time are transformed between one load and one store.
    """
    costs[:] = 0
    for top in range(0, side, CELL):
        for left in range(0, side, CELL):
            for i in range(CELL):
                first = (top + i) * side + left
                row = source[y + top + i, x + left : x + left + CELL]
                target = hadamard[i]
                s0, s1, s2, s3 = _four_of(row, 0)
                s4, s5, s6, s7 = _four_of(row, 4)
                for m in range(MODE_LANES):
                    made = _hadamard_of_8(
                        s0 - errors[first, m],
                        s1 - errors[first + 1, m],
                        s2 - errors[first + 2, m],
                        s3 - errors[first + 3, m],
                        s4 - errors[first + 4, m],
                        s5 - errors[first + 5, m],
                        s6 - errors[first + 6, m],
                        s7 - errors[first + 7, m],
                    )
                    target[0, m], target[1, m], target[2, m], target[3, m] = made[:4]
                    target[4, m], target[5, m], target[6, m], target[7, m] = made[4:]
            for j in range(CELL):
                for m in range(MODE_LANES):
                    made = _hadamard_of_8(
                        hadamard[0, j, m],
                        hadamard[1, j, m],
                        hadamard[2, j, m],
                        hadamard[3, j, m],
                        hadamard[4, j, m],
                        hadamard[5, j, m],
                        hadamard[6, j, m],
                        hadamard[7, j, m],
                    )
                    total = abs(made[0]) + abs(made[1]) + abs(made[2]) + abs(made[3])
                    total += abs(made[4]) + abs(made[5]) + abs(made[6]) + abs(made[7])
                    costs[m] += np.float32(0.125) * total


@njit(cache=True, nogil=True, fastmath=_FAST, inline="always")
def _four_of(row, first):
    """Four pixels as float32."""
    return (
        np.float32(row[first]),
        np.float32(row[first + 1]),
        np.float32(row[first + 2]),
        np.float32(row[first + 3]),
    )


@njit(cache=True, nogil=True, fastmath=_FAST, inline="always")
def _hadamard_of_8(a0, a1, a2, a3, a4, a5, a6, a7):
    """The Hadamard transform of eight values, times √8."""
    b0, b1, b2, b3 = a0 + a4, a1 + a5, a2 + a6, a3 + a7
    b4, b5, b6, b7 = a0 - a4, a1 - a5, a2 - a6, a3 - a7
    c0, c1, c2, c3 = b0 + b2, b1 + b3, b0 - b2, b1 - b3
    c4, c5, c6, c7 = b4 + b6, b5 + b7, b4 - b6, b5 - b7
    return c0 + c1, c0 - c1, c2 + c3, c2 - c3, c4 + c5, c4 - c5, c6 + c7, c6 - c7


@njit(cache=True, nogil=True, fastmath=_FAST)
def transform_residual(source, y, x, side, predicted, matrix, half, coefficients):
    """Fill `coefficients` `(side²,)` float32 with the orthonormal DCT of source minus prediction;
    `half` is scratch.
    """
    half[: side * side] = 0
    for i in range(side):
        for j in range(side):
            value = np.float32(source[y + i, x + j] - predicted[i * side + j])
            for u in range(side):
                half[i * side + u] += value * matrix[1, j, u]
    coefficients[: side * side] = 0
    for i in range(side):
        for v in range(side):
            weight = matrix[0, v, i]
            for u in range(side):
                coefficients[v * side + u] += weight * half[i * side + u]


@njit(cache=True, nogil=True, fastmath=_FAST)
def quantise_by(coefficients, count, step, bit, prices, levels):
    """Choose the levels of a block by rate and distortion; all is as for `quantise`, but `levels`
    have no signs yet, and prices are `(3, count)`.
    """
    zero, one, more = prices[0], prices[1], prices[2]
    total, bits, inverse = np.float32(0), np.float32(0), np.float32(1 / step)
    scale = bit * inverse * inverse
    for p in range(count):
        size = abs(coefficients[p]) * inverse
        upper = np.float32(np.int32(size + np.float32(0.5)))
        low = max(upper - np.float32(1), np.float32(0))
        bits_0 = zero[p]
        bits_u = one[p] + (upper - np.float32(1)) * more[p] if upper > 0 else bits_0
        bits_l = one[p] + (low - np.float32(1)) * more[p] if low > 0 else bits_0
        cost_0 = size * size + scale * bits_0
        cost_u = (size - upper) * (size - upper) + scale * bits_u
        cost_l = (size - low) * (size - low) + scale * bits_l
        level, cost, own = upper, cost_u, bits_u
        if cost_l < cost:
            level, cost, own = low, cost_l, bits_l
        if cost_0 < cost:
            level, cost, own = np.float32(0), cost_0, bits_0
        total += cost
        bits += own
        levels[p] = np.int32(level)
    return total * step * step, bits


@njit(cache=True, nogil=True)
def quantise(coefficients, count, step, bit, prices, levels, tried):
    """Choose the levels of a block by rate and distortion, and how large its scales are.

    A block's coefficients are priced as Laplace distributed, their usual scales multiplied by one
    of a few gains: a decoder's entropy network knows from what surrounds a block about how much
    there is in it. Gains are tried from the lowest up, as long as that costs less.

    Args:
        coefficients: `(count,)` float32, in pixels.
        step: quantisation step in pixels; `bit`: what a bit may cost, squared pixels.
        prices: `(G, 3, count)` float32: bits of 0, of ±1, and of each further level.
        levels: `(count,)` int32, filled; `tried` is scratch of the same kind.

    Returns:
        The squared error plus what the bits cost, and the bits.
    """
    best, bits = quantise_by(coefficients, count, step, bit, prices[0], levels)
    for gain in range(1, len(prices)):
        cost, own = quantise_by(coefficients, count, step, bit, prices[gain], tried)
        if cost >= best:
            break
        best, bits = cost, own
        levels[:count] = tried[:count]
    for p in range(count):
        if coefficients[p] < 0:
            levels[p] = -levels[p]
    return best, bits


@njit(cache=True, nogil=True)
def cheapest(costs, count):
    """The number of the smallest of the first `count` costs, which is taken out."""
    best = 0
    for m in range(1, count):
        if costs[m] < costs[best]:
            best = m
    costs[best] = _FAR
    return best


@njit(cache=True, nogil=True)
def bits_of_mode(mode, modes, row, column, prices):
    """Bits of the mode of the cell at (row, column): those of the mode by itself, or fewer where a
    neighbour has it.

    `prices` `(MODES + 2,)`: of modes, of one that the cell beside or above has, and of one that
    both have.
    """
    beside = column > 0 and modes[row, column - 1] == mode
    above = row > 0 and modes[row - 1, column] == mode
    if beside and above:
        return prices[MODES + 1]
    return min(prices[MODES], prices[mode]) if beside or above else prices[mode]


@njit(cache=True, nogil=True)
def level_prices(prices, usual, b, r, c, four, channels, filled):
    """Prices of the levels in some channels of a unit: `usual` ones, or what the scales there say.

    `filled` `(1, 3, n)` is written to; `four` is 1 where the unit is taken for four blocks.
    """
    if len(prices.scales) == 0:
        return usual
    positions = prices.scales[b, four, r, c]
    for p in range(len(channels)):
        bits = prices.levels[positions[channels[p]]]
        filled[0, 0, p], filled[0, 1, p], filled[0, 2, p] = bits[0], bits[1], bits[2]
    return filled


@njit(cache=True, nogil=True)
def best_unit(frames, choices, prices, tables, work, b, r, c):
    """The best way to code luma of a unit as one block: cost, mode, bits of levels and of the mode.

    Its levels and its prediction are left in `work.unit_levels` and `work.unit_made`.
    """
    source, modes, bit = frames.source[b], frames.modes[b], choices.bits[b, 0]
    y, x, step = r * UNIT, c * UNIT, np.float32(choices.steps[b, 0] / STEP_PARTS)
    luma_neighbours(frames.luma[b], y, x, UNIT, 0, work.found)
    predict_all(work.found, UNIT, tables.by_pixel_16, work.made, work.errors)
    satd_of_modes(source, y, x, UNIT, work.errors, work.hadamard, work.costs)
    satd_bit = SATD_OF_A_BIT * np.sqrt(bit)
    for m in range(MODES):
        work.costs[m] += satd_bit * bits_of_mode(m, modes, 2 * r, 2 * c, prices.mode[b, 0])
    own = level_prices(prices, prices.unit[b], b, r, c, 0, tables.whole, work.unit_prices)
    best, best_mode, best_bits, best_side = _FAR, 0, np.float32(0), np.float32(0)
    for _ in range(choices.unit):
        mode = cheapest(work.costs, MODES)
        predict_block(work.found, UNIT, mode, True, tables.of_unit, work.made)
        transform_residual(
            source, y, x, UNIT, work.made, tables.dct_16, work.half, work.coefficients
        )
        count = UNIT * UNIT
        cost, bits = quantise(work.coefficients, count, step, bit, own, work.own, work.tried)
        side = bits_of_mode(mode, modes, 2 * r, 2 * c, prices.mode[b, 0])
        cost += bit * side
        if cost < best:
            best, best_mode, best_bits, best_side = cost, mode, bits, side
            work.unit_levels[:], work.unit_made[:] = work.own, work.made
    return best + bit * prices.size[b, 0], best_mode, best_bits, best_side


@njit(cache=True, nogil=True)
def best_cell(frames, choices, prices, tables, work, b, r, c, part):
    """The same for the block of 8 `part` of a unit; its mode is set, and its pixels are rebuilt."""
    source, modes, bit = frames.source[b], frames.modes[b], choices.bits[b, 0]
    i, j, step = 2 * r + part // 2, 2 * c + part % 2, np.float32(choices.steps[b, 0] / STEP_PARTS)
    y, x = CELL * i, CELL * j
    luma_neighbours(frames.luma[b], y, x, CELL, part, work.found)
    predict_all(work.found, CELL, tables.by_pixel_8, work.made, work.errors)
    satd_of_modes(source, y, x, CELL, work.errors, work.hadamard, work.costs)
    satd_bit = SATD_OF_A_BIT * np.sqrt(bit)
    for m in range(MODES):
        work.costs[m] += satd_bit * bits_of_mode(m, modes, i, j, prices.mode[b, 1])
    own = level_prices(prices, prices.cell[b], b, r, c, 1, tables.cells[part], work.cell_prices)
    best, best_bits, best_side, best_mode = _FAR, np.float32(0), np.float32(0), 0
    for _ in range(choices.cell):
        mode = cheapest(work.costs, MODES)
        predict_block(work.found, CELL, mode, True, tables.of_cell, work.made)
        transform_residual(
            source, y, x, CELL, work.made, tables.dct_8, work.half, work.coefficients
        )
        count = CELL * CELL
        cost, bits = quantise(work.coefficients, count, step, bit, own, work.own, work.tried)
        side = bits_of_mode(mode, modes, i, j, prices.mode[b, 1])
        cost += bit * side
        if cost < best:
            best, best_bits, best_side, best_mode = cost, bits, side, mode
            work.kept[:], work.kept_made[:] = work.own, work.made
    modes[i, j] = best_mode
    for p in range(CELL * CELL):
        work.cell_levels[part, p] = work.kept[p]
    step_size, matrix = choices.steps[b, 0], tables.matrix_8
    add_residual(work.kept, CELL, step_size, matrix, work.sums, work.kept_made)
    store_block(work.kept_made, CELL, frames.luma[b], y, x)
    return best, best_bits, best_side


@njit(cache=True, nogil=True)
def search_luma(frames, choices, prices, tables, work, b, r, c):
    """Code luma of a unit as one block or as four, whatever costs less, and return the cost."""
    one = best_unit(frames, choices, prices, tables, work, b, r, c)
    four, bits, side = choices.bits[b, 0] * prices.size[b, 1], np.float32(0), prices.size[b, 1]
    for part in range(4):
        some = best_cell(frames, choices, prices, tables, work, b, r, c, part)
        four, bits, side = four + some[0], bits + some[1], side + some[2]
        if four >= one[0]:
            break
    given, spent = frames.levels[b, r, c], frames.spent[b, r, c]
    frames.split[b, r, c] = four < one[0]
    if four < one[0]:
        for part in range(4):
            for p in range(CELL * CELL):
                given[tables.cells[part, p]] = work.cell_levels[part, p]
        spent[0], spent[1] = bits, side
        return four
    frames.modes[b, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2] = one[1]
    for p in range(UNIT * UNIT):
        given[tables.whole[p]] = work.unit_levels[p]
    step, matrix = choices.steps[b, 0], tables.matrix_16
    add_residual(work.unit_levels, UNIT, step, matrix, work.sums, work.unit_made)
    store_block(work.unit_made, UNIT, frames.luma[b], r * UNIT, c * UNIT)
    spent[0], spent[1] = one[2], one[3] + prices.size[b, 0]
    return one[0]


@njit(cache=True, nogil=True)
def search_chroma(frames, choices, prices, tables, work, b, r, c):
    """Code both blocks of chroma of a unit whose luma is rebuilt, and return the cost."""
    y, x, count = r * CHROMA, c * CHROMA, CHROMA * CHROMA
    bit, step = choices.bits[b, 1], np.float32(choices.steps[b, 1] / STEP_PARTS)
    four, derived = frames.split[b, r, c], frames.modes[b, 2 * r, 2 * c]
    spent, best = frames.spent[b, r, c], _FAR
    for kind in range(choices.kinds):
        if kind > LINEAR and tables.chroma_modes[kind - 2] == derived:
            continue
        cost, bits = bit * prices.kind[b, kind], np.float32(0)
        for k in range(2):
            plane, made, channels = frames.chroma[b, k], work.made, tables.colours[k]
            predict_chroma(
                frames.luma[b],
                plane,
                y,
                x,
                kind,
                derived,
                tables.chroma_modes,
                tables.of_chroma,
                work.found,
                made,
            )
            source = frames.source_chroma[b, k]
            transform_residual(
                source, y, x, CHROMA, made, tables.dct_8, work.half, work.coefficients
            )
            usual = prices.chroma[b, k]
            own = level_prices(prices, usual, b, r, c, four, channels, work.cell_prices)
            one, some = quantise(work.coefficients, count, step, bit, own, work.own, work.tried)
            cost, bits = cost + one, bits + some
            for p in range(count):
                work.both_levels[k, p], work.both_made[k, p] = work.own[p], made[p]
        if cost < best:
            best, frames.kinds[b, r, c] = cost, kind
            spent[2], spent[3] = bits, prices.kind[b, kind]
            for p in range(2 * count):
                work.kept[p] = work.both_levels[p // count, p % count]
                work.kept_made[p] = work.both_made[p // count, p % count]
    for k in range(2):
        levels, made = work.kept[k * count : (k + 1) * count], work.kept_made[k * count :]
        for p in range(count):
            frames.levels[b, r, c, tables.colours[k, p]] = levels[p]
        add_residual(levels, CHROMA, choices.steps[b, 1], tables.matrix_8, work.sums, made)
        store_block(made, CHROMA, frames.chroma[b, k], y, x)
    return best


@njit(cache=True, nogil=True)
def make_scratch():
    """Memory of a thread."""
    most, small = UNIT * UNIT, CELL * CELL
    return Scratch(
        np.empty(2 * (4 * UNIT + 1), np.int32),
        np.empty(most, np.int32),
        np.empty(most, np.int32),
        np.empty(most, np.int32),
        np.empty(most, np.int32),
        np.empty(most, np.int32),
        np.empty(most, np.int32),
        np.empty(most, np.int32),
        np.empty(most, np.int32),
        np.empty((4, small), np.int32),
        np.empty((2, small), np.int32),
        np.empty((2, small), np.int32),
        np.empty((most, MODE_LANES), np.float32),
        np.empty((CELL, CELL, MODE_LANES), np.float32),
        np.empty(MODE_LANES, np.float32),
        np.empty(most, np.float32),
        np.empty(most, np.float32),
        np.empty((1, 3, most), np.float32),
        np.empty((1, 3, small), np.float32),
    )


@njit(cache=True, nogil=True)
def search_rows(frames, choices, prices, tables, progress):
    """Decide on rows of units, and rebuild them, as long as there are some that no other thread has
    begun.

    `progress` is as for `rebuild_rows`.
    """
    batch, tall, wide = frames.split.shape
    work = make_scratch()
    counter = address_of(progress)
    while True:
        row = next_row(counter)
        if row >= batch * tall:
            return
        b, r = row // tall, row % tall
        for c in range(wide):
            if r > 0:
                wait_for(counter + 8 * row, min(c + 2, wide))
            search_luma(frames, choices, prices, tables, work, b, r, c)
            search_chroma(frames, choices, prices, tables, work, b, r, c)
            set_progress(counter + 8 * (row + 1), c + 1)
