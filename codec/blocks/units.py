"""Units of predicted frames: what an encoder decided, and the calls that decide and rebuild."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional as F

from codec.blocks.intra_blocks import (
    IntraBlocks,
    SearchPrices,
    kernel_array,
    kernel_constants,
    kernel_prices,
    search_tables,
)
from codec.blocks.rebuild import level_residuals, rebuild_by_tensors
from codec.blocks.rebuild_kernels import (
    FAR,
    add_residual,
    rebuild_scratch,
    rebuild_unit,
    store_block,
)
from codec.blocks.search_kernels import (
    Choices,
    Frames,
    level_prices,
    make_scratch,
    quantise,
    search_chroma,
    search_luma,
    transform_residual,
)
from codec.blocks.tables import CELL, CHANNELS, CHROMA, LARGEST, STEP_PARTS, UNIT, channel_places
from codec.layers.intrinsics import address_of, next_row, set_progress, wait_for
from codec.layers.kernels import in_bands, on_cpu

UNCODED, INTER_16, INTER_8, INTRA_16, INTRA_8 = range(5)
TYPES = 5
NO_MODE = 255  # of units that are not intra, while deciding
# Intra modes are tried where inter coding costs as much as so many bits, and where prediction
# leaves more of luma's energy than such a share of what is about its mean.
_COST_WORTH_TRYING, _SHARE_WORTH_TRYING = np.float32(24), np.float32(0.4)
_FAST = {"contract", "reassoc", "nsz"}


@dataclass(frozen=True, kw_only=True)
class PredictedUnits:
    """The symbols of predicted frames, all of them integers.

    Attributes:
        levels: `(B, C, h, w)` quantised coefficients, one place a unit of 16×16 pixels.
        maps: `(B, 6, h, w)`: the type of a unit, the modes of its four cells, and the class of
            chroma's prediction; 0 where there is none.
    """

    levels: Tensor
    maps: Tensor

    @property
    def types(self) -> Tensor:
        """`(B, 1, h, w)` of 0..4: see `codec.blocks.units`."""
        return self.maps[:, :1]

    def to(self, device: torch.device) -> PredictedUnits:
        """The same elsewhere."""
        return PredictedUnits(levels=self.levels.to(device), maps=self.maps.to(device))


def split_of(types: Tensor) -> Tensor:
    """Where a unit has four transforms."""
    return (types == INTER_8) | (types == INTRA_8)


def search_predicted(
    source: tuple[Tensor, Tensor],
    predicted: tuple[Tensor, Tensor],
    steps: Tensor,
    bits: Tensor,
    inter: SearchPrices,
    intra: SearchPrices,
    of_types: Tensor,
    tries: tuple[int, int, int],
    scales: Tensor | None = None,
) -> tuple[PredictedUnits, tuple[Tensor, Tensor], Tensor]:
    """Decide on all units of frames, in order, on the CPU.

    Args:
        source, predicted: luma and chroma as `codec.blocks.intra_blocks.to_pixels` gives them.
        steps, bits, tries, scales: as `codec.blocks.intra_blocks.search_blocks` has them.
        inter, intra: prices of the levels of inter and of intra units.
        of_types: `(B, TYPES)` bits of types.

    Returns:
        The units; what they rebuild; and estimated bits `(B, h, w, 4)` of luma's levels, of types
        and modes, of chroma's levels and of its classes.
    """
    luma, chroma = source
    batch, height, width = luma.shape
    tall, wide = height // UNIT, width // UNIT
    levels = torch.zeros(batch, tall, wide, CHANNELS, dtype=torch.int32)
    types, kinds = (torch.zeros(batch, tall, wide, dtype=torch.uint8) for _ in range(2))
    modes = torch.zeros(batch, 2 * tall, 2 * wide, dtype=torch.uint8)
    planes = torch.empty_like(luma), torch.empty_like(chroma)
    spent = torch.zeros(batch, tall, wide, 4)
    progress = torch.zeros(1 + batch * tall, dtype=torch.int64)
    made = luma, chroma, levels, types, modes, kinds, *planes, spent
    arrays = (
        Frames(*(kernel_array(values) for values in made)),
        tuple(kernel_array(values) for values in predicted),
        Choices(kernel_array(steps), kernel_array(bits), *tries),
        kernel_prices(inter, scales, (tall, wide)),
        kernel_prices(intra, scales, (tall, wide)),
        kernel_array(of_types.float()),
        search_tables(),
        kernel_array(progress),
    )
    in_bands(lambda first, end: search_predicted_rows(*arrays), batch * tall)
    types = types[:, None]
    modes = torch.where(types >= INTRA_16, F.pixel_unshuffle(modes[:, None], 2), 0)
    maps = torch.cat([types, modes, kinds[:, None]], 1)
    return PredictedUnits(levels=levels.permute(0, 3, 1, 2), maps=maps), planes, spent


@torch.no_grad()
def rebuild_predicted(
    units: PredictedUnits, predicted: tuple[Tensor, Tensor], steps: Tensor
) -> tuple[Tensor, Tensor]:
    """Luma `(B, H, W)` and chroma `(B, 2, H / 2, W / 2)`, int32 0..1023, of predicted frames.

    The same on every device where `predicted`, planes of the same shape, and all else are.

    Args:
        units: of any integers: levels beyond ±32767 count as these.
        steps: `(B, 2)` int32, quantisation steps of luma and chroma in sixteenths of a pixel.
    """
    if on_cpu(units.levels, steps):
        return _by_kernel(units, predicted, steps)
    return rebuild_predicted_by_tensors(units, predicted, steps)


def _by_kernel(
    units: PredictedUnits, predicted: tuple[Tensor, Tensor], steps: Tensor
) -> tuple[Tensor, Tensor]:
    levels = units.levels.permute(0, 2, 3, 1).clamp(-FAR, FAR).to(torch.int32)
    batch, tall, wide = levels.shape[:3]
    types, modes, kinds = units.maps.to(torch.uint8).split([1, 4, 1], 1)
    maps = types, F.pixel_shuffle(modes, 2), kinds
    planes = (torch.empty_like(predicted[0]), torch.empty_like(predicted[1]))
    arrays = (
        kernel_array(levels),
        *(kernel_array(values[:, 0]) for values in maps),
        tuple(kernel_array(plane) for plane in predicted),
        kernel_array(steps),
        tuple(kernel_array(plane) for plane in planes),
        channel_places(),
        kernel_constants(),
        kernel_array(torch.zeros(1 + batch * tall, dtype=torch.int64)),
    )
    in_bands(lambda first, end: rebuild_predicted_rows(*arrays), batch * tall)
    return planes


def rebuild_predicted_by_tensors(
    units: PredictedUnits, predicted: tuple[Tensor, Tensor], steps: Tensor
) -> tuple[Tensor, Tensor]:
    """`rebuild_predicted`: inter units at once, then intra units in a wavefront over them."""
    levels = units.levels.clamp(-FAR, FAR).to(torch.int32)
    (one, four), both = level_residuals(levels, steps.to(torch.int32))
    four = four.unflatten(-2, (2, 2)).unflatten(-1, (8, 8))  # (B, h, w, i, j, v, u)
    four = four.permute(0, 1, 2, 3, 5, 4, 6).reshape(one.shape)
    split = split_of(units.types)[:, 0, ..., None]
    luma, chroma = predicted
    luma = (luma + _plane(torch.where(split, four, one))).clamp(0, LARGEST)
    chroma = (chroma + _plane(both)).clamp(0, LARGEST)
    _, modes, kinds = units.maps.long().split([1, 4, 1], 1)
    blocks = IntraBlocks(
        levels=units.levels,
        split=units.types == INTRA_8,
        modes=F.pixel_shuffle(modes, 2),
        kinds=kinds,
    )
    return rebuild_by_tensors(blocks, steps, over=(luma, chroma, units.types >= INTRA_16))


def _plane(blocks: Tensor) -> Tensor:
    """`(…, h, w, side²)` -> `(…, h·side, w·side)`."""
    side = round(blocks.shape[-1] ** 0.5)
    made = blocks.unflatten(-1, (side, side)).transpose(-3, -2)
    return made.flatten(-4, -3).flatten(-2)


@njit(cache=True, nogil=True)
def take_block(plane, y, x, side, made):
    """Fill `made` `(side²,)` with a block of a plane."""
    for i in range(side):
        for j in range(side):
            made[i * side + j] = plane[y + i, x + j]


@njit(cache=True, nogil=True, fastmath=_FAST)
def energy(coefficients, count):
    """The sum of squares."""
    total = np.float32(0)
    for p in range(count):
        total += coefficients[p] * coefficients[p]
    return total


@njit(cache=True, nogil=True, fastmath=_FAST)
def spread(plane, y, x, side):
    """The sum of squared differences of a block's pixels from their mean."""
    total, squares = np.float32(0), np.float32(0)
    for i in range(side):
        for j in range(side):
            value = np.float32(plane[y + i, x + j])
            total += value
            squares += value * value
    return squares - total * total / np.float32(side * side)


@njit(cache=True, nogil=True)
def inter_luma(frames, predicted, choices, prices, tables, work, b, r, c):
    """Costs of luma of a unit without a residual, with a transform of 16, and with four of 8; and
    the bits of the two.

    Levels are left in `work.unit_levels` and `work.cell_levels`.
    """
    source, bit = frames.source[b], choices.bits[b, 0]
    y, x, step = r * UNIT, c * UNIT, np.float32(choices.steps[b, 0] / STEP_PARTS)
    count = UNIT * UNIT
    take_block(predicted[b], y, x, UNIT, work.made)
    transform_residual(source, y, x, UNIT, work.made, tables.dct_16, work.half, work.coefficients)
    none = energy(work.coefficients, count)
    own = level_prices(prices, prices.unit[b], b, r, c, 0, tables.whole, work.unit_prices)
    one, one_bits = quantise(work.coefficients, count, step, bit, own, work.unit_levels, work.tried)
    four, four_bits, count = np.float32(0), np.float32(0), CELL * CELL
    for part in range(4):
        top, left = y + CELL * (part // 2), x + CELL * (part % 2)
        take_block(predicted[b], top, left, CELL, work.made)
        dct = tables.dct_8
        transform_residual(source, top, left, CELL, work.made, dct, work.half, work.coefficients)
        channels = tables.cells[part]
        own = level_prices(prices, prices.cell[b], b, r, c, 1, channels, work.cell_prices)
        levels = work.cell_levels[part]
        cost, bits = quantise(work.coefficients, count, step, bit, own, levels, work.tried)
        four, four_bits = four + cost, four_bits + bits
    return none, one, four, one_bits, four_bits


@njit(cache=True, nogil=True)
def inter_chroma(frames, predicted, choices, prices, tables, work, b, r, c, four):
    """Costs of chroma of a unit without a residual and with one, and the bits of it.

    Levels are left in `work.both_levels`; `four` is 1 where luma has four transforms.
    """
    y, x, count = r * CHROMA, c * CHROMA, CHROMA * CHROMA
    bit, step = choices.bits[b, 1], np.float32(choices.steps[b, 1] / STEP_PARTS)
    none, cost, bits = np.float32(0), np.float32(0), np.float32(0)
    for k in range(2):
        source, dct = frames.source_chroma[b, k], tables.dct_8
        take_block(predicted[b, k], y, x, CHROMA, work.made)
        transform_residual(source, y, x, CHROMA, work.made, dct, work.half, work.coefficients)
        none += energy(work.coefficients, count)
        usual, channels = prices.chroma[b, k], tables.colours[k]
        own = level_prices(prices, usual, b, r, c, four, channels, work.cell_prices)
        levels = work.both_levels[k]
        one, some = quantise(work.coefficients, count, step, bit, own, levels, work.tried)
        cost, bits = cost + one, bits + some
    return none, cost, bits


@njit(cache=True, nogil=True)
def write_levels(given, kind, tables, work):
    """Fill the levels `(C,)` of an inter unit with what `inter_luma` and `inter_chroma` left."""
    given[:] = 0
    if kind == UNCODED:
        return
    if kind == INTER_16:
        for p in range(UNIT * UNIT):
            given[tables.whole[p]] = work.unit_levels[p]
    else:
        for part in range(4):
            for p in range(CELL * CELL):
                given[tables.cells[part, p]] = work.cell_levels[part, p]
    for k in range(2):
        for p in range(CHROMA * CHROMA):
            given[tables.colours[k, p]] = work.both_levels[k, p]


@njit(cache=True, nogil=True)
def rebuild_inter(b, r, c, given, kind, predicted, steps, planes, places, matrices, work):
    """Rebuild an inter unit: what is predicted, and what its levels `(C,)` stand for.

    All else is as for `rebuild_unit` of `codec.blocks.rebuild_kernels`, `matrices` are the first
    two of its constants.
    """
    _, made, sums, own = work
    whole, cells, colours = places
    y, x = r * UNIT, c * UNIT
    if kind == INTER_8:
        for part in range(4):
            top, left = y + CELL * (part // 2), x + CELL * (part % 2)
            take_block(predicted[0][b], top, left, CELL, made)
            for p in range(CELL * CELL):
                own[p] = given[cells[part, p]]
            add_residual(own, CELL, steps[b, 0], matrices[1], sums, made)
            store_block(made, CELL, planes[0][b], top, left)
    else:
        take_block(predicted[0][b], y, x, UNIT, made)
        for p in range(UNIT * UNIT):
            own[p] = given[whole[p]]
        add_residual(own, UNIT, steps[b, 0], matrices[0], sums, made)
        store_block(made, UNIT, planes[0][b], y, x)
    y, x = r * CHROMA, c * CHROMA
    for k in range(2):
        take_block(predicted[1][b, k], y, x, CHROMA, made)
        for p in range(CHROMA * CHROMA):
            own[p] = given[colours[k, p]]
        add_residual(own, CHROMA, steps[b, 1], matrices[1], sums, made)
        store_block(made, CHROMA, planes[1][b, k], y, x)


@njit(cache=True, nogil=True)
def search_unit(frames, predicted, choices, inter, intra, of_types, tables, work, b, r, c):
    """Decide on a unit, which is written but for inter pixels.

    Args:
        predicted: luma and chroma of the frame as it is predicted to be.
        inter, intra: `Prices` of the levels of inter and of intra units; sizes of intra units
            cost nothing there, as their type says them.
        of_types: `(B, TYPES)` bits.
        work: scratch of the search, and `(C,)` more int32.

    All else is as `search_rows` of `codec.blocks.search_kernels` has it.

    Returns:
        The type.
    """
    work, kept = work
    bit, ratio = choices.bits[b, 0], choices.bits[b, 0] / choices.bits[b, 1]
    given, price, spent = frames.levels[b, r, c], of_types[b], frames.spent[b, r, c]
    luma = inter_luma(frames, predicted[0], choices, inter, tables, work, b, r, c)
    coded = (
        INTER_8 if luma[2] + bit * price[INTER_8] < luma[1] + bit * price[INTER_16] else INTER_16
    )
    four = np.int64(coded == INTER_8)
    chroma = inter_chroma(frames, predicted[1], choices, inter, tables, work, b, r, c, four)
    kind, best = UNCODED, luma[0] + ratio * chroma[0] + bit * price[UNCODED]
    cost = luma[1 + four] + ratio * chroma[1] + bit * price[coded]
    spent[:] = 0
    if cost < best:
        kind, best = coded, cost
        spent[0], spent[2] = luma[3 + four], chroma[2]
    spent[1] = price[kind]
    write_levels(given, kind, tables, work)
    around = spread(frames.source[b], r * UNIT, c * UNIT, UNIT)
    if best > _COST_WORTH_TRYING * bit and luma[0] > _SHARE_WORTH_TRYING * around:
        kept[:] = given
        before = spent[0], spent[1], spent[2]
        cost = search_luma(frames, choices, intra, tables, work, b, r, c)
        cost += ratio * search_chroma(frames, choices, intra, tables, work, b, r, c)
        other = INTRA_8 if frames.split[b, r, c] else INTRA_16
        if cost + bit * price[other] < best:
            spent[1] += price[other]
            return other
        given[:] = kept
        spent[0], spent[1], spent[2], spent[3] = before[0], before[1], before[2], 0
    frames.modes[b, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2] = NO_MODE
    frames.kinds[b, r, c] = 0
    return kind


@njit(cache=True, nogil=True)
def search_predicted_rows(frames, predicted, choices, inter, intra, of_types, tables, progress):
    """Decide on rows of units, and rebuild them, as long as there are some that no other thread has
    begun; arguments are those of `search_unit`, and `progress` as for `rebuild_rows`.
    """
    batch, tall, wide = frames.split.shape
    scratch = make_scratch(), np.empty(frames.levels.shape[3], np.int32)
    rebuilding = rebuild_scratch()
    planes, places = (frames.luma, frames.chroma), (tables.whole, tables.cells, tables.colours)
    matrices = tables.matrix_16, tables.matrix_8
    counter = address_of(progress)
    while True:
        row = next_row(counter)
        if row >= batch * tall:
            return
        b, r = row // tall, row % tall
        for c in range(wide):
            if r > 0:
                wait_for(counter + 8 * row, min(c + 2, wide))
            kind = search_unit(
                frames, predicted, choices, inter, intra, of_types, tables, scratch, b, r, c
            )
            frames.split[b, r, c] = kind
            if kind < INTRA_16:
                rebuild_inter(
                    b,
                    r,
                    c,
                    frames.levels[b, r, c],
                    kind,
                    predicted,
                    choices.steps,
                    planes,
                    places,
                    matrices,
                    rebuilding,
                )
            set_progress(counter + 8 * (row + 1), c + 1)


@njit(cache=True, nogil=True)
def rebuild_predicted_rows(
    levels, types, modes, kinds, predicted, steps, planes, places, constants, progress
):
    """Rebuild rows of units as long as there are some that no other thread has begun.

    `types` `(B, h, w)` uint8; `predicted` are the planes of the prediction; all else is as for
    `rebuild_rows` of `codec.blocks.rebuild_kernels`.
    """
    batch, tall, wide = types.shape
    split = (types == INTRA_8).astype(np.uint8)
    matrices = constants[0], constants[1]
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
            kind = types[b, r, c]
            if kind < INTRA_16:
                given = levels[b, r, c]
                rebuild_inter(
                    b, r, c, given, kind, predicted, steps, planes, places, matrices, work
                )
            else:
                rebuild_unit(
                    b, r, c, levels, split, modes, kinds, steps, planes, places, constants, work
                )
            set_progress(counter + 8 * (row + 1), c + 1)
