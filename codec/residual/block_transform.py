"""Residuals of predicted frames in blocks, as a standard codec has them, and a filter
in the loop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.blocks.intra_blocks import BlockPriceTables, enlarged, reduced, rounded_pixels
from codec.blocks.tables import CELL, CHANNELS, PIXELS_PER_LEVEL, UNIT, step_table
from codec.blocks.units import (
    INTER_8,
    INTER_16,
    INTRA_8,
    INTRA_16,
    TYPES,
    UNCODED,
    PredictedUnits,
    rebuild_predicted,
    search_predicted,
    split_of,
)
from codec.entropy.coding.prices import LearnedTables
from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.base import EntropyNetwork
from codec.entropy.models.intra_modes import CONTEXTS, UnitTypeEntropy, flat_rows, unit_context
from codec.entropy.models.levels import LevelEntropy
from codec.errors import CodecError
from codec.layers.assemble import add_gated_patches, add_patches
from codec.layers.quality import QualityGain, step_ladder
from codec.quality import QUALITIES, LambdaRange
from codec.references import Context, Reference
from codec.residual.base import ResidualCoder
from codec.residual.conditional import Synthesis, skip_gate

KNOWN = TYPES + CONTEXTS  # things that the entropy network may know of a unit
_TRIES = (2, 2, 6)  # of intra units: modes at 16 and at 8, and classes of chroma
_SCALE = 255 * PIXELS_PER_LEVEL
_FORBIDDEN = 1e6  # bits of what an encoder may not choose
_SHARE = (
    0.3  # of what intra prediction leaves, that motion compensation leaves; training says better
)


class BlockTransformResidual(ResidualCoder):
    """Units of 16×16 pixels with one transform or four, or predicted from their neighbours.

    What motion compensation predicts is a mode beside those of `DirectionalIntra`: the encoder
    decides on types, modes and levels in order, by rate and distortion, before any network sees
    them. All symbols are coded in a few parallel passes of exact networks; then units are rebuilt,
    and a learned synthesis that sees prediction and features filters the whole frame.

    Args:
        features: F of the context.
        modes: network for types and modes.
        depth: gated blocks of the filter.
        lambda_low, lambda_high: as the codec's.
        lambda_scale: what a bit may cost in decisions is 1 over so many times lambda.
        step: luma's quantisation step, in 8-bit levels over the root of 1 / lambda as scaled.
        chroma_step: chroma's step over luma's.
        skip: keep static content for which nothing is coded (`skip_gate`).
        twice: decide again, outside of training, by what the entropy network would spend on levels.
        sizes: of luma's transforms that the encoder may choose for residuals, 16, 8 or both.
        intra_units: it may predict units from their neighbours.

    Raises:
        CodecError: networks that do not fit each other, or other sizes.
    """

    latent_channels, latent_stride, made_for = CHANNELS, UNIT, "ycc"
    steps: Tensor

    def __init__(
        self,
        features: int,
        modes: UnitTypeEntropy,
        depth: int = 3,
        lambda_low: float = 0.003,
        lambda_high: float = 0.4,
        lambda_scale: float = 1.0,
        step: float = 3.3,
        chroma_step: float = 0.5,
        skip: bool = False,
        twice: bool = True,
        sizes: Sequence[int] = (UNIT, CELL),
        intra_units: bool = True,
    ) -> None:
        super().__init__()
        if not sizes or not set(sizes) <= {UNIT, CELL}:
            raise CodecError(f"residual.sizes: {list(sizes)} given; expected [16, 8], [16] or [8]")
        self.forbidden = [INTRA_16, INTRA_8] if not intra_units else []
        self.forbidden += [
            kind for side, kind in ((UNIT, INTER_16), (CELL, INTER_8)) if side not in sizes
        ]
        self.features, self.modes, self.skip, self.twice = features, modes, skip, twice
        lambda_low, lambda_high = lambda_scale * lambda_low, lambda_scale * lambda_high
        self.lambdas, self.chroma_step = LambdaRange(lambda_low, lambda_high), chroma_step
        coarsest, finest = (step / math.sqrt(value) for value in (lambda_low, lambda_high))
        ends = (coarsest, finest), (coarsest * chroma_step, finest * chroma_step)
        steps = [step_table(*pair, QUALITIES).tolist() for pair in ends]
        self.register_buffer("steps", torch.tensor(steps, dtype=torch.int32).T, persistent=False)
        ladder = step_ladder(coarsest, finest)
        self.prices = UnitPrices(ladder[:, 0] * 255, chroma_step)
        self.synthesis = Synthesis(features, CHANNELS, depth)
        self.correction_gain = QualityGain(1, ladder.log())

    def prepare_entropy(self, entropy: EntropyNetwork) -> None:
        needed = f"residual=block_transform needs LevelEntropy with prior and known={KNOWN}"
        if not (isinstance(entropy, LevelEntropy) and entropy.prior and entropy.known == KNOWN):
            raise CodecError(f"entropy: {type(entropy).__name__} given; {needed} (entropy=levels)")
        super().prepare_entropy(entropy)
        entropy.start_from(*self.prices.inter.magnitudes())

    def code(
        self,
        frame: Tensor | None,
        context: Context,
        newest: Reference,
        quality: Tensor,
        coder: SymbolCoder,
        entropy: EntropyNetwork,
    ) -> tuple[Tensor, Tensor, Tensor]:
        assert isinstance(entropy, LevelEntropy)  # `prepare_entropy` refuses others
        prediction, previous = context.prediction, newest.latent
        height, width = prediction.shape[-2:]
        size = (height // UNIT, width // UNIT)
        known = unit_context(
            previous,
            blocks=context.blocks,
            moving=context.motion_mask,
            size=size,
            batch=len(quality),
            device=quality.device,
        )
        luma, small = prediction.detach()[:, 0], F.avg_pool2d(prediction.detach()[:, 1:], 2)
        predicted = rounded_pixels(luma.float()), rounded_pixels(small.float())
        units = planes = None
        if coder.encodes and frame is not None:
            chroma = small + reduced(frame[:, 1:] - prediction.detach()[:, 1:])
            source = rounded_pixels(frame[:, 0]), rounded_pixels(chroma)
            units, planes = self.search(source, predicted, quality, entropy, known, previous)
        maps = None if units is None else units.maps
        note = partial(self.prices.note, quality) if self.training else None
        maps = self.modes.code("residual", maps, size, quality, coder, note=note, context=known)
        types = maps[:, :1].long()
        levels = None if units is None else units.levels.float()
        levels = entropy.code(
            "residual",
            levels,
            size,
            quality,
            coder,
            previous=previous,
            known=_with_types(known, types),
            split=split_of(types),
            present=types != UNCODED,
        )
        if planes is None:
            planes = rebuild_predicted(
                PredictedUnits(levels=levels, maps=maps), predicted, self.steps[quality]
            )
        luma, chroma = (after - before for after, before in zip(planes, predicted, strict=True))
        change = torch.cat([luma[:, None].float(), enlarged(chroma.float())], 1) / _SCALE
        return levels, *self.filtered(levels, prediction + change, context, quality)

    def filtered(
        self, levels: Tensor, rebuilt: Tensor, context: Context, quality: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The frame after the filter, and the features for later."""
        learned, features = self.synthesis(levels, rebuilt, context.features, quality)
        gain = self.correction_gain(quality)
        gate = skip_gate(levels, context) if self.skip else None
        if gate is None or context.warped is None:
            return add_patches(rebuilt, learned, gain), features
        return add_gated_patches(rebuilt, learned, gain, context.warped, gate), features

    @torch.no_grad()
    def search(
        self,
        source: tuple[Tensor, Tensor],
        predicted: tuple[Tensor, Tensor],
        quality: Tensor,
        entropy: LevelEntropy,
        known: Tensor,
        previous: Tensor | None,
    ) -> tuple[PredictedUnits, tuple[Tensor, Tensor]]:
        """The best units for a frame, and the pixels that they rebuild.

        Args:
            source, predicted: 10-bit luma and chroma of the frame, and as they are predicted.
            entropy, previous: of the levels, and the last frame's.
            known: as of `unit_context`.
        """
        own, device = quality.cpu(), quality.device
        bit = PIXELS_PER_LEVEL**2 / self.lambdas.at(own)
        given: dict[str, Any] = {
            "source": tuple(plane.cpu() for plane in source),
            "predicted": tuple(plane.cpu() for plane in predicted),
            "steps": self.steps.cpu()[own],
            "bits": torch.stack([bit, bit * self.chroma_step**2], 1),
            "tries": _TRIES,
            **self.prices.search_prices(own),
        }
        given["of_types"][:, self.forbidden] = _FORBIDDEN
        units, planes, _ = search_predicted(**given)
        if self.training:
            self.prices.note_levels(units, own)
        elif self.twice:
            there = units.to(device)
            types = there.types.long()
            types = torch.where(types == UNCODED, INTER_16, types)  # as if something were coded
            knows, split = _with_types(known, types), split_of(types)
            latent = there.levels.float()
            scales = entropy.scales(latent, quality, knows, split, previous)
            scales = scales.permute(0, 1, 3, 4, 2).cpu()
            units, planes, _ = search_predicted(**given, scales=scales)
        return units.to(device), (planes[0].to(device), planes[1].to(device))


class UnitTypePrices(LearnedTables):
    """Bits `(KNOTS, 5)` of the types of units."""

    kind: Tensor


class UnitPrices(nn.Module):
    """What an encoder expects units of predicted frames to cost: levels, modes and types.

    Args:
        steps, chroma_step: as of `BlockPriceTables`.
    """

    def __init__(self, steps: Tensor, chroma_step: float) -> None:
        super().__init__()
        self.inter = BlockPriceTables(steps, chroma_step, share=_SHARE)
        self.intra = BlockPriceTables(steps, chroma_step)
        self.types = UnitTypePrices({"kind": torch.tensor([0.8, 1.8, 2.2, 6.0, 6.0])}, 0.02, 12.0)

    def note(
        self, quality: Tensor, kind: str, entry: Tensor, bits: Tensor, present: Tensor
    ) -> None:
        """Count what symbols cost; as `codec.entropy.models.intra_modes.Note`."""
        if kind == "type":
            self.types.note("kind", entry, bits, present, quality)
        else:
            self.intra.note(kind, entry, bits, present, quality)

    def note_levels(self, units: PredictedUnits, quality: Tensor) -> None:
        """Count the magnitudes of levels; on the CPU."""
        split, types = split_of(units.types), units.types
        inter = (types != UNCODED) & (types < TYPES - 2)
        self.inter.note_levels(units.levels, split, quality, inter)
        self.intra.note_levels(units.levels, split, quality, types >= TYPES - 2)

    def search_prices(self, quality: Tensor) -> dict[str, object]:
        """What `search_predicted` takes, at `quality` `(B,)`; on the CPU."""
        intra = self.intra.search_prices(quality)
        return {
            "inter": self.inter.search_prices(quality),
            "intra": intra.without_sizes(),
            "of_types": self.types.at(quality.to(self.types.kind.device))["kind"].cpu(),
        }


def _with_types(known: Tensor, types: Tensor) -> Tensor:
    """What the levels' network knows of units: numbers as of `ExactFlags`, `(B·h·w, n)`."""
    return torch.cat([flat_rows(types) + 1, torch.where(known > 0, known + TYPES, 0)], 1)
