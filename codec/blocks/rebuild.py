"""Intra blocks to pixels, in integers: by a kernel on the CPU, by tensor operations elsewhere, with
the same result.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from codec.blocks.intra_blocks import IntraBlocks, rebuild_by_kernel
from codec.blocks.rebuild_kernels import FAR
from codec.blocks.tables import (
    CELL,
    CHROMA,
    CHROMA_MODES,
    DC,
    DERIVED,
    HORIZONTAL,
    LARGEST,
    LINEAR,
    MIDDLE,
    PLANAR,
    UNIT,
    VERTICAL,
    channel_places,
    directions,
    integer_dct,
    neighbours,
)
from codec.layers.kernels import on_cpu

_PARTS = ((0, 0), (0, CELL), (CELL, 0), (CELL, CELL))


@torch.no_grad()
def rebuild(blocks: IntraBlocks, steps: Tensor) -> tuple[Tensor, Tensor]:
    """The pixels of intra frames.

    Args:
        blocks: of frames of any size, of any integers: levels beyond ±32767 count as these.
        steps: `(B, 2)` int32, quantisation steps of luma and chroma in sixteenths of a pixel.

    Returns:
        Luma `(B, H, W)` and chroma `(B, 2, H / 2, W / 2)`, int32 0..1023, the same on every device.
    """
    by_kernel = on_cpu(blocks.levels, steps)
    return rebuild_by_kernel(blocks, steps) if by_kernel else rebuild_by_tensors(blocks, steps)


def rebuild_by_tensors(
    blocks: IntraBlocks,
    steps: Tensor,
    over: tuple[Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """`rebuild` in a wavefront: in each step units of every second row, each two to the left.

    `over`: planes of luma and chroma that hold other units, and where blocks are intra
    `(B, 1, h, w)` bool; None: all are.
    """
    batch, _, tall, wide = blocks.levels.shape
    device, size = blocks.levels.device, (tall * UNIT, wide * UNIT)
    split, modes, kinds = blocks.split.bool(), blocks.modes.long(), blocks.kinds.long()
    levels = blocks.levels.clamp(-FAR, FAR).to(torch.int32)
    residual, of_chroma = level_residuals(levels, steps.to(torch.int32))
    grey = torch.tensor(MIDDLE, dtype=torch.int32, device=device)
    luma = grey.repeat(batch, tall * wide * UNIT**2 + 1)
    chroma = grey.repeat(batch, 2, tall * wide * CHROMA**2 + 1)
    where = None
    if over is not None:
        luma[:, :-1], chroma[..., :-1] = over[0].flatten(1), over[1].flatten(2)
    for rows, columns, places in _waves(tall, wide, device):
        if over is not None:
            where = over[2][:, 0, rows, columns]
        own = [modes[:, 0, 2 * rows + i, 2 * columns + j] for i in (0, 1) for j in (0, 1)]
        of_luma = [values[:, rows, columns] for values in residual]
        _rebuild_luma(luma, places, split[:, 0, rows, columns], own, of_luma, where)
        left = of_chroma[:, :, rows, columns]
        _rebuild_chroma(luma, chroma, places, own[0], kinds[:, 0, rows, columns], left, where)
    luma, chroma = luma[:, :-1].view(batch, *size), chroma[..., :-1]
    return luma, chroma.view(batch, 2, size[0] // 2, size[1] // 2)


def _rebuild_luma(
    luma: Tensor,
    places: _Places,
    split: Tensor,
    modes: list[Tensor],
    residual: list[Tensor],
    where: Tensor | None,
) -> None:
    """Fill the luma `(B, H·W + 1)` of n units: as one block, and over it as four if they are split.

    Args:
        luma: of all units.
        places: of these.
        split: `(B, n)` bool.
        modes: of the four cells, `(B, n)` each.
        residual: as one block `(B, n, 256)` and as four `(B, n, 4, 64)`.
        where: `(B, n)` bool, which of them are filled; None: all.
    """
    one, four = residual
    found = _smoothed(luma[:, places.unit_neighbours])
    made = _predict(found, UNIT, modes[0], True)
    made = (made + one).clamp(0, LARGEST)
    luma[:, places.unit] = _where(where, made, luma[:, places.unit])
    split = split if where is None else split & where
    for part, where in enumerate(places.cells):
        found = _smoothed(luma[:, places.cell_neighbours[part]])
        made = _predict(found, CELL, modes[part], True)
        made = (made + four[:, :, part]).clamp(0, LARGEST)
        luma[:, where] = torch.where(split[..., None], made, luma[:, where])


def _rebuild_chroma(
    luma: Tensor,
    chroma: Tensor,
    places: _Places,
    derived: Tensor,
    kinds: Tensor,
    residual: Tensor,
    where: Tensor | None,
) -> None:
    """Fill chroma `(B, 2, H·W / 4 + 1)` of n units whose luma is rebuilt.

    `derived` `(B, n)` are modes of luma, `kinds` `(B, n)` classes, `residual` is `(B, 2, n, 64)`,
    `where` as for luma.
    """
    table = torch.tensor([0, 0, *CHROMA_MODES], device=luma.device)
    mode = torch.where(kinds == DERIVED, derived, table[kinds])
    found = chroma[:, :, places.chroma_neighbours]
    made = _predict(found, CHROMA, mode[:, None].expand(-1, 2, -1), False)
    line = _predict_linear(luma, chroma, places)
    made = torch.where((kinds == LINEAR)[:, None, :, None], line, made)
    made = (made + residual).clamp(0, LARGEST)
    where = None if where is None else where[:, None]
    chroma[:, :, places.chroma] = _where(where, made, chroma[:, :, places.chroma])


def _where(where: Tensor | None, made: Tensor, otherwise: Tensor) -> Tensor:
    """`made` of the units `(…)` in `where`; None: of all."""
    return made if where is None else torch.where(where[..., None], made, otherwise)


def _smoothed(found: Tensor) -> Tensor:
    """Neighbours `(…, n)` with the smoothed ones behind them."""
    inner = (found[..., :-2] + 2 * found[..., 1:-1] + found[..., 2:] + 2) >> 2
    return torch.cat([found, found[..., :1], inner, found[..., -1:]], -1)


def _predict(found: Tensor, side: int, mode: Tensor, luma: bool) -> Tensor:
    """Predictions `(…, side²)` int32 by `mode` `(…)` from neighbours `(…, n)`, with smoothed ones
    behind them for luma.
    """
    first, second, part = _directions(side, luma, found.device)
    shape = *mode.shape, side**2
    one, two = (found.gather(-1, table[mode].view(shape)) for table in (first, second))
    share = part[mode].view(shape)
    made = ((32 - share) * one + share * two + 16) >> 5
    corner, start = 2 * side, neighbours(side) if luma else 0
    shift = 4 if side == CELL else 5
    k = torch.arange(side, dtype=torch.int32, device=found.device)
    planar = found[..., start : start + neighbours(side)]
    left = planar[..., corner - side : corner].flip(-1)
    above = planar[..., corner + 1 : corner + 1 + side]
    below = planar[..., corner - side - 1, None, None]
    right = planar[..., corner + side + 1, None, None]
    across = (side - 1 - k) * left[..., None] + (k + 1) * right
    down = (side - 1 - k)[:, None] * above[..., None, :] + (k + 1)[:, None] * below
    planar = ((across + down + side) >> shift).flatten(-2)
    left = found[..., corner - side : corner].flip(-1)
    above = found[..., corner + 1 : corner + 1 + side]
    mean = ((left.sum(-1) + above.sum(-1) + side) >> shift).to(torch.int32)
    mean = mean[..., None, None].expand(*mode.shape, side, side)
    mean = _soft_edges(mean, left, above) if luma else mean
    made = torch.where((mode == PLANAR)[..., None], planar, made)
    made = torch.where((mode == DC)[..., None], mean.flatten(-2), made)
    return _drawn_edges(made, found, left, above, side, mode) if luma else made


def _soft_edges(mean: Tensor, left: Tensor, above: Tensor) -> Tensor:
    """The border of a block of the mean, drawn to the neighbours."""
    made = mean.clone()
    made[..., 0, :] = (above + 3 * mean[..., 0, :] + 2) >> 2
    made[..., :, 0] = (left + 3 * mean[..., :, 0] + 2) >> 2
    made[..., 0, 0] = (left[..., 0] + 2 * mean[..., 0, 0] + above[..., 0] + 2) >> 2
    return made


def _drawn_edges(
    made: Tensor, found: Tensor, left: Tensor, above: Tensor, side: int, mode: Tensor
) -> Tensor:
    """The border of vertical and horizontal predictions."""
    made, corner = made.unflatten(-1, (side, side)), found[..., 2 * side, None]
    column = (above[..., :1] + ((left - corner) >> 1)).clamp(0, LARGEST)
    row = (left[..., :1] + ((above - corner) >> 1)).clamp(0, LARGEST)
    upright, level = (mode == VERTICAL)[..., None], (mode == HORIZONTAL)[..., None]
    border = torch.where(upright, column, made[..., :, 0])
    made = torch.cat([border[..., None], made[..., :, 1:]], -1)
    border = torch.where(level, row, made[..., 0, :])
    return torch.cat([border[..., None, :], made[..., 1:, :]], -2).flatten(-2)


def _predict_linear(luma: Tensor, chroma: Tensor, places: _Places) -> Tensor:
    """`rebuild_kernels.predict_linear` of some units, `(B, 2, n, 64)` int32."""
    there = places.line_there
    small = ((luma[:, places.line_luma].sum(-1) + 2) >> 2).long() * there
    own = chroma[:, :, places.line_chroma].long() * there
    count = there.sum(-1)
    sum_l, sum_c = small.sum(-1)[:, None], own.sum(-1)
    sum_ll, sum_lc = (small * small).sum(-1)[:, None], (small[:, None] * own).sum(-1)
    spread = count * sum_ll - sum_l * sum_l
    slope = 64 * (count * sum_lc - sum_l * sum_c)
    slope = slope.div(spread.clamp(min=1), rounding_mode="floor").clamp(-512, 512)
    slope = torch.where(spread > 0, slope, 0)
    offset = (64 * sum_c - slope * sum_l).div(count.clamp(min=1), rounding_mode="floor")
    offset = torch.where(count > 0, offset, 64 * MIDDLE)
    values = ((luma[:, places.under].sum(-1) + 2) >> 2).long()[:, None]
    made = (slope[..., None] * values + offset[..., None] + 32) >> 6
    return made.clamp(0, LARGEST).to(torch.int32)


def level_residuals(levels: Tensor, steps: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """What is added to predictions.

    Returns:
        Luma as one block `(B, h, w, 256)` and as four `(B, h, w, 4, 64)`; chroma
        `(B, 2, h, w, 64)`.
    """
    tables = (torch.from_numpy(places).to(levels.device) for places in channel_places())
    rows = levels.permute(0, 2, 3, 1)
    one, four, both = (rows[..., channels] for channels in tables)
    luma, chroma = (step.view(-1, 1, 1, 1, 1) for step in steps.unbind(1))
    one, four = _inverse(one, luma, UNIT), _inverse(four, luma[..., None], CELL)
    return (one, four), _inverse(both, chroma[..., None], CHROMA).movedim(3, 1)


def _inverse(levels: Tensor, step: Tensor, side: int) -> Tensor:
    """Levels `(…, side²)` int32 -> residual pixels, as `add_residual` has them."""
    levels = levels.unflatten(-1, (side, side))
    matrix = torch.from_numpy(integer_dct(side)).to(levels.device)
    shift = 3 if side == UNIT else 2
    values = ((levels * step + (1 << (shift - 1))) >> shift).clamp(-FAR - 1, FAR)
    columns = torch.zeros_like(values)
    for v in range(side):
        columns = columns + matrix[v][:, None] * values[..., v, None, :]
    columns = ((columns + 64) >> 7).clamp(-FAR - 1, FAR)
    pixels = torch.zeros_like(values)
    for u in range(side):
        pixels = pixels + matrix[u] * columns[..., u, None]
    return ((pixels + 512) >> 10).flatten(-2)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _directions(side: int, luma: bool, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    first, second, part = (torch.from_numpy(table).to(device) for table in directions(side, luma))
    return first.long(), second.long(), part


class _Places:
    """Where in flat planes the pixels and the neighbours of n units lie.

    The place after the last pixel of a plane is mid-grey.

    Attributes:
        unit, cells, chroma: `(n, 256)`, four of `(n, 64)`, `(n, 64)`.
        unit_neighbours, cell_neighbours, chroma_neighbours: the same of neighbours, missing ones
            replaced.
        line_chroma: `(n, 16)` chroma's neighbours above and beside; line_luma: `(n, 16, 4)` luma
            of these; line_there: `(n, 16)` bool.
        under: `(n, 64, 4)` luma of each pixel of chroma.
    """

    def __init__(self, rows: Tensor, columns: Tensor, tall: int, wide: int) -> None:
        y, x, size = rows * UNIT, columns * UNIT, (tall * UNIT, wide * UNIT)
        half = (size[0] // 2, size[1] // 2)
        self.unit, self.chroma = _block(y, x, UNIT, size), _block(y // 2, x // 2, CHROMA, half)
        self.cells = [_block(y + i, x + j, CELL, size) for i, j in _PARTS]
        nowhere = torch.zeros_like(y, dtype=torch.bool)
        self.unit_neighbours = _neighbours(
            y, x, UNIT, size, (y > 0) & (x + UNIT < size[1]), nowhere
        )
        right = [y > 0, (y > 0) & (x + UNIT < size[1]), ~nowhere, nowhere]
        below = [x > 0, nowhere, nowhere, nowhere]
        corners = zip(_PARTS, right, below, strict=True)
        self.cell_neighbours = [
            _neighbours(y + i, x + j, CELL, size, *there) for (i, j), *there in corners
        ]
        v, u = y // 2, x // 2
        self.chroma_neighbours = _neighbours(
            v, u, CHROMA, half, (v > 0) & (u + CHROMA < half[1]), nowhere
        )
        k = torch.arange(CHROMA)
        above, beside = (v[:, None] - 1, u[:, None] + k), (v[:, None] + k, u[:, None] - 1)
        down, across = (
            torch.cat([a.expand(-1, CHROMA), b.expand(-1, CHROMA)], 1)
            for a, b in zip(above, beside, strict=True)
        )
        self.line_there = torch.cat(
            [(v > 0)[:, None].expand(-1, CHROMA), (u > 0)[:, None].expand(-1, CHROMA)], 1
        )
        down, across = down.clamp(min=0), across.clamp(min=0)
        self.line_chroma, self.line_luma = down * half[1] + across, _under(down, across, size[1])
        down, across = self.chroma // half[1], self.chroma % half[1]
        self.under = _under(down, across, size[1])

    def to(self, device: torch.device) -> _Places:
        for name, value in vars(self).items():
            setattr(
                self,
                name,
                [one.to(device) for one in value] if isinstance(value, list) else value.to(device),
            )
        return self


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def _waves(tall: int, wide: int, device: torch.device) -> list[tuple[Tensor, Tensor, _Places]]:
    """Rows, columns and places of the units of each step; made once a size."""
    waves = []
    with torch.device("cpu"):
        for wave in range(wide + 2 * (tall - 1)):
            rows = torch.tensor(
                [r for r in range(tall) if 0 <= wave - 2 * r < wide], dtype=torch.int64
            )
            columns = wave - 2 * rows
            if len(rows):  # a single column has none in every second step
                waves.append((rows, columns, _Places(rows, columns, tall, wide)))
    return [
        (rows.to(device), columns.to(device), places.to(device)) for rows, columns, places in waves
    ]


def _block(y: Tensor, x: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """Places `(n, side²)` of the blocks at `y`, `x` `(n,)`."""
    k = torch.arange(side)
    return ((y.view(-1, 1, 1) + k[:, None]) * size[1] + x.view(-1, 1, 1) + k).flatten(1)


def _neighbours(
    y: Tensor, x: Tensor, side: int, size: tuple[int, int], above_right: Tensor, below_left: Tensor
) -> Tensor:
    """Places `(n, 4·side + 1)` of the neighbours of blocks, as `rebuild_kernels.gather_neighbours`
    has them.
    """
    corner = 2 * side
    k = torch.arange(neighbours(side)).expand(len(y), -1)
    y, x, above_right, below_left = (values[:, None] for values in (y, x, above_right, below_left))
    k = torch.where(~below_left & (k < side), side, k)
    k = torch.where(~above_right & (k > corner + side), corner + side, k)
    k = torch.where((x == 0) & (k <= corner), corner + 1, k)
    k = torch.where((y == 0) & (k >= corner), corner - 1, k)
    down, across = (
        torch.where(k < corner, corner - 1 - k, -1),
        torch.where(k > corner, k - corner - 1, -1),
    )
    places = (y + down) * size[1] + x + across
    return torch.where((y == 0) & (x == 0), size[0] * size[1], places)


def _under(down: Tensor, across: Tensor, width: int) -> Tensor:
    """Places of the 2×2 luma pixels of chroma pixels: `(…,)` -> `(…, 4)`."""
    first = 2 * down * width + 2 * across
    return torch.stack([first, first + 1, first + width, first + width + 1], -1)
