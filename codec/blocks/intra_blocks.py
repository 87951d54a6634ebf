"""Intra blocks of a batch: what an encoder decided, and the calls of the kernels that decide and
rebuild.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from codec.blocks.rebuild_kernels import FAR, rebuild_rows
from codec.blocks.search_kernels import MODE_LANES, Choices, Frames, Prices, Tables, search_rows
from codec.blocks.tables import (
    CELL,
    CHANNELS,
    CHROMA,
    CHROMA_MODES,
    LARGEST,
    LUMA_COEFFICIENTS,
    MODES,
    PIXELS_PER_LEVEL,
    UNIT,
    channel_places,
    directions,
    float_dct,
    integer_dct,
)
from codec.entropy.coding.laplace import SCALES, laplace_bits
from codec.entropy.coding.prices import LearnedTables
from codec.layers.kernels import in_bands

_SCALE = 255 * PIXELS_PER_LEVEL
_CORRECTIONS = 2  # the third gains 0.1 dB of 50
GAINS = (0.06, 0.25, 0.6, 1.2, 2.5, 5.0)  # of a block's scales over the mean ones
_GAIN_BITS = (1.5, 2.5, 2.5, 2.5, 3.0, 4.0)
_SAME_MODE, _SAME_TWICE = 2.2, 1.2  # bits of the mode of a neighbour, and of the mode of both
_SMALLEST, _LARGEST = 1e-4, 1e4


@dataclass(frozen=True, kw_only=True)
class IntraBlocks:
    """The symbols of intra frames, all of them integers.

    Attributes:
        levels: `(B, C, h, w)` quantised coefficients, one place a unit of 16×16 pixels.
        split: `(B, 1, h, w)` uint8, 1 where a unit is four blocks of 8.
        modes: `(B, 1, 2·h, 2·w)` uint8, the mode 0..34 of each cell of 8×8 pixels.
        kinds: `(B, 1, h, w)` uint8, the class of chroma's prediction.
    """

    levels: Tensor
    split: Tensor
    modes: Tensor
    kinds: Tensor

    @classmethod
    def of(cls, levels: Tensor, maps: Tensor) -> IntraBlocks:
        """From levels and the maps that `codec.entropy.models.intra_modes` codes, of any type."""
        split, modes, kinds = maps.to(torch.uint8).split([1, 4, 1], 1)
        return cls(levels=levels, split=split, modes=F.pixel_shuffle(modes, 2), kinds=kinds)

    @property
    def maps(self) -> Tensor:
        """`(B, 6, h, w)` uint8, as `codec.entropy.models.intra_modes` codes them."""
        return torch.cat([self.split, F.pixel_unshuffle(self.modes, 2), self.kinds], 1)

    def to(self, device: torch.device) -> IntraBlocks:
        """The same elsewhere."""
        return IntraBlocks(**{name: value.to(device) for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class SearchPrices:
    """Bits that an encoder expects symbols to cost, float32.

    Attributes:
        unit, cell, chroma: of levels, `(B, G, 3, 256)`, `(B, G, 3, 64)`, `(B, 2, G, 3, 64)`: of 0,
            of ±1, and of each further level, by the gain of the block's scales and by coefficient.
        mode: `(B, 2, MODES + 2)` of modes of blocks of 16 and 8; the last two of a mode that one
            and that both of the cells beside and above have.
        kind: `(B, CHROMA_CLASSES)`.
        size: `(B, 2)` of one block and of four.
    """

    unit: Tensor
    cell: Tensor
    chroma: Tensor
    mode: Tensor
    kind: Tensor
    size: Tensor

    def without_sizes(self) -> SearchPrices:
        """The same where sizes are said in another way."""
        return replace(self, size=torch.zeros_like(self.size))


def to_pixels(frame: Tensor) -> tuple[Tensor, Tensor]:
    """Frames `(B, 3, H, W)` in -0.5..0.5 -> 10-bit luma `(B, H, W)` and chroma of half the size
    `(B, 2, H/2, W/2)`, int32.

    Chroma is averaged over 2×2 pixels and then moved to where, enlarged again, it comes near the
    original.
    """
    return rounded_pixels(frame[:, 0]), rounded_pixels(reduced(frame[:, 1:]))


def reduced(chroma: Tensor) -> Tensor:
    """Chroma of half the size that, `enlarged`, comes near to what it was."""
    small = F.avg_pool2d(chroma, 2)
    for _ in range(_CORRECTIONS):
        small = small + F.avg_pool2d(chroma - enlarged(small), 2)
    return small


def enlarged(chroma: Tensor) -> Tensor:
    """Chroma of twice the size."""
    return F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)


def rounded_pixels(values: Tensor) -> Tensor:
    """-0.5..0.5 -> 10-bit integers, int32."""
    return ((values + 0.5) * _SCALE).round().clamp(0, LARGEST).to(torch.int32)


def to_frame(luma: Tensor, chroma: Tensor) -> Tensor:
    """The inverse of `to_pixels`, `(B, 3, H, W)` float32."""
    return torch.cat([luma[:, None].float(), enlarged(chroma.float())], 1) / _SCALE - 0.5


def search_blocks(
    luma: Tensor,
    chroma: Tensor,
    steps: Tensor,
    bits: Tensor,
    prices: SearchPrices,
    tries: tuple[int, int, int] = (3, 3, 6),
    scales: Tensor | None = None,
) -> tuple[IntraBlocks, tuple[Tensor, Tensor], Tensor]:
    """Decide on all blocks, in order, on the CPU.

    Args:
        luma, chroma: as `to_pixels` gives them.
        steps: `(B, 2)` int32, quantisation steps of luma and chroma in sixteenths of a pixel.
        bits: `(B, 2)` float32, squared pixels that a bit may cost in luma and in chroma.
        prices: of symbols.
        tries: modes that are tried in earnest at 16 and at 8, and classes of chroma.
        scales: `(B, 2, h, w, C)` int8, scale indexes that levels are priced by
            where a unit is one block and where it is four; None: by `prices`.

    Returns:
        The blocks; what they rebuild, as `rebuild` gives it; and estimated bits `(B, h, w, 4)` of
        luma's levels, of modes and sizes, of chroma's levels and of its classes.
    """
    batch, height, width = luma.shape
    tall, wide = height // UNIT, width // UNIT
    levels = torch.zeros(batch, tall, wide, CHANNELS, dtype=torch.int32)
    split, kinds = (torch.zeros(batch, tall, wide, dtype=torch.uint8) for _ in range(2))
    modes = torch.zeros(batch, 2 * tall, 2 * wide, dtype=torch.uint8)
    planes = torch.empty_like(luma), torch.empty_like(chroma)
    spent, progress = torch.zeros(batch, tall, wide, 4), torch.zeros(1 + batch * tall).long()
    made = levels, split, modes, kinds, *planes, spent
    arrays = (
        Frames(*(kernel_array(values) for values in (luma, chroma, *made))),
        Choices(kernel_array(steps), kernel_array(bits), *tries),
        kernel_prices(prices, scales, (tall, wide)),
        search_tables(),
        kernel_array(progress),
    )
    in_bands(lambda first, end: search_rows(*arrays), batch * tall)
    maps = {"split": split[:, None], "modes": modes[:, None], "kinds": kinds[:, None]}
    return IntraBlocks(levels=levels.permute(0, 3, 1, 2), **maps), planes, spent


def rebuild_by_kernel(blocks: IntraBlocks, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Luma `(B, H, W)` and chroma `(B, 2, H / 2, W / 2)`, int32 0..1023, on the CPU.

    `steps` `(B, 2)` int32: quantisation steps of luma and chroma in sixteenths of a pixel.
    """
    levels = blocks.levels.permute(0, 2, 3, 1).clamp(-FAR, FAR).to(torch.int32).contiguous()
    batch, tall, wide = levels.shape[:3]
    luma = torch.empty(batch, tall * UNIT, wide * UNIT, dtype=torch.int32)
    chroma = torch.empty(batch, 2, tall * UNIT // 2, wide * UNIT // 2, dtype=torch.int32)
    progress = torch.zeros(1 + batch * tall, dtype=torch.int64)
    arrays = (
        kernel_array(levels),
        *(
            kernel_array(values[:, 0].to(torch.uint8))
            for values in (blocks.split, blocks.modes, blocks.kinds)
        ),
        kernel_array(steps),
        (kernel_array(luma), kernel_array(chroma)),
        channel_places(),
        kernel_constants(),
        kernel_array(progress),
    )
    in_bands(lambda first, end: rebuild_rows(*arrays), batch * tall)
    return luma, chroma


def kernel_prices(prices: SearchPrices, scales: Tensor | None, size: tuple[int, int]) -> Prices:
    """As kernels take them, for frames of `size` units; `scales` as of `search_blocks`."""
    if scales is None:
        scales = torch.empty(0, 2, *size, CHANNELS, dtype=torch.int8)
    return Prices(
        unit=kernel_array(prices.unit.float()),
        cell=kernel_array(prices.cell.float()),
        chroma=kernel_array(prices.chroma.float()),
        mode=kernel_array(prices.mode.float()),
        kind=kernel_array(prices.kind.float()),
        size=kernel_array(prices.size.float()),
        levels=_level_bits(),
        scales=kernel_array(scales),
    )


def kernel_array(values: Tensor) -> np.ndarray:
    """As kernels take it."""
    return values.detach().contiguous().numpy()


@cache
def kernel_constants() -> tuple:
    """What `rebuild_rows` takes."""
    tables = directions(UNIT, True), directions(CELL, True), directions(CELL, False)
    return integer_dct(UNIT), integer_dct(CELL), *tables, np.array(CHROMA_MODES)


@cache
def search_tables() -> Tables:
    """What `search_rows` takes."""
    wide, small, of_unit, of_cell, of_chroma, chroma_modes = kernel_constants()
    whole, cells, colours = channel_places()
    return Tables(
        whole=whole,
        cells=cells,
        colours=colours,
        matrix_16=wide,
        matrix_8=small,
        dct_16=np.stack([float_dct(UNIT), float_dct(UNIT).T]),
        dct_8=np.stack([float_dct(CELL), float_dct(CELL).T]),
        of_unit=of_unit,
        of_cell=of_cell,
        of_chroma=of_chroma,
        by_pixel_16=tuple(_by_pixel(table) for table in of_unit),
        by_pixel_8=tuple(_by_pixel(table) for table in of_cell),
        chroma_modes=chroma_modes,
    )


@cache
def _level_bits() -> np.ndarray:
    """Bits of 0, of ±1 and of each further level by scale index, `(64, 3)` float32."""
    indexes = torch.arange(SCALES).float()
    bits = [laplace_bits(torch.full_like(indexes, value), indexes) for value in (0, 1, 2)]
    return torch.stack([bits[0], bits[1], bits[2] - bits[1]], 1).numpy()


def _by_pixel(table: np.ndarray) -> np.ndarray:
    """`(35, n)` -> `(n, MODE_LANES)`."""
    made = np.zeros((table.shape[1], MODE_LANES), table.dtype)
    made[:, :MODES] = table.T
    return made


class BlockPriceTables(LearnedTables):
    """Mean magnitudes of levels, and bits of modes and sizes, by quality.

    Args:
        steps: `(KNOTS,)` luma's quantisation steps, in 8-bit levels.
        chroma_step: chroma's over luma's.
        share: of the magnitudes that intra prediction leaves.

    Attributes:
        unit: `(KNOTS, 256)` mean magnitude of the levels of a block of 16; cell: `(KNOTS, 64)` of
            8; chroma: `(KNOTS, 2, 64)`.
        mode: `(KNOTS, 2, 35)` bits of a mode at 16 and at 8.
        kind: `(KNOTS, 6)` bits of chroma's classes. size: `(KNOTS, 2)` of one block and of four.
    """

    unit: Tensor
    cell: Tensor
    chroma: Tensor
    mode: Tensor
    kind: Tensor
    size: Tensor

    def __init__(self, steps: Tensor, chroma_step: float, share: float = 1.0) -> None:
        mode = torch.full((MODES,), 5.5)
        mode[[0, 1, 10, 26]] = torch.tensor([2.3, 3.3, 4.0, 4.0])
        start = {
            "unit": torch.zeros(LUMA_COEFFICIENTS),
            "cell": torch.zeros(CELL * CELL),
            "chroma": torch.zeros(2, CHROMA * CHROMA),
            "mode": mode.expand(2, -1),
            "kind": torch.tensor([1.6, 1.6, 2.5, 3.5, 4.0, 4.0]),
            "size": torch.ones(2),
        }
        super().__init__(start, _SMALLEST, _LARGEST)
        steps = steps.view(-1, 1) / share
        self.unit.copy_(_expected(UNIT, 28.0) / steps)
        self.cell.copy_(_expected(CELL, 22.0) / steps)
        self.chroma.copy_(
            (_expected(CHROMA, 7.0) / steps / chroma_step)[:, None].expand_as(self.chroma)
        )

    def magnitudes(self) -> tuple[Tensor, Tensor]:
        """Mean magnitudes of the latent's channels, `(KNOTS, C)` each, where a unit is one block
        and where it is four.
        """
        whole, cells, colours = (torch.from_numpy(places) for places in channel_places())
        one = self.unit.new_empty(len(self.unit), whole.numel() + colours.numel())
        one[:, colours.flatten()] = self.chroma.flatten(1)
        four = one.clone()
        one[:, whole] = self.unit
        for places in cells:
            four[:, places] = self.cell
        return one, four

    def search_prices(self, quality: Tensor) -> SearchPrices:
        """What `search_blocks` takes, at `quality` `(B,)`; on the CPU."""
        tables = {
            name: values.cpu() for name, values in self.at(quality.to(self.unit.device)).items()
        }
        same = torch.tensor([_SAME_MODE, _SAME_TWICE]).expand(len(quality), 2, 2)
        return SearchPrices(
            unit=_level_prices(tables["unit"]),
            cell=_level_prices(tables["cell"]),
            chroma=torch.stack([_level_prices(values) for values in tables["chroma"].unbind(1)], 1),
            mode=torch.cat([tables["mode"], same], 2),
            kind=tables["kind"],
            size=tables["size"],
        )

    def note_levels(
        self, levels: Tensor, split: Tensor, quality: Tensor, present: Tensor | None = None
    ) -> None:
        """Count the magnitudes of levels towards the next `update`; on the CPU.

        Args:
            levels: `(B, C, h, w)`.
            split: `(B, 1, h, w)` bool, where a unit is four blocks.
            quality: `(B,)`.
            present: `(B, 1, h, w)` bool, which units count; None: all.
        """
        whole, cells, colours = (torch.from_numpy(places) for places in channel_places())
        sizes = levels.abs().float()
        counted = torch.ones_like(split) if present is None else present
        device = self.unit.device

        def note(kind: str, places: Tensor, present: Tensor, start: int = 0) -> None:
            entry = (
                (torch.arange(len(places)) + start)
                .view(1, -1, 1, 1)
                .expand(len(sizes), -1, *sizes.shape[2:])
            )
            self.note(
                kind,
                entry.to(device),
                values=sizes[:, places].to(device),
                present=present.expand_as(entry).to(device),
                quality=quality.to(device),
            )

        note("unit", whole, counted & ~split)
        for part in cells:
            note("cell", part, counted & split)
        for number, part in enumerate(colours):
            note("chroma", part, counted, number * CHROMA * CHROMA)


def _expected(side: int, first: float) -> Tensor:
    """Mean magnitudes `(side²,)` of what prediction leaves, in 8-bit levels; guessed, training says
    better.
    """
    v, u = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return (first / (1 + (v + u) * (16 / side) / 4) ** 1.5).flatten()


def _level_prices(magnitude: Tensor) -> Tensor:
    """Bits `(B, GAINS, 3, n)` of 0, of ±1 and of each further level, where levels have mean
    magnitudes `(B, n)`.
    """
    gains = torch.tensor(GAINS).view(1, -1, 1)
    mean = (magnitude[:, None] * gains).clamp(1e-6, 1e3).double()
    decay = 1 / (2 * torch.asinh(1 / (2 * mean)))  # the scale
    outside = torch.exp(-1 / (2 * decay))
    log = torch.tensor(2.0, dtype=torch.float64).log()
    zero = -torch.log1p(-outside) / log
    more = 1 / decay / log
    one = 1 + 1 / (2 * decay) / log - torch.log1p(-torch.exp(-1 / decay)) / log
    prices = torch.stack([zero, one, more], 2)
    prices[:, :, :2, 0] += torch.tensor(_GAIN_BITS, dtype=torch.float64).view(1, -1, 1)
    return prices.float()
