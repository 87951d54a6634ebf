"""Units of predicted frames: what an encoder decided, and the calls that decide and rebuild."""

from __future__ import annotations

from dataclasses import dataclass

import torch
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
from codec.blocks.rebuild_kernels import FAR
from codec.blocks.search_kernels import Choices, Frames
from codec.blocks.tables import CHANNELS, LARGEST, UNIT, channel_places
from codec.blocks.unit_kernels import (
    INTER_8,
    INTRA_8,
    INTRA_16,
    rebuild_predicted_rows,
    search_predicted_rows,
)
from codec.layers.bands import in_bands
from codec.layers.kernels import on_cpu


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
        """`(B, 1, h, w)` of 0..4: see `codec.blocks.unit_kernels`."""
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
