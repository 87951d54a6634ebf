"""Block motion estimation at the encoder: a quadtree of blocks, each with one or two references.

Blocks of 64, 32, 16 or 8 pixels are predicted from one reference or the average of two, by integer
quarter-pixel vectors, chosen by J = SATD + price of a bit * bits. No gradients pass.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.errors import CodecError
from codec.layers.kernels import by_kernel
from codec.motion import block_search_numba, block_search_torch
from codec.motion.block_decisions import (
    CELL,
    MARGIN,
    BlockDecisions,
    BlockPrices,
    PhasePlanes,
    bits_by_difference,
    decision_cost,
    interpolate,
    levels,
    reference_pairs,
    vector_limits,
)
from codec.motion.block_search_numba import KernelSearch, interpolate_levels
from codec.motion.block_search_torch import TensorSearch

__all__ = [
    "BlockDecisions",
    "BlockPrices",
    "PhasePlanes",
    "decision_cost",
    "phase_planes",
    "reference_pairs",
    "search_for",
]

_COARSE = 4  # the full search runs at a quarter of the size


@torch.no_grad()
def phase_planes(luma: Tensor, filters: Tensor) -> PhasePlanes:
    """Luma `(B, 1, H, W)` in -0.5..0.5 at all quarter pixels; `filters` as in `search_for`."""
    luma = luma.float().nan_to_num().clamp(-0.5, 0.5)
    if by_kernel(luma):
        return PhasePlanes(levels=interpolate_levels(luma, filters), coarse=coarse_levels(luma))
    return PhasePlanes(levels=levels(interpolate(luma, filters)), coarse=coarse_levels(luma))


@torch.no_grad()
def search_for(
    current: Tensor,
    references: Sequence[Tensor],
    *,
    bit_price: Tensor,
    prices: BlockPrices,
    filters: Tensor,
    last: Tensor | None = None,
    reach: int = 64,
    random: Tensor | None = None,
    random_share: float = 0.05,
    planes: Sequence[PhasePlanes] | None = None,
) -> tuple[BlockDecisions, KernelSearch | TensorSearch]:
    """Split the frame in blocks and find where in the references each comes from.

    Blocks of 64 or 32 that cross the frame's border are split, at no price. On the CPU the result
    does not depend on the number of threads.

    Args:
        current: `(B, 1, H, W)` float32 luma in -0.5..0.5, H and W multiples of 16.
        references: R of the same shape, newest first.
        bit_price: `(B,)` cost of a bit in SATD of levels 0..255: the root of 1 / lambda.
        prices: bits of the side information.
        filters: `(4, 8)` float32 interpolation filters by quarter-pixel phase, row 0 the identity;
            tap k applies to pixel (whole + k - 3), borders repeated.
        last: `(B, 2 R, h, w)` int16, the last frame's vectors, as candidates.
        reach: largest displacement in whole pixels of the full search; later steps may add 16.
        random: `(B, 5, H / 8, W / 8)` random numbers in 0..1: blocks of 64 whose first number is
            below `random_share` get splits and modes by the others, so that rare ones are learned,
            too (their vectors are searched all the same). None: all is decided.
        random_share: of blocks, 0..1.
        planes: of each reference, from `phase_planes`; made here if not given.

    Returns:
        Decisions over cells of 8x8, h = H / 8 and w = W / 8; and the search, which can `revise`
        vectors when it is known how they will be coded.

    Raises:
        CodecError: sizes disagree, or the frame is not in whole blocks of 16.

    Source: Sullivan et al., *Overview of the HEVC standard*, 2012 (quadtree, bi-prediction), and
    its model's search (HM); predictive search after Tourapis, *Enhanced predictive zonal search*.
    """
    _check(current, references, bit_price, prices, filters)
    _check_options(current, len(references), last, random, planes)
    planes = planes or [phase_planes(reference, filters) for reference in references]
    search = (KernelSearch if by_kernel(current) else TensorSearch)(
        levels(current),
        [plane.levels for plane in planes],
        bit_price=bit_price,
        prices=prices,
        limits=vector_limits(current, reach),
    )
    coarse = _full_search(current, planes, bit_price, prices, reach)
    height, width = current.shape[-2:]
    forced = (
        None if random is None else _draw(random, random_share, height, width, prices.mode.shape[2])
    )
    return search.decide(coarse, last, forced), search


def _full_search(
    current: Tensor,
    planes: Sequence[PhasePlanes],
    bit_price: Tensor,
    prices: BlockPrices,
    reach: int,
) -> Tensor:
    """The best of all vectors to `reach` for each 16x16, at quarter resolution.

    Returns:
        `(B, R, 2, H / 16, W / 16)` int16 quarter pixels, multiples of 16.
    """
    steps = reach // _COARSE
    side = torch.arange(-steps, steps, device=current.device)
    bits = bits_by_difference(prices, 4 * _COARSE * steps)[:, 4 * _COARSE * side.abs()]
    rates = bit_price.view(-1, 1, 1) * (bits[:, :, None] + bits[:, None]) / _COARSE**2
    mine = coarse_levels(current)
    search = block_search_numba if by_kernel(current) else block_search_torch
    found = [search.full_search(mine, plane.coarse, rates) for plane in planes]
    vectors = torch.stack(found, 1) * (4 * _COARSE)
    limit_x, limit_y = vector_limits(current, reach)
    across, down = (
        vectors[:, :, 0].clamp(-limit_x, limit_x),
        vectors[:, :, 1].clamp(-limit_y, limit_y),
    )
    return torch.stack([across, down], 2).to(torch.int16)


def coarse_levels(luma: Tensor) -> Tensor:
    """Luma in -0.5..0.5 at quarter resolution, as uint8."""
    return levels(F.avg_pool2d(luma, _COARSE))


def _draw(
    random: Tensor, share: float, height: int, width: int, modes: int
) -> tuple[Tensor, Tensor]:
    """Levels and modes that random numbers `(B, 5, h, w)` in 0..1 force, as `search_for` says.

    Returns:
        `(B, 1, h, w)` int8 levels, -1 where nothing is forced, a consistent quadtree but for the
        border; `(B, 1, h, w)` int8 modes, of which a block takes the one at its upper left.
    """
    h, w = height // CELL, width // CELL
    random = F.pad(random, (0, -w % CELL, 0, -h % CELL), mode="replicate")
    level = torch.zeros_like(random[:, :1], dtype=torch.int8)
    for depth, side in enumerate((8, 4, 2)):
        split = random[:, 1 + depth : 2 + depth, ::side, ::side] < (0.75 if depth == 0 else 0.5)
        split = split.repeat_interleave(side, 2).repeat_interleave(side, 3)
        level += ((level == depth) & split).to(torch.int8)
    chosen = random[:, :1, ::8, ::8] < share
    chosen = chosen.repeat_interleave(8, 2).repeat_interleave(8, 3)
    level = torch.where(chosen, level, -1)
    mode = (random[:, 4:] * modes).clamp(max=modes - 1).to(torch.int8)
    return level[..., :h, :w].contiguous(), mode[..., :h, :w].contiguous()


def _check(
    current: Tensor,
    references: Sequence[Tensor],
    bit_price: Tensor,
    prices: BlockPrices,
    filters: Tensor,
) -> None:
    shapes = {tuple(luma.shape) for luma in (current, *references)}
    if len(shapes) != 1 or current.shape[1] != 1 or not references:
        raise CodecError(f"search_for: shapes {shapes}; give luma (B, 1, H, W) of one size")
    if current.shape[2] % 16 or current.shape[3] % 16:
        size = f"{current.shape[3]}x{current.shape[2]}"
        raise CodecError(f"search_for: {size} is not in whole blocks of 16; pad the frames")
    if bit_price.shape != current.shape[:1] or filters.shape != (4, 8):
        given = f"bit_price {tuple(bit_price.shape)}, filters {tuple(filters.shape)}"
        raise CodecError(f"search_for: {given}; give ({current.shape[0]},) and (4, 8)")
    modes = len(reference_pairs(len(references)))
    batch = len(current)
    fits = prices.split.shape == (batch, 3, 2) and prices.mode.shape == (batch, 4, modes)
    if not fits or prices.same.shape != (batch, 2) or len(prices.vector) != batch:
        given = f"split {tuple(prices.split.shape)}, mode {tuple(prices.mode.shape)}"
        wanted = f"({batch}, 3, 2), ({batch}, 4, {modes})"
        raise CodecError(f"search_for: prices of {given}; give {wanted} and vectors")


def _check_options(
    current: Tensor,
    references: int,
    last: Tensor | None,
    random: Tensor | None,
    planes: Sequence[PhasePlanes] | None,
) -> None:
    """Kernels read by address: a wrong size must not reach them."""
    batch, _, height, width = current.shape
    cells = height // CELL, width // CELL
    expected = [(last, (batch, 2 * references, *cells)), (random, (batch, 5, *cells))]
    for plane in planes or []:
        around = height + 2 * MARGIN, width + 2 * MARGIN
        expected.append((plane.levels, (batch, 16, *around)))
        expected.append((plane.coarse, (batch, 1, height // _COARSE, width // _COARSE)))
    for tensor, shape in expected:
        if tensor is not None and tensor.shape != shape:
            given = f"{tuple(tensor.shape)} instead of {shape}"
            raise CodecError(f"search_for: last, random or planes of another frame: {given}")
    if planes and len(planes) != references:
        raise CodecError(f"search_for: {len(planes)} planes for {references} references")
