"""Counting the symbols that go through a coder."""

from collections import Counter

from torch import Tensor

from codec.entropy.symbol_coder import SymbolCoder
from codec.entropy.symbols import SymbolModel


class SymbolCounter(SymbolCoder):
    """Any coder, with its symbols counted.

    Args:
        inner: the coder that does the work.

    Attributes:
        coded: by component, symbols that the entropy coder codes: those that a row of the tables is
            chosen for.
        skipped: by component, values that both sides have without a symbol.
    """

    def __init__(self, inner: SymbolCoder) -> None:
        self.inner, self.encodes, self.ordered = inner, inner.encodes, inner.ordered
        self.coded: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def code(self, component: str, latent: Tensor | None, model: SymbolModel) -> Tensor:
        sent = self.inner.code(component, latent, model)
        coded = int((model.rows >= 0).sum())
        self.coded[component] += coded
        self.skipped[component] += sent.numel() - coded
        return sent

    def random(self, like: Tensor) -> Tensor | None:
        return self.inner.random(like)
