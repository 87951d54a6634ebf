"""Decisions between classes as symbols: binary choices with one of 65 fixed probabilities."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.entropy.coding.cdf_tables import CdfTables, quantised
from codec.entropy.coding.symbol_coder import SymbolCoder, SymbolModel

STEP = 0.25  # of log-odds
LEVELS = 65  # log-odds from -8 to 8: the surest decision costs 0.0005 bits
_CENTRE = (LEVELS - 1) // 2


@dataclass
class BinaryModel(SymbolModel):
    """Symbols 0 and 1.

    Attributes:
        log_odds: `(B, C, h, w)` float32, natural logarithm of p(1) / p(0); clamped to -8..8 and,
            where bits are real, rounded to quarters. Differentiable.
        present: `(B, C, h, w)` bool: where a decision is made, as both sides know; elsewhere it is
            0. None: everywhere.
    """

    log_odds: Tensor
    present: Tensor | None = None
    integer: bool = True

    @property
    def means(self) -> Tensor:  # type: ignore[override]  # nobody sets it
        return torch.zeros_like(self.log_odds)

    def bits(self, centred: Tensor) -> Tensor:
        return F.softplus(torch.where(centred > 0.5, -self.log_odds, self.log_odds)) / math.log(2)

    @property
    def coded(self) -> Tensor | None:
        return self.present

    @property
    def indexes(self) -> Tensor:
        indexes = (self.log_odds / STEP).round().clamp(-_CENTRE, _CENTRE).to(torch.int8) + _CENTRE
        return indexes if self.present is None else torch.where(self.present, indexes, -1)

    @property
    def tables(self) -> CdfTables:
        return binary_tables()


def class_bits(classes: Tensor, log_odds: Tensor) -> Tensor:
    """Bits of `classes` `(B, 1, h, w)` as `code_classes` codes them; the same shape."""
    numbers = torch.arange(log_odds.shape[1], device=classes.device).view(1, -1, 1, 1)
    wrong = torch.where(classes == numbers, -log_odds, log_odds)
    asked = numbers <= classes
    return (F.softplus(wrong) * asked).sum(1, keepdim=True) / math.log(2)


@lru_cache(maxsize=1)
def binary_tables() -> CdfTables:
    """A row for each of the log-odds; the same integers on every machine, as they follow
    from constants alone.
    """
    rows = []
    with localcontext(Context(prec=40)):
        for level in range(LEVELS):
            one = 1 / (1 + (-Decimal(str(STEP)) * (level - _CENTRE)).exp())
            rows.append([0, *accumulate(quantised([int((1 - one) * 2**64), int(one * 2**64), 0]))])
    return CdfTables.from_rows(rows, [0] * LEVELS)


def code_classes(
    component: str, classes: Tensor | None, log_odds: Tensor, present: Tensor, coder: SymbolCoder
) -> Tensor:
    """Code one of K classes at every place, as K - 1 decisions: is it class 0? if not, is it class
    1? ...

    Args:
        component: whose bits these are.
        classes: `(B, 1, h, w)` integers 0..K-1 on the sending side, None on the receiving side.
        log_odds: `(B, K - 1, h, w)` of each "yes", given that all before were "no".
        present: `(B, 1, h, w)` bool: where there is a class to code; elsewhere it is 0.
        coder: where the decisions go to or come from.

    Returns:
        `(B, 1, h, w)` int64, the same on both sides.
    """
    if classes is not None and not coder.ordered:
        numbers = torch.arange(log_odds.shape[1], device=classes.device).view(1, -1, 1, 1)
        model = BinaryModel(log_odds, present & (numbers <= classes))
        coder.code(component, (classes == numbers).float(), model)
        return torch.where(present, classes, 0)
    found = torch.zeros(present.shape, dtype=torch.int64, device=present.device)
    open_ = present
    for k, odds in enumerate(log_odds.split(1, 1)):
        wanted = None if classes is None else (classes == k).float()
        yes = coder.code(component, wanted, BinaryModel(odds, open_)) > 0.5
        open_ = open_ & ~yes
        found = torch.where(open_, k + 1, found)
    return found


@dataclass(frozen=True, eq=False)
class ClassTree:
    """Classes as leaves of a binary tree, each inner node a decision.

    Attributes:
        nodes: `(K, D)` int64, the inner nodes on the way to each class, -1 beyond its end.
        turns: `(K, D)` int64, 1 where the way goes to the second child.
        children: `(K - 1, 2)` int64, inner nodes, or -1 - class.
    """

    nodes: Tensor
    turns: Tensor
    children: Tensor

    @classmethod
    def of(cls, classes: Sequence) -> "ClassTree":
        """From nested pairs of classes 0..K-1, for example `((0, 1), (2, (3, 4)))`."""
        ways: dict[int, list[tuple[int, int]]] = {}
        children: list[list[int]] = []

        def grow(part: int | Sequence, way: list[tuple[int, int]]) -> int:
            if isinstance(part, int):
                ways[part] = way
                return -1 - part
            node = len(children)
            children.append([0, 0])
            for turn in (0, 1):
                children[node][turn] = grow(part[turn], [*way, (node, turn)])
            return node

        grow(classes, [])
        depth = max(map(len, ways.values()))
        padded = torch.tensor(
            [ways[k] + [(-1, 0)] * (depth - len(ways[k])) for k in range(len(ways))]
        )
        return cls(padded[..., 0], padded[..., 1], torch.tensor(children))

    @property
    def depth(self) -> int:
        """Decisions on the longest way."""
        return self.nodes.shape[1]

    def log_odds_of(self, shares: Tensor) -> Tensor:
        """What each decision's log odds are where classes have these probabilities: `(…, K)` ->
        `(…, K - 1)`.
        """
        found = []
        for node in range(len(self.children)):
            at = self.nodes == node
            sides = [(shares * (at & (self.turns == turn)).any(1)).sum(-1) for turn in (0, 1)]
            found.append((sides[1] / sides[0]).log())
        return torch.stack(found, -1)


def code_tree(
    component: str,
    classes: Tensor | None,
    log_odds: Tensor,
    present: Tensor,
    tree: ClassTree,
    coder: SymbolCoder,
) -> tuple[Tensor, Tensor]:
    """Code one of K classes at every place, by the decisions on the way to it in a tree.

    Args:
        component: whose bits these are.
        classes: `(B, C, h, w)` integers 0..K-1 on the sending side, None on the receiving side.
        log_odds: `(B, C, K - 1, h, w)` of the second child of each inner node.
        present: `(B, C, h, w)` bool: where there is a class to code; elsewhere it is 0.
        tree: on the device of the others.
        coder: where the decisions go to or come from.

    Returns:
        `(B, C, h, w)` int64, the same on both sides, and the bits of each, as the odds say.
    """
    if classes is not None and not coder.ordered:
        classes = torch.where(present, classes.long(), 0)
        nodes, turns = (
            table[classes].movedim(-1, 2) for table in (tree.nodes, tree.turns)
        )  # (B, C, D, h, w)
        odds = log_odds.gather(2, nodes.clamp(min=0)).flatten(1, 2)
        asked = (present[:, :, None] & (nodes >= 0)).flatten(1, 2)
        model = BinaryModel(odds, asked)
        turned = turns.flatten(1, 2).float()
        coder.code(component, turned, model)
        bits = torch.where(asked, model.bits(turned), 0).unflatten(1, nodes.shape[1:3]).sum(2)
        return classes, bits
    node, bits = (
        torch.zeros(present.shape, dtype=torch.int64, device=present.device),
        torch.zeros_like(log_odds[:, :, 0]),
    )
    for depth in range(tree.depth):
        open_ = present & (node >= 0)
        odds = log_odds.gather(2, node.clamp(min=0)[:, :, None])[:, :, 0]
        model = BinaryModel(odds, open_)
        wanted = None if classes is None else tree.turns[classes.long(), depth].float()
        turn = coder.code(component, wanted, model) > 0.5
        bits = bits + torch.where(open_, model.bits(turn.float()), 0)
        node = torch.where(open_, tree.children[node.clamp(min=0), turn.long()], node)
    return torch.where(present, -1 - node, 0), bits
