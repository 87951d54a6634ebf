"""Numba kernels by which an encoder decides on intra blocks: modes by SATD, then modes, sizes and
levels by rate and distortion.

All modes of a block are predicted and compared at once, side by side in memory. What is rebuilt is
what `codec.intra.block_kernels` rebuilds: the encoder predicts from the decoder's pixels.
"""

import numpy as np
from numba import njit

from codec.intra.block_kernels import (
    add_residual,
    luma_neighbours,
    predict_block,
    predict_chroma,
    predict_mean,
    predict_planar,
    store_block,
)
from codec.intra.block_tables import CELL, CHROMA, DC, MODES, PLANAR, UNIT
from codec.layers.lanes import address_of
from codec.layers.wavefront import next_row, set_progress, wait_for

MODE_LANES = 40  # modes side by side, a multiple of what a vector holds
GAINS = 6  # of scales that a block may have
_FAST = {"contract", "reassoc", "nsz"}


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

    `errors` are the predictions `(side², MODE_LANES)`, `hadamard` is scratch `(64, MODE_LANES)`.
    """
    costs[:] = 0
    for top in range(0, side, CELL):
        for left in range(0, side, CELL):
            for i in range(CELL):
                for j in range(CELL):
                    value = np.float32(source[y + top + i, x + left + j])
                    predicted, target = errors[(top + i) * side + left + j], hadamard[i * CELL + j]
                    for m in range(MODE_LANES):
                        target[m] = value - predicted[m]
            for stride in (1, 2, 4, 8, 16, 32):
                for p in range(CELL * CELL):
                    if p & stride == 0:
                        upper, lower = hadamard[p], hadamard[p + stride]
                        for m in range(MODE_LANES):
                            a, b = upper[m], lower[m]
                            upper[m], lower[m] = a + b, a - b
            for p in range(CELL * CELL):
                for m in range(MODE_LANES):
                    costs[m] += abs(hadamard[p, m]) * np.float32(0.125)


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
def quantise(coefficients, count, step, bit, prices, levels, tried):
    """Choose the levels of a block by rate and distortion, and how large its scales are.

    A block's coefficients are priced as Laplace distributed, their usual scales multiplied by one
    of a few gains: a decoder's entropy network knows from what surrounds a block about how much
    there is in it.

    Args:
        coefficients: `(count,)` float32, in pixels.
        step: quantisation step in pixels; `bit`: what a bit may cost, squared pixels.
        prices: `(GAINS, 3, count)` float32: bits of 0, of ±1, and of each further level.
        levels: `(count,)` int32, filled; `tried` is scratch of the same kind.

    Returns:
        The squared error plus what the bits cost, and the bits.
    """
    best, best_bits, inverse = np.float32(3e38), np.float32(0), np.float32(1 / step)
    for gain in range(GAINS):
        zero, one, more = prices[gain, 0], prices[gain, 1], prices[gain, 2]
        total, bits = np.float32(0), np.float32(0)
        for p in range(count):
            size = abs(coefficients[p]) * inverse
            upper = np.float32(np.int32(size + np.float32(0.5)))
            low = max(upper - np.float32(1), np.float32(0))
            scale = bit * inverse * inverse
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
            tried[p] = np.int32(level)
        total *= step * step
        if total < best:
            best, best_bits = total, bits
            for p in range(count):
                levels[p] = -tried[p] if coefficients[p] < 0 else tried[p]
    return best, best_bits


@njit(cache=True, nogil=True)
def cheapest(costs, count):
    """The number of the smallest of the first `count` costs, which is taken out."""
    best = 0
    for m in range(1, count):
        if costs[m] < costs[best]:
            best = m
    costs[best] = np.float32(3e38)
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
def search_rows(
    sources,
    levels,
    split,
    modes,
    kinds,
    steps,
    bits,
    prices,
    planes,
    places,
    constants,
    tries,
    spent,
    progress,
):
    """Decide on rows of units, and rebuild them, as long as there are some that no other thread has
    begun.

    Args:
        sources: int32, luma `(B, H, W)` and chroma `(B, 2, H / 2, W / 2)`.
        levels, split, modes, kinds, planes: to be filled, as `rebuild_rows` takes them.
        steps: `(B, 2)` int32, in sixteenths of a pixel.
        bits: `(B, 2)` float32, squared pixels that a bit may cost in luma and in chroma.
        prices: float32, of levels of 16×16 blocks `(B, GAINS, 3, 256)`, of 8×8 blocks `(B, GAINS,
            3, 64)`, of chroma `(B, 2, GAINS, 3, 64)`, of modes `(B, 2, MODES + 2)`, of chroma's
            classes `(B, CHROMA_CLASSES)`, of sizes `(B, 2)`.
        places: `channel_places()`.
        constants: integer matrices of 16 and 8, both float ones each with its transpose `(2, side,
            side)`, `directions` of luma 16, of 8 and of chroma, those of luma by pixel,
            `CHROMA_MODES`.
        tries: how many modes are tried in earnest at 16 and at 8, and how many classes of chroma.
        spent: `(B, h, w, 4)` float32, estimated bits: of luma's levels, of modes and sizes, of
            chroma's levels and classes.
        progress: as for `rebuild_rows`.
    """
    batch, tall, wide = split.shape
    source, source_chroma = sources
    luma, chroma = planes
    whole, cells, colours = places
    (
        matrix_16,
        matrix_8,
        dct_16,
        dct_8,
        of_unit,
        of_cell,
        of_chroma,
        by_pixel_16,
        by_pixel_8,
        chroma_modes,
    ) = constants
    price_16, price_8, price_chroma, price_mode, price_kind, price_size = prices
    most = UNIT * UNIT
    found = np.empty(2 * (4 * UNIT + 1), np.int32)
    made, sums, tried = (
        np.empty(most, np.int32),
        np.empty(most, np.int32),
        np.empty(most, np.int32),
    )
    own, kept, kept_made = (
        np.empty(most, np.int32),
        np.empty(most, np.int32),
        np.empty(most, np.int32),
    )
    unit_made, unit_levels = np.empty(most, np.int32), np.empty(most, np.int32)
    cell_levels = np.empty((4, CELL * CELL), np.int32)
    both_levels, both_made = (
        np.empty((2, CHROMA * CHROMA), np.int32),
        np.empty((2, CHROMA * CHROMA), np.int32),
    )
    errors, hadamard = (
        np.empty((most, MODE_LANES), np.float32),
        np.empty((CELL * CELL, MODE_LANES), np.float32),
    )
    costs, half, coefficients = (
        np.empty(MODE_LANES, np.float32),
        np.empty(most, np.float32),
        np.empty(most, np.float32),
    )
    counter = address_of(progress)
    while True:
        row = next_row(counter)
        if row >= batch * tall:
            return
        b, r = row // tall, row % tall
        step, step_chroma = np.float32(steps[b, 0] / 16), np.float32(steps[b, 1] / 16)
        bit, bit_chroma = bits[b, 0], bits[b, 1]
        satd_bit = np.float32(0.8) * np.sqrt(bit)
        for c in range(wide):
            if r > 0:
                wait_for(counter + 8 * row, min(c + 2, wide))
            y, x = r * UNIT, c * UNIT
            # one block of 16
            luma_neighbours(luma[b], y, x, UNIT, 0, found)
            predict_all(found, UNIT, by_pixel_16, made, errors)
            satd_of_modes(source[b], y, x, UNIT, errors, hadamard, costs)
            for m in range(MODES):
                costs[m] += satd_bit * bits_of_mode(m, modes[b], 2 * r, 2 * c, price_mode[b, 0])
            cost_16, mode_16, bits_16, side_16 = np.float32(3e38), 0, np.float32(0), np.float32(0)
            for _ in range(tries[0]):
                mode = cheapest(costs, MODES)
                predict_block(found, UNIT, mode, True, of_unit, made)
                transform_residual(source[b], y, x, UNIT, made, dct_16, half, coefficients)
                cost, level_bits = quantise(coefficients, most, step, bit, price_16[b], own, tried)
                mode_bits = bits_of_mode(mode, modes[b], 2 * r, 2 * c, price_mode[b, 0])
                cost += bit * mode_bits
                if cost < cost_16:
                    cost_16, mode_16, bits_16, side_16 = cost, mode, level_bits, mode_bits
                    unit_levels[:], unit_made[:] = own, made
            cost_16 += bit * price_size[b, 0]
            # four blocks of 8
            cost_8, bits_8, side_8 = bit * price_size[b, 1], np.float32(0), np.float32(0)
            for part in range(4):
                top, left = y + CELL * (part // 2), x + CELL * (part % 2)
                i, j = top // CELL, left // CELL
                luma_neighbours(luma[b], top, left, CELL, part, found)
                predict_all(found, CELL, by_pixel_8, made, errors)
                satd_of_modes(source[b], top, left, CELL, errors, hadamard, costs)
                for m in range(MODES):
                    costs[m] += satd_bit * bits_of_mode(m, modes[b], i, j, price_mode[b, 1])
                best, best_bits, best_side = np.float32(3e38), np.float32(0), np.float32(0)
                for _ in range(tries[1]):
                    mode = cheapest(costs, MODES)
                    predict_block(found, CELL, mode, True, of_cell, made)
                    transform_residual(source[b], top, left, CELL, made, dct_8, half, coefficients)
                    cost, level_bits = quantise(
                        coefficients, CELL * CELL, step, bit, price_8[b], own, tried
                    )
                    mode_bits = bits_of_mode(mode, modes[b], i, j, price_mode[b, 1])
                    cost += bit * mode_bits
                    if cost < best:
                        best, best_bits, best_side = cost, level_bits, mode_bits
                        kept[:], kept_made[:] = own, made
                        modes[b, i, j] = mode
                cost_8, bits_8, side_8 = cost_8 + best, bits_8 + best_bits, side_8 + best_side
                if cost_8 >= cost_16:
                    break
                for p in range(CELL * CELL):
                    cell_levels[part, p] = kept[p]
                add_residual(kept, CELL, steps[b, 0], matrix_8, sums, kept_made)
                store_block(kept_made, CELL, luma[b], top, left)
            given = levels[b, r, c]
            if cost_8 < cost_16:
                split[b, r, c] = 1
                for part in range(4):
                    for p in range(CELL * CELL):
                        given[cells[part, p]] = cell_levels[part, p]
                spent[b, r, c, 0], spent[b, r, c, 1] = bits_8, side_8 + price_size[b, 1]
            else:
                split[b, r, c] = 0
                modes[b, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2] = mode_16
                for p in range(most):
                    given[whole[p]] = unit_levels[p]
                add_residual(unit_levels, UNIT, steps[b, 0], matrix_16, sums, unit_made)
                store_block(unit_made, UNIT, luma[b], y, x)
                spent[b, r, c, 0], spent[b, r, c, 1] = bits_16, side_16 + price_size[b, 0]
            # chroma
            best, derived = np.float32(3e38), modes[b, 2 * r, 2 * c]
            for kind in range(tries[2]):
                cost, level_bits = bit_chroma * price_kind[b, kind], np.float32(0)
                if kind > 1 and chroma_modes[kind - 2] == derived:
                    continue
                for k in range(2):
                    plane = chroma[b, k]
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
                    transform_residual(
                        source_chroma[b, k], y // 2, x // 2, CHROMA, made, dct_8, half, coefficients
                    )
                    one, some = quantise(
                        coefficients,
                        CHROMA * CHROMA,
                        step_chroma,
                        bit_chroma,
                        price_chroma[b, k],
                        own,
                        tried,
                    )
                    cost, level_bits = cost + one, level_bits + some
                    for p in range(CHROMA * CHROMA):
                        both_levels[k, p], both_made[k, p] = own[p], made[p]
                if cost < best:
                    best, kinds[b, r, c] = cost, kind
                    spent[b, r, c, 2], spent[b, r, c, 3] = level_bits, price_kind[b, kind]
                    for k in range(2):
                        for p in range(CHROMA * CHROMA):
                            kept[k * CHROMA * CHROMA + p] = both_levels[k, p]
                            kept_made[k * CHROMA * CHROMA + p] = both_made[k, p]
            for k in range(2):
                first, end = k * CHROMA * CHROMA, (k + 1) * CHROMA * CHROMA
                for p in range(CHROMA * CHROMA):
                    given[colours[k, p]] = kept[first + p]
                add_residual(
                    kept[first:end], CHROMA, steps[b, 1], matrix_8, sums, kept_made[first:end]
                )
                store_block(kept_made[first:end], CHROMA, chroma[b, k], y // 2, x // 2)
            set_progress(counter + 8 * (row + 1), c + 1)
