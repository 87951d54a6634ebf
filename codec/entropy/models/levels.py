"""Quantised coefficients that an encoder has fixed: integers, their scales by exact networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from codec.entropy.coding.laplace import SCALES, SKIP_BELOW, LaplaceModel, limit_index
from codec.entropy.coding.symbol_coder import SymbolCoder, SymbolRounder
from codec.entropy.models.base import EntropyNetwork
from codec.entropy.models.hyperprior import SCALES_PER_UNIT, HyperLatent, HyperSynthesis, ScaleTable
from codec.entropy.models.integer_layers import (
    SIXTEENTHS,
    BoundedBlock,
    Exact,
    ExactFlags,
    ExactHead,
    ExactTable,
    IntegerConv,
    bounded,
    exactly,
)
from codec.entropy.models.places import Places, all_places, present_places
from codec.errors import CodecError


class LevelContext(Exact, nn.Module):
    """Hyper-latent, what is known of each place, and quality -> features `(N, W)`.

    Features are integers in -127..127.
    """

    def __init__(
        self, known: int, hyper: int, width: int, depth: int, previous: int | None = None
    ) -> None:
        super().__init__()
        self.coarse = HyperSynthesis(hyper, width)
        self.known = ExactFlags(known, width)
        self.previous = None if previous is None else IntegerConv(previous, width, bias=False)
        self.quality = ExactTable(width, torch.zeros(width))
        self.blocks = nn.Sequential(*(BoundedBlock(width) for _ in range(depth)))

    @exactly
    def forward(
        self,
        hyper: Tensor,
        known: Tensor,
        quality: Tensor,
        previous: Tensor | None,
        places: Places,
    ) -> Tensor:
        """From what both sides know.

        Args:
            hyper: the hyper-latent `(B, Z, h', w')`.
            known: `(B·h·w, n)` as of `ExactFlags`.
            quality: `(B,)`.
            previous: levels of the last frame, `(B, C, h, w)`, or None.
            places: where.
        """
        _, height, width = places.shape
        sums = places.rows(self.coarse(hyper)[..., :height, :width])
        sums = sums + places.of_samples(self.quality(quality).flatten(1))
        sums = sums + self.known(places.rows(known))
        if self.previous is not None and previous is not None:
            sums = sums + self.previous.by_row(companded_rows(self, places.rows(previous)))
        return through(self.blocks, bounded(sums), places)


class NextContext(Exact, nn.Module):
    """Features and a group of levels that were coded -> features that know them, too."""

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.magnitudes = IntegerConv(channels, width)
        self.signed = IntegerConv(channels, width, bias=False)
        self.blocks = nn.Sequential(*(BoundedBlock(width) for _ in range(depth)))

    @exactly
    def forward(self, features: Tensor, levels: Tensor, places: Places) -> Tensor:
        """Features `(N, W)` and levels, maps of `channels` in the form of what is coded."""
        rows = levels[0, :, 0].mT if places.shape[0] == 1 else places.rows(levels)
        magnitude = companded_rows(self, rows)
        known = self.magnitudes.by_row(magnitude)
        known = known + self.signed.by_row(torch.copysign(magnitude, rows))
        return through(self.blocks, bounded(features + known), places)


def companded_rows(module: Exact, rows: Tensor) -> Tensor:
    """`Exact.companded` of rows `(N, C)`."""
    return module.companded(rows.mT[None, :, None])[0, :, 0].mT


def through(blocks: nn.Sequential, features: Tensor, places: Places) -> Tensor:
    """What `BoundedBlock`s make of features `(N, W)` of places that are all asked."""
    for block in blocks:
        assert isinstance(block, BoundedBlock)
        features = block.by_place(features, places)
    return features


class LevelEntropy(Exact, EntropyNetwork):
    """Levels of intra blocks in groups of channels: each says how those after it are distributed.

    A hyper-latent, sizes and modes come before the first group. Values are what the encoder chose,
    bit by bit: all are coded, means are zero, and there is no dead zone.

    Args:
        channels: C of the latent.
        groups: which channels are coded together, one group after another; each channel once.
        known: how many things may be known of each place.
        hyper: channels of the hyper-latent.
        width: of the networks.
        depth: blocks before each group.
        prior: see the levels of the last frame, too.

    Raises:
        CodecError: groups that do not hold each channel once.

    Source: Minnen and Singh, *Channel-wise autoregressive entropy models*, 2020, with frequencies
    in the place of learned channels.
    """

    exact = True
    order: Tensor
    places: Tensor

    def __init__(
        self,
        channels: int,
        groups: Sequence[Sequence[int]],
        known: int,
        hyper: int = 32,
        width: int = 96,
        depth: int = 1,
        prior: bool = False,
    ) -> None:
        super().__init__()
        order = [channel for group in groups for channel in group]
        if sorted(order) != list(range(channels)) or not all(groups):
            given = f"{len(order)} channels in {len(groups)} groups"
            raise CodecError(f"entropy.groups: {given}; give each of {channels} channels once")
        self.channels, self.sizes = channels, [len(group) for group in groups]
        self.register_buffer("order", torch.tensor(order), persistent=False)
        places = sorted(range(channels), key=order.__getitem__)
        self.register_buffer("places", torch.tensor(places), persistent=False)
        self.hyper = HyperLatent(channels, hyper, width, 1, SKIP_BELOW)
        self.known, self.prior = known, prior
        self.first = LevelContext(known, hyper, width, depth, channels if prior else None)
        self.later = nn.ModuleList(NextContext(size, width, depth) for size in self.sizes[:-1])
        self.heads = nn.ModuleList(ExactHead(width, size) for size in self.sizes)
        self.undivided, self.divided = ScaleTable(channels), ScaleTable(channels)

    def start_from(self, magnitude: Tensor, divided: Tensor | None = None) -> None:
        """As `EntropyNetwork.start_from`; `divided` where a place is four blocks."""
        self.undivided.start_from(magnitude, 0)
        self.divided.start_from(magnitude if divided is None else divided, 0)

    def code(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        coder: SymbolCoder,
        previous: Tensor | None = None,
        previous_quality: Tensor | None = None,
        known: Tensor | None = None,
        split: Tensor | None = None,
        present: Tensor | None = None,
    ) -> Tensor:
        """Send or receive levels.

        Args:
            component, size, quality, coder: as of every entropy network.
            latent: `(B, C, h, w)` float32 integers on the sending side.
            previous: levels of the last frame, if they are a prior, or None.
            previous_quality: not used.
            known: `(B·h·w, n)` int64, what is known of each place, as of `ExactFlags`; the same on
                both sides.
            split: `(B, 1, h, w)` bool, where a place is four blocks.
            present: `(B, 1, h, w)` bool, where there are levels that are not zero; None: anywhere.

        Returns:
            `(B, C, h, w)` float32 integers, those that were coded.
        """
        assert known is not None and split is not None
        return self._code(
            component,
            latent,
            size=size,
            quality=quality,
            coder=coder,
            known=known,
            split=split,
            previous=previous,
            present=present,
        )[0]

    @torch.no_grad()
    def scales(
        self,
        latent: Tensor,
        quality: Tensor,
        known: Tensor,
        split: Tensor,
        previous: Tensor | None = None,
    ) -> Tensor:
        """Scale indexes that levels would be coded with, for an encoder.

        Returns:
            `(B, 2, C, h, w)` int8: as if all places were one block, and as if all were four, with
            what is known about them otherwise as `code` has it.
        """
        _, moved = self._code(
            "levels",
            latent,
            size=(latent.shape[-2], latent.shape[-1]),
            quality=quality,
            coder=SymbolRounder(),
            known=known,
            split=split,
            previous=previous,
            present=None,
        )
        bases = torch.stack([self.undivided(quality), self.divided(quality)], 1)
        index = (moved[:, None] + bases) * (SCALES_PER_UNIT / SIXTEENTHS)
        return index.round().clamp(0, SCALES - 1).to(torch.int8)

    def _code(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        coder: SymbolCoder,
        known: Tensor,
        split: Tensor,
        previous: Tensor | None,
        present: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """As `code`; also what networks move scale indexes by, `(B, C, h, w)` sixteenths."""
        batch, device = len(quality), quality.device
        where = (
            all_places(batch, *size, None, device) if present is None else present_places(present)
        )
        hyper = self.hyper.code(component, latent, size, quality, coder)
        base = torch.where(where.at(split), self.divided(quality), self.undivided(quality))
        bases = base.index_select(1, self.order).split(self.sizes, 1)
        wanted: Sequence[Tensor | None] = [None] * len(self.sizes)
        if coder.encodes and latent is not None:
            wanted = where.at(latent).index_select(1, self.order).split(self.sizes, 1)
        features = self.first(hyper, known, quality, previous, where)
        found: list[Tensor] = []
        moved: list[Tensor] = []
        for k, head in enumerate(self.heads):
            assert isinstance(head, ExactHead)
            if k:
                features = self.later[k - 1](features, found[-1], where)
            moved.append(where.spread(head.of_rows(features)))
            index = limit_index((moved[-1] + bases[k]) * (SCALES_PER_UNIT / SIXTEENTHS))
            some = None if present is None else where.mask.expand_as(index)
            model = LaplaceModel(torch.zeros_like(index), index, present=some, integer=True)
            found.append(coder.code(component, wanted[k], model))
        levels = torch.cat(found, 1).index_select(1, self.places)
        positions = torch.cat(moved, 1).index_select(1, self.places)
        empty = levels.new_zeros(batch, self.channels, *size)
        return where.put(empty, levels), where.put(empty, positions)
