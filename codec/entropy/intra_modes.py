"""Sizes and prediction modes of intra blocks as symbols, in a few parallel passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.entropy.channel import Channel
from codec.entropy.decisions import BinaryModel, ClassTree, code_tree
from codec.entropy.exact import (
    SIXTEENTHS,
    BoundedBlock,
    Exact,
    ExactConv,
    ExactHead,
    ExactTable,
    bounded,
    exactly,
)
from codec.entropy.network import EntropyNetwork
from codec.entropy.pick import picks

MODES = 35
_KNOWN = 32.0  # of an input that says "it is this one", in sixteenths
_CELLS = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a unit
# Rows and columns of the cells about a unit, counted from its first, in a map with a border of two.
_AROUND = ((1, 2), (1, 3), (2, 1), (3, 1), (2, 4), (3, 4), (4, 2), (4, 3))

# bits of some kind of symbols, the entries of its table, where there are symbols
Note = Callable[[str, Tensor, Tensor, Tensor], None]


class ModeContext(Exact, nn.Module):
    """What is known of a unit and about it -> log odds, whole sixteenths.

    Args:
        inputs: channels of what is known.
        width: of the network.
        outputs: of each head.
    """

    def __init__(self, inputs: int, width: int, outputs: Sequence[int]) -> None:
        super().__init__()
        self.known = ExactConv(inputs, width)
        self.quality = ExactTable(width, torch.zeros(width))
        self.block = BoundedBlock(width)
        self.heads = nn.ModuleList(ExactHead(width, count) for count in outputs)

    @exactly
    def features(self, known: Tensor, quality: Tensor) -> Tensor:
        """`(B, inputs, h, w)` whole numbers in -127..127, quality `(B,)` -> `(B, width, h, w)`."""
        return self.block(bounded(self.known(known) + self.quality(quality)))

    def forward(self, known: Tensor, quality: Tensor, heads: Sequence[int]) -> list[Tensor]:
        """Log odds `(B, outputs, h, w)` of some heads."""
        features = self.features(known, quality)
        return [self.heads[head](features).float() / SIXTEENTHS for head in heads]


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """What stays the same while a frame is coded: see `IntraModeEntropy.transmit`."""

    component: str
    latent: Tensor | None
    quality: Tensor
    channel: Channel
    note: Note = field(default=lambda kind, entry, bits, present: None)

    def wanted(self, channels: Sequence[int]) -> Tensor | None:
        """Some channels of the latent."""
        return None if self.latent is None else self.latent[:, channels].long()


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
        known: channels of `known_of`.

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
        with torch.no_grad():
            for head in (*self.mode.heads, *self.later.heads):
                head.bias.copy_(modes.log_odds_of(start))

    def tree(self, name: str) -> ClassTree:
        """The tree of `modes` or of `classes`."""
        parts = (getattr(self, f"{name}_{part}") for part in ("nodes", "turns", "children"))
        return ClassTree(*parts)

    def transmit(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        channel: Channel,
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
            channel: where they go to or come from.
            previous, previous_quality: not used.
            note: is told what symbols cost, where that is learned.

        Returns:
            `(B, 6, h, w)` float32, the same on both sides.
        """
        given = {"component": component, "latent": latent, "quality": quality, "channel": channel}
        frame = _Frame(**given, **({} if note is None else {"note": note}))
        split = self._code_sizes(frame, size)
        modes = self._code_modes(frame, split)
        odds = self.kind(_of_luma(split, modes), quality, [0])[0][:, None]
        everywhere, tree = torch.ones_like(split, dtype=torch.bool), self.tree("classes")
        named = f"{component}.chroma"
        kinds, bits = code_tree(named, frame.wanted([5]), odds, everywhere, tree, channel)
        frame.note("kind", kinds, bits, everywhere)
        return torch.cat([split, modes, kinds], 1).float()

    def known_of(self, maps: Tensor) -> Tensor:
        """What other networks see of the maps: `(B, known, h, w)` whole numbers in -127..127."""
        split, modes, kinds = maps.split([1, 4, 1], 1)
        return torch.cat([_of_luma(split, modes), _one_hot(kinds, self.kinds)], 1)

    def _code_sizes(self, frame: _Frame, size: tuple[int, int]) -> Tensor:
        """`(B, 1, h, w)` int64."""
        quality = frame.quality
        split = torch.zeros(len(quality), 1, *size, dtype=torch.int64, device=quality.device)
        known = torch.zeros(split.shape, device=quality.device)
        wanted = frame.wanted([0])
        for number, pick in enumerate(picks(*size, quality.device)):
            around = F.pad(known, (1, 1, 1, 1))
            beside = around[..., 1:-1, :-2], around[..., 1:-1, 2:]
            above = around[..., :-2, 1:-1], around[..., 2:, 1:-1]
            given = torch.cat([*beside, *above, torch.full_like(known, _KNOWN * number)], 1)
            present = pick.even.expand(split.shape)
            model = BinaryModel(self.size(given, quality, [0])[0], present)
            sent = None if wanted is None else wanted.float()
            some = frame.channel.symbols(f"{frame.component}.size", sent, model) > 0.5
            frame.note("size", some.long(), model.bits(some.float()), present)
            split = torch.where(present, some.long(), split)
            known = torch.where(present, _sign(some), known)
        return split

    def _code_modes(self, frame: _Frame, split: Tensor) -> Tensor:
        """`(B, 4, h, w)` int64."""
        size, quality = split.shape[-2:], frame.quality
        divided = split == 1
        found = split.new_full((len(split), 4, *size), -1)
        unknown = torch.zeros(len(split), len(_AROUND) * (1 + MODES), *size, device=split.device)
        for number, pick in enumerate(picks(*size, quality.device)):
            here = pick.even.expand(split.shape)
            both = here & divided
            around = torch.cat([_sign(split), *(_about(found) if number else [unknown])], 1)
            one, first, last = self.mode(around, quality, [0, 1, 2])
            odds = torch.stack([torch.where(divided, first, one), last], 1)
            found = self._code_cells(frame, found, split, [0, 3], odds, torch.cat([here, both], 1))
            inside = [_one_hot(found[:, cell : cell + 1], MODES) for cell in (0, 3)]
            odds = torch.stack(self.later(torch.cat([around, *inside], 1), quality, [0, 1]), 1)
            both = both.expand(-1, 2, -1, -1)
            found = self._code_cells(frame, found, split, [1, 2], odds, both)
            found = torch.where(here & ~divided, found[:, :1], found)
        return found

    def _code_cells(
        self,
        frame: _Frame,
        found: Tensor,
        split: Tensor,
        cells: Sequence[int],
        odds: Tensor,
        present: Tensor,
    ) -> Tensor:
        """`found` `(B, 4, h, w)` with the modes of some cells where they are `present`."""
        wanted, tree = frame.wanted([1 + cell for cell in cells]), self.tree("modes")
        named = f"{frame.component}.mode"
        modes, bits = code_tree(named, wanted, odds, present, tree, frame.channel)
        frame.note("mode", modes + MODES * split, bits, present)
        found = found.clone()
        for k, cell in enumerate(cells):
            found[:, cell] = torch.where(present[:, k], modes[:, k], found[:, cell])
        return found


def _about(found: Tensor) -> list[Tensor]:
    """Of the cells about each unit, whether they are known, and which mode they have."""
    cells = F.pad(F.pixel_shuffle(found, 2), (2, 2, 2, 2), value=-1)
    tall, wide = found.shape[-2:]
    about = [cells[:, :, i : i + 2 * tall : 2, j : j + 2 * wide : 2] for i, j in _AROUND]
    return [(torch.cat(about, 1) >= 0) * _KNOWN, *(_one_hot(cell, MODES) for cell in about)]


def _of_luma(split: Tensor, modes: Tensor) -> Tensor:
    """Sizes `(B, 1, h, w)` and modes `(B, 4, h, w)` as networks see them."""
    return torch.cat([_sign(split), *(_one_hot(cell, MODES) for cell in modes.split(1, 1))], 1)


def mode_tree() -> ClassTree:
    """Directions or not; planar or mean; horizontal or vertical directions, and halves of these."""

    def halves(modes: list[int]) -> int | tuple:
        if len(modes) == 1:
            return modes[0]
        middle = len(modes) // 2
        return halves(modes[:middle]), halves(modes[middle:])

    return ClassTree.of(((0, 1), (halves(list(range(2, 18))), halves(list(range(18, MODES))))))


def kind_tree(kinds: int) -> ClassTree:
    """One class after another."""
    tree: int | tuple = kinds - 1
    for kind in range(kinds - 2, -1, -1):
        tree = kind, tree
    return ClassTree.of(tree)


def _sign(split: Tensor) -> Tensor:
    """1 or 0 -> what networks see."""
    return (2.0 * split - 1) * _KNOWN


def _one_hot(classes: Tensor, count: int) -> Tensor:
    """`(B, 1, h, w)` -> `(B, count, h, w)`; nothing where a class is below 0."""
    return (classes == torch.arange(count, device=classes.device).view(1, -1, 1, 1)) * _KNOWN
