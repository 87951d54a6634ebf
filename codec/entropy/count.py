"""Counting the symbols that go through a channel."""

from collections import Counter

from torch import Tensor

from codec.entropy.channel import Channel
from codec.entropy.symbols import SymbolModel


class CountChannel(Channel):
    """Any channel, with its symbols counted.

    Args:
        inner: the channel that does the work.

    Attributes:
        coded: by component, symbols that the entropy coder codes: those that a row of the tables is
            chosen for.
        skipped: by component, values that both sides have without a symbol.
    """

    def __init__(self, inner: Channel) -> None:
        self.inner, self.sends, self.ordered = inner, inner.sends, inner.ordered
        self.coded: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def symbols(self, component: str, latent: Tensor | None, model: SymbolModel) -> Tensor:
        sent = self.inner.symbols(component, latent, model)
        coded = int((model.rows >= 0).sum())
        self.coded[component] += coded
        self.skipped[component] += sent.numel() - coded
        return sent

    def random(self, like: Tensor) -> Tensor | None:
        return self.inner.random(like)
