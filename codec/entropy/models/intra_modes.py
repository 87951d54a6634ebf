"""Prediction modes as symbols, in a few parallel passes: those of intra blocks with their sizes,
and those of the units of predicted frames with their types.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.entropy.coding.categorical import BinaryModel, ClassTree, code_tree
from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.base import EntropyNetwork
from codec.entropy.models.integer_layers import (
    SIXTEENTHS,
    BoundedBlock,
    Exact,
    ExactFlags,
    ExactHead,
    ExactTable,
    bounded,
    exactly,
)
from codec.entropy.models.places import Places, all_places, present_places
from codec.layers.kernels import on_cpu

MODES = 35
_CELLS = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a unit
# Rows and columns of the cells about a unit, counted from its first, in a map with a border of two.
_AROUND = ((1, 2), (1, 3), (2, 1), (3, 1), (2, 4), (3, 4), (4, 2), (4, 3))

# bits of some kind of symbols, the entries of its table, where there are symbols
Note = Callable[[str, Tensor, Tensor, Tensor], None]


class ModeContext(Exact, nn.Module):
    """What is known of a unit and about it -> log odds, integer sixteenths.

    Args:
        inputs: how many things may be known.
        width: of the network.
        outputs: of each head.
    """

    def __init__(self, inputs: int, width: int, outputs: Sequence[int]) -> None:
        super().__init__()
        self.known = ExactFlags(inputs, width)
        self.quality = ExactTable(width, torch.zeros(width))
        self.block = BoundedBlock(width)
        self.heads = nn.ModuleList(ExactHead(width, count) for count in outputs)

    @exactly
    def forward(
        self,
        known: Tensor,
        quality: Tensor,
        heads: Sequence[int],
        places: Places,
    ) -> list[Tensor]:
        """Log odds of some heads.

        Args:
            known: `(B·h·w, n)` int64, numbers of what is known, as of `ExactFlags`.
            quality: `(B,)`.
            heads: which.
            places: where.

        Returns:
            Maps of as many channels as each has outputs, in the form of what is coded.
        """
        offset = places.of_samples(self.quality(quality).flatten(1))
        features = bounded(self.known(places.rows(known)) + offset)
        features = self.block.by_place(features, places)
        return [places.spread(self.head(number).by_row(features) / SIXTEENTHS) for number in heads]

    def head(self, number: int) -> ExactHead:
        """One of the heads."""
        head = self.heads[number]
        assert isinstance(head, ExactHead)
        return head

    def start_from(self, number: int, log_odds: Tensor) -> None:
        """Let a head begin with log odds `(outputs,)`, whatever is known."""
        bias = self.head(number).bias
        assert bias is not None
        with torch.no_grad():
            bias.copy_(log_odds)


@dataclass(frozen=True, kw_only=True)
class CodedFrameMaps:
    """What stays the same while a frame is coded: see `IntraModeEntropy.code`."""

    component: str
    latent: Tensor | None
    quality: Tensor
    coder: SymbolCoder
    told: Note | None

    def note(self, kind: str, entry: Tensor, bits: Tensor, present: Tensor) -> None:
        """Tell what symbols cost, where that is learned."""
        if self.told is not None:
            self.told(kind, entry, bits, present)

    def wanted(self, channels: Sequence[int], here: Places) -> Tensor | None:
        """Some channels of the latent, in the form of what is coded."""
        return None if self.latent is None else here.at(self.latent[:, channels].long())


class IntraModeEntropy(EntropyNetwork):
    """Codes sizes and prediction modes: maps of integers with a place for each unit.

    The maps `(B, 6, h, w)` are: 1 where the unit is four blocks, else 0; the modes 0..34 of its
    four cells, row by row, alike where it is one block; and the class of chroma's prediction.
    Sizes come first, then modes, then classes; probabilities come from exact networks. Units are a
    checkerboard: those of the first colour are coded without neighbours, the others see all four,
    and of four blocks in a unit two are coded before the other two, which see them.

    Args:
        kinds: classes of chroma's prediction.
        width: of the networks.

    Attributes:
        known: how many things `known_of` may tell.

    Source: the order of coding is after He et al., *Checkerboard context model*, CVPR 2021.
    """

    channels, exact = 6, True

    def __init__(self, kinds: int, width: int = 48) -> None:
        super().__init__()
        self.kinds, self.known = kinds, 1 + len(_CELLS) * MODES + kinds
        around = 1 + len(_AROUND) * (1 + MODES)
        self.size = ModeContext(5, width, [1])
        self.mode = ModeContext(around, width, [MODES - 1] * 3)
        self.later = ModeContext(around + 2 * MODES, width, [MODES - 1] * 2)
        self.kind = ModeContext(1 + len(_CELLS) * MODES, width, [kinds - 1])
        modes, classes = mode_tree(), kind_tree(kinds)
        for name, tree in (("modes", modes), ("classes", classes)):
            for part in ("nodes", "turns", "children"):
                self.register_buffer(f"{name}_{part}", getattr(tree, part), persistent=False)
        start = torch.full((MODES,), 0.6 / 31)
        start[[0, 1, 10, 26]] = torch.tensor([0.2, 0.1, 0.05, 0.05])
        for context in (self.mode, self.later):
            for number in range(len(context.heads)):
                context.start_from(number, modes.log_odds_of(start))

    def tree(self, name: str) -> ClassTree:
        """The tree of `modes` or of `classes`."""
        parts = (getattr(self, f"{name}_{part}") for part in ("nodes", "turns", "children"))
        return ClassTree(*parts)

    def code(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        coder: SymbolCoder,
        previous: Tensor | None = None,
        previous_quality: Tensor | None = None,
        note: Note | None = None,
    ) -> Tensor:
        """Send or receive the maps of a frame.

        Args:
            component: bits go under `component.size`, `component.mode` and `component.chroma`.
            latent: `(B, 6, h, w)` integers of any type on the sending side.
            size: `(h, w)` in units.
            quality: `(B,)` indices 0..63.
            coder: where they go to or come from.
            previous, previous_quality: not used.
            note: gets what symbols cost, where that is learned.

        Returns:
            `(B, 6, h, w)` float32, the same on both sides.
        """
        frame = CodedFrameMaps(
            component=component, latent=latent, quality=quality, coder=coder, told=note
        )
        split = self._code_sizes(frame, size)
        present = torch.ones_like(split, dtype=torch.bool)
        return torch.cat([split, *self._code_prediction(frame, split, present)], 1).float()

    def _code_prediction(
        self, frame: CodedFrameMaps, split: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Modes `(B, 4, h, w)` and chroma's classes `(B, 1, h, w)`, int64, of units that are
        `present` `(B, 1, h, w)`; of others 0.
        """
        modes = self._code_modes(frame, split, present)
        known = self.known_of(torch.cat([split, modes], 1))
        here = present_places(present)
        odds = self.kind(known, frame.quality, [0], here)[0][:, None]
        named, tree = f"{frame.component}.chroma", self.tree("classes")
        wanted = frame.wanted([5], here)
        kinds, bits = code_tree(named, wanted, odds, here.mask, tree, frame.coder)
        frame.note("kind", kinds, bits, here.mask)
        return modes, here.put(torch.zeros_like(split), kinds)

    def known_of(self, maps: Tensor) -> Tensor:
        """What other networks see of the maps, with or without the last of them.

        Returns:
            `(B·h·w, n)` int64, numbers of what is known, as of `ExactFlags`.
        """
        parts = [1, len(_CELLS), *([1] if maps.shape[1] == self.channels else [])]
        split, modes, *kinds = maps.long().split(parts, 1)
        first = [2 + MODES * cell for cell in range(len(_CELLS))]
        modes = modes + torch.tensor(first, device=maps.device).view(1, -1, 1, 1)
        kinds = [kind + 2 + MODES * len(_CELLS) for kind in kinds]
        return flat_rows(torch.cat([2 * split - 1, modes, *kinds], 1))

    def _code_sizes(self, frame: CodedFrameMaps, size: tuple[int, int]) -> Tensor:
        """`(B, 1, h, w)` int64."""
        quality, batch, device = frame.quality, len(frame.quality), frame.quality.device
        sign = torch.zeros(batch, 1, *size, dtype=torch.int64, device=device)  # 0: not known
        for colour in (0, 1):
            around = F.pad(sign, (1, 1, 1, 1))
            beside = around[..., 1:-1, :-2], 2 * around[..., 1:-1, 2:]
            above = 3 * around[..., :-2, 1:-1], 4 * around[..., 2:, 1:-1]
            known = flat_rows(torch.cat([*beside, *above, torch.full_like(sign, 5 * colour)], 1))
            here = all_places(batch, *size, colour, device)
            odds = self.size(known, quality, [0], here)[0]
            model = BinaryModel(odds, here.mask)
            wanted = frame.wanted([0], here)
            wanted = None if wanted is None else wanted.float()
            some = frame.coder.code(f"{frame.component}.size", wanted, model)
            frame.note("size", some.long(), model.bits(some), here.mask)
            sign = here.put(sign, 2 * some.long() - 1)
        return (sign > 0).long()

    def _code_modes(self, frame: CodedFrameMaps, split: Tensor, present: Tensor) -> Tensor:
        """`(B, 4, h, w)` int64."""
        batch, _, *size = split.shape
        found = split.new_full((batch, len(_CELLS), *size), -1)
        start = 2 + len(_AROUND) * (1 + MODES)
        starts = torch.tensor([start, start + MODES], device=split.device).view(1, 2, 1, 1)
        for colour in (0, 1):
            here = present_places(present, colour)
            known = torch.cat([flat_rows(2 * split - 1), _about(found)], 1)
            one, first, last = self.mode(known, frame.quality, [0, 1, 2], here)
            divided = here.mask & (here.at(split) == 1)
            odds = torch.stack([torch.where(divided, first, one), last], 1)
            some = torch.cat([here.mask, divided], 1)
            found = self._code_cells(frame, found, here, [0, 3], odds, some)
            both = found[:, [0, 3]]
            inside = flat_rows(torch.where(both < 0, 0, both + starts))
            known = torch.cat([known, inside], 1)
            odds = torch.stack(self.later(known, frame.quality, [0, 1], here), 1)
            both = divided.expand(-1, 2, -1, -1)
            found = self._code_cells(frame, found, here, [1, 2], odds, both)
            own = here.at(found)
            found = here.put(found, torch.where(divided, own, own[:, :1]))
        return found.clamp(min=0)

    def _code_cells(
        self,
        frame: CodedFrameMaps,
        found: Tensor,
        here: Places,
        cells: Sequence[int],
        odds: Tensor,
        present: Tensor,
    ) -> Tensor:
        """`found` `(B, 4, h, w)` with the modes of some cells where they are `present`.

        `odds` `(B, cells, MODES - 1, …)` and `present` `(B, cells, …)` have the form of what is
        coded.
        """
        wanted, tree = frame.wanted([1 + cell for cell in cells], here), self.tree("modes")
        named = f"{frame.component}.mode"
        modes, bits = code_tree(named, wanted, odds, present, tree, frame.coder)
        frame.note("mode", modes + MODES * present[:, 1:], bits, present)
        own = here.at(found).clone()
        own[:, cells] = torch.where(present, modes, own[:, cells])
        return here.put(found, own)


def _about(found: Tensor) -> Tensor:
    """Which of the cells about each unit are known, and which mode they have.

    `(B, 4, h, w)` modes, -1 where unknown -> `(B·h·w, n)`, numbers as of `ExactFlags` after 1.
    """
    cells = F.pad(F.pixel_shuffle(found, 2), (2, 2, 2, 2), value=-1)
    tall, wide = found.shape[-2:]
    about = [cells[:, :, i : i + 2 * tall : 2, j : j + 2 * wide : 2] for i, j in _AROUND]
    modes = flat_rows(torch.cat(about, 1))
    cell = torch.arange(len(_AROUND), device=found.device)
    known, which = cell + 2, cell * MODES + 2 + len(_AROUND)
    numbers = torch.cat([known.expand_as(modes), modes + which], 1)
    return torch.where((modes < 0).repeat(1, 2), 0, numbers)


def flat_rows(maps: Tensor) -> Tensor:
    """`(B, C, h, w)` -> `(B·h·w, C)`."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def mode_tree() -> ClassTree:
    """Directions or not; planar or mean; horizontal or vertical directions, and halves of these."""

    def halves(modes: list[int]) -> Any:
        if len(modes) == 1:
            return modes[0]
        middle = len(modes) // 2
        return halves(modes[:middle]), halves(modes[middle:])

    return ClassTree.of(((0, 1), (halves(list(range(2, 18))), halves(list(range(18, MODES))))))


def kind_tree(kinds: int) -> ClassTree:
    """One class after another."""
    tree: tuple = (kinds - 2, kinds - 1)
    for kind in range(kinds - 3, -1, -1):
        tree = kind, tree
    return ClassTree.of(tree)


_TREE = ((0, (1, 2)), (3, 4))  # inter or intra; coded or not; the transform's size
TYPES = 5
ENERGY_BOUNDS = (0, 2, 8, 32)  # sums of magnitudes of the last frame's levels in a unit: 5 classes
_ENERGIES, _MOTIONS = 1 + len(ENERGY_BOUNDS) + 1, 8
CONTEXTS = _ENERGIES + _MOTIONS


class UnitTypeEntropy(IntraModeEntropy):
    """Codes the maps of `codec.blocks.units`: as those of intra frames, with types for sizes.

    A type is coded in one of two passes over a checkerboard; its network sees the types around it,
    how much was coded there in the last frame, and the size and movement of the motion block.
    Modes and classes of chroma are coded for intra units alone.

    Args:
        kinds: classes of chroma's prediction.
        width: of the networks.
    """

    def __init__(self, kinds: int, width: int = 48) -> None:
        super().__init__(kinds, width)
        self.size = ModeContext(4 * TYPES + CONTEXTS + 1, width, [TYPES - 1])
        tree = ClassTree.of(_TREE)
        for part in ("nodes", "turns", "children"):
            self.register_buffer(f"types_{part}", getattr(tree, part), persistent=False)
        start = torch.tensor([0.6, 0.2, 0.15, 0.03, 0.02])
        self.size.start_from(0, tree.log_odds_of(start))

    def code(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        coder: SymbolCoder,
        previous: Tensor | None = None,
        previous_quality: Tensor | None = None,
        note: Note | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """Send or receive the maps of a frame.

        Args:
            component: bits go under `component.type`, `component.mode` and `component.chroma`.
            latent: `(B, 6, h, w)` integers of any type on the sending side.
            size: `(h, w)` in units.
            quality: `(B,)` indices 0..63.
            coder: where they go to or come from.
            previous, previous_quality: not used.
            note: gets what symbols cost, where that is learned.
            context: `(B·h·w, 2)` as `unit_context` makes it.

        Returns:
            `(B, 6, h, w)` float32, the same on both sides.
        """
        assert context is not None
        frame = CodedFrameMaps(
            component=component, latent=latent, quality=quality, coder=coder, told=note
        )
        types = self._code_types(frame, size, context)
        intra = types >= TYPES - 2
        modes, kinds = types.new_zeros(len(types), 4, *size), torch.zeros_like(types)
        if not on_cpu(types) or intra.any():
            modes, kinds = self._code_prediction(frame, (types == TYPES - 1).long(), intra)
        return torch.cat([types, modes, kinds], 1).float()

    def _code_types(self, frame: CodedFrameMaps, size: tuple[int, int], context: Tensor) -> Tensor:
        """`(B, 1, h, w)` int64."""
        quality, batch = frame.quality, len(frame.quality)
        found = torch.full((batch, 1, *size), -1, dtype=torch.int64, device=quality.device)
        tree = self.tree("types")
        last = torch.full_like(found, 4 * TYPES + CONTEXTS + 1)
        for colour in (0, 1):
            around = F.pad(found, (1, 1, 1, 1), value=-1)
            sides = around[..., 1:-1, :-2], around[..., 1:-1, 2:]
            ends = around[..., :-2, 1:-1], around[..., 2:, 1:-1]
            near = [
                torch.where(side < 0, 0, side + 1 + TYPES * k)
                for k, side in enumerate((*sides, *ends))
            ]
            around_it = flat_rows(torch.cat([*near, last * colour], 1))
            here = all_places(batch, *size, colour, quality.device)
            known = torch.cat([around_it, torch.where(context > 0, context + 4 * TYPES, 0)], 1)
            odds = self.size(known, quality, [0], here)[0][:, None]
            wanted, named = frame.wanted([0], here), f"{frame.component}.type"
            types, bits = code_tree(named, wanted, odds, here.mask, tree, frame.coder)
            frame.note("type", types, bits, here.mask)
            found = here.put(found, types)
        return found


def unit_context(
    previous: Tensor | None,
    blocks: Tensor | None,
    moving: Tensor | None,
    size: tuple[int, int],
    batch: int,
    device: torch.device,
) -> Tensor:
    """What is known about units before they are coded, the same on both sides.

    Args:
        previous: `(B, C, h, w)` levels of the last frame, or None.
        blocks: `(B, 1, 2·h, 2·w)` int64, sizes 0..3 of motion blocks, or None.
        moving: `(B, 1, 2·h, 2·w)`, 1 where a block moves, 0 elsewhere, or None.
        size: `(h, w)`.
        batch, device: of the result.

    Returns:
        `(B·h·w, 2)` int64, numbers 1..`CONTEXTS` of what is known, as of `ExactFlags`, 0 where
        nothing is.
    """
    nothing = torch.zeros(batch, 1, *size, dtype=torch.int64, device=device)
    energy, motion = nothing + 1, nothing
    if previous is not None:
        total = previous.detach().abs().sum(1, keepdim=True)
        energy = nothing + 2
        for bound in ENERGY_BOUNDS:
            energy = energy + (total > bound).long()
    if blocks is not None:
        moves = 0 if moving is None else (moving[..., ::2, ::2] > 0).long()
        motion = _ENERGIES + 1 + 2 * blocks[..., ::2, ::2] + moves
    return flat_rows(torch.cat([energy, motion], 1))
