"""What a block search decides, and what that costs: a quadtree of blocks and their vectors.

Costs are SATD + price · bits, in plain tensor operations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

CELL = 8  # pixels a side of what the maps hold one value for
SIDES = (64, 32, 16, 8)  # of a block, by level
MARGIN = 16  # pixels that phase planes are wider than the frame, on each side
_BEYOND = 16  # pixels that a vector may be longer than `reach`
_FARTHEST = 80  # pixels that a block may lie beyond the border
_LARGEST_VECTOR = 32767 // 2  # quarter pixels; differences of two must fit int16
_BEFORE, _AFTER = 3, 4  # pixels that the filters reach to either side


@dataclass(frozen=True, kw_only=True)
class BlockPrices:
    """What side information costs, in bits, for each sample.

    Attributes:
        split: `(B, 3, 2)` float32, of "not split" and "split" at blocks of 64, 32 and 16.
        mode: `(B, 4, M)` float32, of each mode at blocks of 64, 32, 16 and 8; see
            `reference_pairs`.
        same: `(B, 2)` float32, of a vector that is not, and that is, just its prediction.
        vector: `(B, K)` float32, of one component of a vector that is not, if it differs by 0, 1,
            .. K - 1 quarter pixels; beyond, the last value grows by 2 bits a doubling.
    """

    split: Tensor
    mode: Tensor
    same: Tensor
    vector: Tensor


@dataclass(frozen=True, kw_only=True)
class BlockDecisions:
    """What the encoder decided: dense maps over 8x8 cells, constant within a block.

    Attributes:
        level: `(B, 1, h, w)` int8, 0 to 3: blocks of 64, 32, 16, 8.
        mode: `(B, 1, h, w)` int8, see `reference_pairs`.
        vectors: `(B, 2 R, h, w)` int16 quarter pixels, x and y of each reference; 0 where a
            reference is not used.
    """

    level: Tensor
    mode: Tensor
    vectors: Tensor


@dataclass(frozen=True, kw_only=True)
class PhasePlanes:
    """A reference's luma at all quarter-pixel phases, made once for all frames that refer to it.

    Attributes:
        levels: `(B, 16, H + 2 MARGIN, W + 2 MARGIN)` uint8, phase 4 y + x, borders repeated.
        coarse: `(B, 1, H / 4, W / 4)` uint8.
    """

    levels: Tensor
    coarse: Tensor


def reference_pairs(references: int) -> list[tuple[int, int]]:
    """The two references of each mode, in order: first the modes of one alone (twice the same)."""
    alone = [(reference, reference) for reference in range(references)]
    return alone + list(combinations(range(references), 2))


def levels(luma: Tensor) -> Tensor:
    """Luma in -0.5..0.5 -> uint8; what is not a number becomes mid-grey."""
    return ((luma.nan_to_num() + 0.5) * 255).clamp(0, 255).round().to(torch.uint8)


def vector_limits(current: Tensor, reach: int) -> tuple[int, int]:
    """The largest absolute component along x and y, in quarter pixels."""
    height, width = current.shape[-2:]
    limits = (min(reach + _BEYOND, side + _FARTHEST) * 4 for side in (width, height))
    x, y = (min(limit, _LARGEST_VECTOR) for limit in limits)
    return x, y


def bits_by_difference(prices: BlockPrices, largest: int) -> Tensor:
    """`prices.vector`, continued to differences up to `largest`, `(B, largest + 1)`."""
    known = prices.vector[:, : largest + 1].float()
    count = known.shape[1]
    if count > largest:
        return known
    far = torch.arange(count, largest + 1, device=known.device)
    return torch.cat([known, known[:, -1:] + 2 * torch.log2(far / max(count - 1, 1))], 1)


@torch.no_grad()
def decision_cost(
    current: Tensor,
    references: Sequence[Tensor],
    decisions: BlockDecisions,
    *,
    bit_price: Tensor,
    prices: BlockPrices,
    filters: Tensor,
) -> Tensor:
    """J of each sample, `(B,)`: SATD of the prediction + `bit_price` * `decision_bits`.

    Arguments as `block_search.search_for`; unlike its kernels, interpolation does not round.
    """
    error = 255 * (current - predict(references, decisions, filters))
    bits = decision_bits(decisions, prices)
    return satd_of_cells(error).sum((1, 2, 3)) + bit_price * bits.sum((1, 2, 3))


def predict(references: Sequence[Tensor], decisions: BlockDecisions, filters: Tensor) -> Tensor:
    """The prediction `(B, 1, H, W)` that decisions make of the references' luma."""
    vectors = decisions.vectors.unflatten(1, (-1, 2))
    moved = [
        compensate(interpolate(reference, filters), vectors[:, r])
        for r, reference in enumerate(references)
    ]
    mode = decisions.mode.repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
    prediction = torch.zeros_like(moved[0])
    for index, (r, s) in enumerate(reference_pairs(len(references))):
        prediction = torch.where(mode == index, (moved[r] + moved[s]) / 2, prediction)
    return prediction


def interpolate(luma: Tensor, filters: Tensor) -> Tensor:
    """Luma `(B, 1, H, W)` at all quarter-pixel phases 4 y + x, borders repeated.

    Returns:
        `(B, 16, H + 2 MARGIN, W + 2 MARGIN)`.
    """
    sides = (MARGIN + _BEFORE, MARGIN + _AFTER) * 2
    padded = F.pad(luma, sides, mode="replicate")
    columns = F.conv2d(padded, filters.view(4, 1, -1, 1))
    planes = F.conv2d(columns.flatten(0, 1)[:, None], filters.view(4, 1, 1, -1))
    return planes.unflatten(0, (-1, 4)).flatten(1, 2)


def compensate(planes: Tensor, vectors: Tensor) -> Tensor:
    """Samples of phase planes where vectors point.

    Args:
        planes: `(B, 16, H + 2 MARGIN, W + 2 MARGIN)`, of any type; borders are repeated.
        vectors: `(…, B, 2, h, w)` quarter pixels, by cell.

    Returns:
        `(…, B, 1, 8 h, 8 w)` in the type of `planes`.
    """
    tall, wide = planes.shape[-2:]
    dense = vectors.int().repeat_interleave(CELL, -2).repeat_interleave(CELL, -1)
    x, y = dense.unbind(-3)
    rows = torch.arange(y.shape[-2], dtype=y.dtype, device=y.device).view(-1, 1) + MARGIN
    columns = torch.arange(x.shape[-1], dtype=x.dtype, device=x.device) + MARGIN
    row = (rows + (y >> 2)).clamp(0, tall - 1)
    column = (columns + (x >> 2)).clamp(0, wide - 1)
    place = ((4 * (y & 3) + (x & 3)) * tall + row) * wide + column
    by_sample = place.view(-1, *place.shape[-3:]).transpose(0, 1)
    moved = planes.flatten(1).gather(1, by_sample.flatten(1).long()).view_as(by_sample)
    return moved.transpose(0, 1).reshape(place.shape).unsqueeze(-3)


def satd_of_cells(error: Tensor) -> Tensor:
    """SATD of each 8x8 of `(B, 1, H, W)`: sums of absolute coefficients / 4, as HM's."""
    two = torch.ones(2, 2, dtype=error.dtype, device=error.device)
    two[1, 1] = -1
    hadamard = torch.kron(torch.kron(two, two), two)
    cells = error.unflatten(3, (-1, CELL)).unflatten(2, (-1, CELL)).transpose(3, 4)
    rows = (cells.reshape(-1, CELL) @ hadamard).view(-1, CELL, CELL)
    coefficients = rows.transpose(1, 2).reshape(-1, CELL) @ hadamard  # two large products
    return coefficients.view(*cells.shape[:-2], -1).abs().sum(-1) / 4


def decision_bits(decisions: BlockDecisions, prices: BlockPrices) -> Tensor:
    """Bits of each block's splits, mode and vectors, at its first cell: `(B, 1, h, w)`."""
    level, mode = decisions.level.long(), decisions.mode.long()
    side = CELL >> level
    rows = torch.arange(level.shape[2], device=level.device).view(-1, 1)
    columns = torch.arange(level.shape[3], device=level.device)
    first = (rows % side == 0) & (columns % side == 0)
    sample = torch.arange(len(level), device=level.device).view(-1, 1, 1, 1)
    bits = prices.mode[sample, level, mode]
    vectors = decisions.vectors.int().unflatten(1, (-1, 2))
    largest = 2 * torch.iinfo(torch.int16).max
    by_difference = bits_by_difference(prices, largest)
    for r, used in enumerate(uses_reference(mode, vectors.shape[1])):
        difference = vectors[:, r] - predicted_vectors(decisions, r)
        apart = by_difference[sample, difference.abs().long()].sum(1, keepdim=True)
        same = (difference == 0).all(1, keepdim=True)
        cost = torch.where(
            same, prices.same[:, 1].view(-1, 1, 1, 1), prices.same[:, 0].view(-1, 1, 1, 1) + apart
        )
        bits = bits + used * cost
    bits = torch.where(first, bits, 0)
    for depth in range(3):
        across = CELL >> depth
        corner = (rows % across == 0) & (columns % across == 0) & (level >= depth)
        fits = (rows + across <= len(rows)) & (columns + across <= len(columns))
        bits = bits + (corner & fits) * prices.split[sample, depth, (level > depth).long()]
    return bits


def uses_reference(mode: Tensor, references: int) -> Tensor:
    """Whether each reference is part of each mode, `(R, *mode.shape)` bool."""
    pairs = torch.tensor(reference_pairs(references), device=mode.device)
    return torch.stack([(pairs == r).any(1)[mode.long()] for r in range(references)])


def predicted_vectors(decisions: BlockDecisions, reference: int) -> Tensor:
    """What a block's vector is expected to be: that of its four neighbours that is nearest to all.

    The neighbours are the blocks beside the middle of each side, as far as they use `reference`;
    zero if none does. It stands in for what an entropy network predicts.

    Returns:
        `(B, 2, h, w)` int32 quarter pixels, constant within a block.
    """
    level = decisions.level.long()
    vectors = decisions.vectors.int()[:, 2 * reference : 2 * reference + 2]
    count = decisions.vectors.shape[1] // 2
    used = uses_reference(decisions.mode, count)[reference]
    height, width = level.shape[2:]
    side = CELL >> level
    rows = torch.arange(height, device=level.device).view(-1, 1)
    columns = torch.arange(width, device=level.device)
    top, left = rows - rows % side, columns - columns % side
    middle = side // 2
    places = [
        (top + middle, left - 1),
        (top + middle, left + side),
        (top - 1, left + middle),
        (top + side, left + middle),
    ]
    around, known = [], []
    for row, column in places:
        inside = (row >= 0) & (column >= 0) & (row < height) & (column < width)
        place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).flatten(1)
        known.append(inside & used.flatten(1).gather(1, place).view_as(inside))
        both = place[:, None].expand(-1, 2, -1)
        around.append(vectors.flatten(2).gather(2, both).view_as(vectors))
    return vector_median(torch.stack(around), torch.stack(known))


def vector_median(vectors: Tensor, known: Tensor | None = None) -> Tensor:
    """Of N vectors `(N, B, 2, h, w)` the known one nearest to all known; zero if none is.

    `known` is `(N, B, 1, h, w)` bool, by default all; of equally near ones the first.
    """
    if known is None:
        known = torch.ones_like(vectors[:, :, :1], dtype=torch.bool)
    best = torch.zeros_like(vectors[0])
    least = torch.full_like(best[:, :1], torch.iinfo(best.dtype).max)
    for mine, valid in zip(vectors, known, strict=True):
        apart = (vectors - mine).abs().sum(2, keepdim=True)
        distance = (apart * known).sum(0).to(least.dtype)
        nearer = valid & (distance < least)
        best = torch.where(nearer, mine, best)
        least = torch.where(nearer, distance, least)
    return best
