"""Intra frames of blocks that are predicted from their neighbours, as in a standard codec, and a
learned filter in the loop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from codec.blocks.intra_blocks import (
    BlockPriceTables,
    IntraBlocks,
    SearchPrices,
    search_blocks,
    to_frame,
    to_pixels,
)
from codec.blocks.rebuild import rebuild
from codec.blocks.tables import (
    CELL,
    CHANNELS,
    CHROMA,
    CHROMA_CLASSES,
    CHROMA_MODES,
    DC,
    LINEAR,
    MODES,
    PIXELS_PER_LEVEL,
    PLANAR,
    UNIT,
    step_table,
)
from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.intra_modes import IntraModeEntropy
from codec.entropy.models.levels import LevelEntropy
from codec.errors import CodecError
from codec.intra.base import IntraNetwork
from codec.layers.assemble import add_patches
from codec.layers.blocks import Network, downward, stack, upward
from codec.layers.dct import kept_coefficients
from codec.layers.quality import QualityGain, QualityTable, step_ladder
from codec.quality import QUALITIES, LambdaRange
from codec.references import Reference

# Modes that are tried in earnest at 16 and at 8, and classes of chroma.
THOROUGH, FAST = (4, 4, CHROMA_CLASSES), (2, 2, CHROMA_CLASSES)
_FORBIDDEN = 1e6  # bits of what an encoder may not choose


class LoopFilter(Network):
    """What the rebuilt frame is corrected by, in quantisation steps, and the features for later;
    zero at the start.

    The correction comes as patches `(B, 3·8², H / 8, W / 8)` for `codec.layers.assemble`.
    """

    def __init__(self, features: int, channels: int, depth: int) -> None:
        super().__init__()
        self.levels = upward(channels, features, 2)
        self.pixels = downward(3, features, 8)
        self.quality = QualityTable(features, torch.zeros(features))
        self.blocks = stack(features, depth)
        self.head = upward(features, 3, 8, zero=True)

    def forward(self, levels: Tensor, rebuilt: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Levels, split and all `(B, C, H / 16, W / 16)`, rebuilt pixels `(B, 3, H, W)`, quality
        `(B,)`.
        """
        known = self.levels(self.cast(levels)) + self.pixels(self.cast(rebuilt))
        features = self.blocks(known + self.cast(self.quality(quality)))
        return self.head[0](features), features


def level_entropy(groups: Sequence[int], channels: int = CHANNELS, **settings: Any) -> LevelEntropy:
    """The network for the levels: frequency by frequency, the lowest first.

    Args:
        groups: how many channels are coded together, one group after another; the others follow.
        channels: of the latent; there is one number only.
        settings: arguments of `LevelEntropy`.

    Raises:
        CodecError: another number of channels.
    """
    if channels != CHANNELS:
        raise CodecError(f"entropy.channels: {channels} given; levels of blocks are {CHANNELS}")
    kept = kept_coefficients(UNIT, UNIT, CHROMA)
    order = sorted(range(CHANNELS), key=lambda channel: (sum(kept[channel][1:]), kept[channel]))
    ends = [0, *accumulate(groups), CHANNELS]
    parts = [order[first:end] for first, end in zip(ends[:-1], ends[1:], strict=True)]
    return LevelEntropy(CHANNELS, parts, **settings)


class DirectionalIntra(IntraNetwork):
    """Blocks of 16 or 8 pixels predicted from rebuilt neighbours by HEVC's 35 modes, with a
    transform of the block's size.

    The encoder decides on sizes, modes and levels by rate and distortion before any network sees
    them. Both sides then code all symbols of a frame in a few parallel passes of exact networks,
    and rebuild the blocks in order, in integers: pixels are the same everywhere up to the learned
    filter. Chroma is predicted and transformed at half the size.

    Args:
        features: F of the reference.
        entropy: network for the levels.
        modes: network for sizes and modes.
        depth: gated blocks of the filter.
        lambda_low, lambda_high: as the codec's: what a bit may cost in decisions.
        step: luma's quantisation step, in 8-bit levels over the root of 1 / lambda.
        chroma_step: chroma's step over luma's.
        twice: decide again, outside of training, by what the entropy network would spend on levels.
        sizes: of luma blocks that the encoder may choose, 16, 8 or both.
        directions: it may choose directions; else planar and mean alone, in chroma the line over
            luma, too.
        loop_filter: correct the rebuilt frame; else only the features come from the filter.

    Raises:
        CodecError: entropy networks that do not fit each other or the latent, or other sizes.

    Source: intra prediction and transforms of ITU-T H.265, 8.4.4.2 and 8.6.4.2.
    """

    latent_stride, made_for = UNIT, "ycc"
    steps: Tensor

    def __init__(
        self,
        features: int,
        entropy: LevelEntropy,
        modes: IntraModeEntropy,
        depth: int = 3,
        lambda_low: float = 0.003,
        lambda_high: float = 0.4,
        step: float = 3.3,
        chroma_step: float = 0.5,
        twice: bool = True,
        sizes: Sequence[int] = (UNIT, CELL),
        directions: bool = True,
        loop_filter: bool = True,
        component: str = "intra",
    ) -> None:
        super().__init__()
        if not sizes or not set(sizes) <= {UNIT, CELL}:
            raise CodecError(f"intra.sizes: {list(sizes)} given; expected [16, 8], [16] or [8]")
        if not isinstance(entropy, LevelEntropy) or entropy.channels != CHANNELS:
            needed = f"directional needs LevelEntropy of {CHANNELS} channels"
            raise CodecError(f"intra.entropy: {type(entropy).__name__} given; {needed}")
        if modes.kinds != CHROMA_CLASSES:
            raise CodecError(f"intra.modes.kinds: {modes.kinds} given; expected {CHROMA_CLASSES}")
        self.entropy, self.modes = entropy, modes
        self.features, self.twice, self.component = features, twice, component
        self.sizes, self.directions, self.loop_filter = tuple(sizes), directions, loop_filter
        self.lambdas, self.chroma_step = LambdaRange(lambda_low, lambda_high), chroma_step
        coarsest, finest = (step / math.sqrt(value) for value in (lambda_low, lambda_high))
        ends = (coarsest, finest), (coarsest * chroma_step, finest * chroma_step)
        steps = [step_table(*pair, QUALITIES).tolist() for pair in ends]
        self.register_buffer("steps", torch.tensor(steps, dtype=torch.int32).T, persistent=False)
        self.prices = BlockPriceTables(step_ladder(coarsest, finest)[:, 0] * 255, chroma_step)
        self.filter = LoopFilter(features, CHANNELS + 1, depth)
        self.correction_gain = QualityGain(1, step_ladder(coarsest, finest).log())
        entropy.start_from(*self.prices.magnitudes())

    def forward(
        self, frame: Tensor | None, size: tuple[int, int], quality: Tensor, coder: SymbolCoder
    ) -> Reference:
        blocks = planes = None
        if coder.encodes and frame is not None:
            blocks, planes = self.search(frame, quality)
        units = size[0] // UNIT, size[1] // UNIT
        maps = None if blocks is None else blocks.maps
        note = partial(self._note, quality) if self.training else None
        maps = self.modes.code(self.component, maps, units, quality, coder, note=note)
        known, split = self.modes.known_of(maps), maps[:, :1] == 1
        levels = None if blocks is None else blocks.levels.float()
        levels = self.entropy.code(
            self.component, levels, units, quality, coder, known=known, split=split
        )
        if planes is None:
            planes = rebuild(IntraBlocks.of(levels, maps), self.steps[quality])
        return self.filtered(levels, split, to_frame(*planes), quality)

    def filtered(
        self, levels: Tensor, split: Tensor, rebuilt: Tensor, quality: Tensor
    ) -> Reference:
        """The frame after the filter."""
        learned, features = self.filter(torch.cat([levels, split.float()], 1), rebuilt, quality)
        if not self.loop_filter:
            return Reference(frame=rebuilt, features=features)
        return Reference(
            frame=add_patches(rebuilt, learned, self.correction_gain(quality)), features=features
        )

    @torch.no_grad()
    def search(self, frame: Tensor, quality: Tensor) -> tuple[IntraBlocks, tuple[Tensor, Tensor]]:
        """The best blocks for `frame` `(B, 3, H, W)`, and the pixels of luma and chroma that they
        rebuild.
        """
        own, cpu = quality.cpu(), torch.device("cpu")
        pixels = to_pixels(frame.float().cpu())
        bit = PIXELS_PER_LEVEL**2 / self.lambdas.at(own)
        bits = torch.stack([bit, bit * self.chroma_step**2], 1)
        steps, prices = self.steps.cpu()[own], self.search_prices(own)
        twice = self.twice and not self.training
        tries = FAST if self.training or twice else THOROUGH
        blocks, planes, _ = search_blocks(*pixels, steps, bits, prices, tries)
        if self.training:
            self.prices.note_levels(blocks.levels, blocks.split > 0, own)
        if twice:
            scales = self.expected_scales(blocks.to(quality.device), quality).to(cpu)
            blocks, planes, _ = search_blocks(*pixels, steps, bits, prices, THOROUGH, scales)
        luma, chroma = planes
        return blocks.to(frame.device), (luma.to(frame.device), chroma.to(frame.device))

    def search_prices(self, quality: Tensor) -> SearchPrices:
        """What symbols are expected to cost at `quality` `(B,)`; what may not be chosen costs too
        much.
        """
        prices = self.prices.search_prices(quality)
        for place, side in enumerate((UNIT, CELL)):
            if side not in self.sizes:
                prices.size[:, place] = _FORBIDDEN
        if not self.directions:
            prices.mode[:, :, DC + 1 : MODES] = _FORBIDDEN
            for kind, mode in enumerate(CHROMA_MODES, LINEAR + 1):
                if mode not in (PLANAR, DC):
                    prices.kind[:, kind] = _FORBIDDEN
        return prices

    def expected_scales(self, blocks: IntraBlocks, quality: Tensor) -> Tensor:
        """Scale indexes by which levels near these would be coded.

        Returns:
            `(B, 2, h, w, C)` int8, where a unit is one block and where it is four.
        """
        known = self.modes.known_of(blocks.maps)
        scales = self.entropy.scales(blocks.levels.float(), quality, known, blocks.split > 0)
        return scales.permute(0, 1, 3, 4, 2)

    def _note(
        self, quality: Tensor, kind: str, entry: Tensor, bits: Tensor, present: Tensor
    ) -> None:
        self.prices.note(kind, entry, bits, present, quality)
