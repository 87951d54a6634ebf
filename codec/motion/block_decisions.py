"""What a block search decides, and by which prices: a quadtree of blocks and their vectors."""

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

CELL = 8  # pixels a side of what the maps hold one value for
SIDES = (64, 32, 16, 8)  # of a block, by level
MARGIN = 16  # pixels that phase planes are wider than the frame, on each side
_BEYOND = 16  # pixels that a vector may be longer than `reach`
_FARTHEST = 80  # pixels that a block may lie beyond the border
_LARGEST_VECTOR = 32767 // 2  # quarter pixels; differences of two must fit int16


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
