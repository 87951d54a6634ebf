"""Sizes and prediction modes of intra blocks as symbols, in a few parallel passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    ExactTable,
    bounded,
    exactly,
)
from codec.entropy.pick import picks

MODES = 35
_KNOWN = 32.0  # of an input that says "it is this one", in sixteenths
_CELLS = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a unit
# Rows and columns of the cells about a unit, counted from its first, in a map with a border of two.
_AROUND = ((1, 2), (1, 3), (2, 1), (3, 1), (2, 4), (3, 4), (4, 2), (4, 3))

# bits of some kind of symbols, the entries of its table, where there are symbols
Note = Callable[[str, Tensor, Tensor, Tensor], None]


@dataclass(frozen=True, kw_only=True)
class BlockSymbols:
    """Sizes and modes, as integers.

    Attributes:
        split: `(B, 1, h, w)`, 1 where a unit is four blocks.
        modes: `(B, 1, 2·h, 2·w)`, of each cell 0..34; those of a whole unit are alike.
        kinds: `(B, 1, h, w)`, the class of chroma's prediction.
    """

    split: Tensor
    modes: Tensor
    kinds: Tensor


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
        self.heads = nn.ModuleList(ExactConv(width, count, zero=True) for count in outputs)

    @exactly
    def features(self, known: Tensor, quality: Tensor) -> Tensor:
        """`(B, inputs, h, w)` whole numbers in -127..127, and quality `(B,)` -> `(B, width, h, w)`.
        """
        return self.block(bounded(self.known(known) + self.quality(quality)))

    def forward(self, known: Tensor, quality: Tensor, heads: Sequence[int]) -> list[Tensor]:
        """Log odds `(B, outputs, h, w)` of some heads."""
        features = self.features(known, quality)
        return [self.heads[head](features).float() / SIXTEENTHS for head in heads]


class IntraModeEntropy(nn.Module):
    """Codes sizes first, then modes, then the classes of chroma's prediction; probabilities come
    from exact networks.

    Units are a checkerboard: those of the first colour are coded without neighbours, the others see
    all four, and of four blocks in a unit two are coded before the other two, which see them.

    Args:
        kinds: classes of chroma's prediction.
        width: of the networks.

    Attributes:
        known: channels of `known_of`.

    Source: the order of coding is after He et al., *Checkerboard context model*, CVPR 2021.
    """

    def __init__(self, kinds: int, width: int = 48) -> None:
        super().__init__()
        self.kinds = kinds
        self.size = ModeContext(5, width, [1])
        around = (1 + len(_AROUND)) * 1 + len(_AROUND) * MODES
        self.mode = ModeContext(around, width, [MODES - 1] * 3)
        self.later = ModeContext(around + 2 * MODES, width, [MODES - 1] * 2)
        self.kind = ModeContext(1 + len(_CELLS) * MODES, width, [kinds - 1])
        modes, classes = mode_tree(), kind_tree(kinds)
        self.known = 1 + len(_CELLS) * MODES + kinds
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
        return ClassTree(
            *(getattr(self, f"{name}_{part}") for part in ("nodes", "turns", "children"))
        )

    def transmit(
        self,
        component: str,
        symbols: BlockSymbols | None,
        size: tuple[int, int],
        quality: Tensor,
        channel: Channel,
        note: Note | None = None,
    ) -> BlockSymbols:
        """Send or receive the sizes and modes of a frame.

        Args:
            component: bits go under `component.size`, `component.mode` and `component.chroma`.
            symbols: on the sending side, else None.
            size: `(h, w)` in units.
            quality: `(B,)` indices 0..63.
            channel: where they go to or come from.
            note: is told what they cost, where that is learned.

        Returns:
            The same on both sides, int64.
        """
        note = note or (lambda kind, entry, bits, present: None)
        split = self._code_sizes(component, symbols, size, quality, channel, note)
        modes = self._code_modes(component, symbols, split, quality, channel, note)
        known = self._of_luma(split, modes)
        odds = self.kind(known, quality, [0])[0][:, None]
        wanted = None if symbols is None else symbols.kinds.long()
        everywhere = torch.ones_like(split, dtype=torch.bool)
        kinds, bits = code_tree(
            f"{component}.chroma", wanted, odds, everywhere, self.tree("classes"), channel
        )
        note("kind", kinds, bits, everywhere)
        return BlockSymbols(split=split, modes=modes, kinds=kinds)

    def known_of(self, symbols: BlockSymbols) -> Tensor:
        """What other networks may see of `symbols`: `(B, known, h, w)`, whole numbers in -127..127.
        """
        return torch.cat(
            [self._of_luma(symbols.split, symbols.modes), _one_hot(symbols.kinds, self.kinds)], 1
        )

    @staticmethod
    def _of_luma(split: Tensor, modes: Tensor) -> Tensor:
        return torch.cat(
            [_sign(split), *(_one_hot(modes[:, :, i::2, j::2], MODES) for i, j in _CELLS)], 1
        )

    def _code_sizes(self, component, symbols, size, quality, channel, note) -> Tensor:
        """`(B, 1, h, w)` int64."""
        split = torch.zeros(len(quality), 1, *size, dtype=torch.int64, device=quality.device)
        known = torch.zeros(len(quality), 1, *size, device=quality.device)
        for number, pick in enumerate(picks(*size, quality.device)):
            around = F.pad(known, (1, 1, 1, 1))
            about = [
                around[..., 1:-1, :-2],
                around[..., 1:-1, 2:],
                around[..., :-2, 1:-1],
                around[..., 2:, 1:-1],
            ]
            given = torch.cat([*about, torch.full_like(known, _KNOWN * number)], 1)
            present = pick.even.expand(split.shape)
            model = BinaryModel(self.size(given, quality, [0])[0], present)
            wanted = None if symbols is None else symbols.split.float()
            some = channel.symbols(f"{component}.size", wanted, model) > 0.5
            note("size", some.long(), model.bits(some.float()), present)
            split = torch.where(present, some.long(), split)
            known = torch.where(present, _sign(some), known)
        return split

    def _code_modes(self, component, symbols, split, quality, channel, note) -> Tensor:
        """`(B, 1, 2·h, 2·w)` int64."""
        batch, _, tall, wide = split.shape
        found = torch.full((batch, 4, tall, wide), -1, dtype=torch.int64, device=split.device)
        wanted = (
            None
            if symbols is None
            else torch.cat([symbols.modes[:, :, i::2, j::2] for i, j in _CELLS], 1).long()
        )
        divided, tree = split == 1, self.tree("modes")
        entry = MODES * split

        def code(cells: list[int], odds: list[Tensor], present: Tensor) -> None:
            given = None if wanted is None else wanted[:, cells]
            some, bits = code_tree(
                f"{component}.mode", given, torch.stack(odds, 1), present, tree, channel
            )
            note("mode", some + entry, bits, present)
            for k, cell in enumerate(cells):
                found[:, cell] = torch.where(present[:, k], some[:, k], found[:, cell])

        for even in (pick.even for pick in picks(tall, wide, quality.device)):
            here = even.expand(split.shape)
            around = torch.cat([_sign(split), *self._about(found)], 1)
            one, first, last = self.mode(around, quality, [0, 1, 2])
            code(
                [0, 3],
                [torch.where(divided, first, one), last],
                torch.cat([here, here & divided], 1),
            )
            inside = [_one_hot(found[:, cell : cell + 1], MODES) for cell in (0, 3)]
            odds = self.later(torch.cat([around, *inside], 1), quality, [0, 1])
            code([1, 2], odds, (here & divided).expand(-1, 2, -1, -1))
            whole = here & ~divided
            for cell in (1, 2, 3):
                found[:, cell] = torch.where(whole[:, 0], found[:, 0], found[:, cell])
        return _to_cells(found)

    @staticmethod
    def _about(found: Tensor) -> list[Tensor]:
        """What is known of the cells about each unit: whether it is, and which mode it has."""
        cells = F.pad(_to_cells(found), (2, 2, 2, 2), value=-1)
        tall, wide = found.shape[-2:]
        about = torch.cat(
            [cells[:, :, i : i + 2 * tall : 2, j : j + 2 * wide : 2] for i, j in _AROUND], 1
        )
        hot = [_one_hot(about[:, k : k + 1], MODES) for k in range(len(_AROUND))]
        return [(about >= 0) * _KNOWN, *hot]


def mode_tree() -> ClassTree:
    """Directions or not; planar or mean; then halves of the directions, beginning with horizontal
    or vertical ones.
    """

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


def _to_cells(units: Tensor) -> Tensor:
    """`(B, 4, h, w)` -> `(B, 1, 2·h, 2·w)`."""
    return F.pixel_shuffle(units, 2)
