"""What side information costs, in bits: tables that an encoder decides by, learned from what an
entropy network spends.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn

from codec.layers.quality import KNOTS
from codec.quality import QUALITIES

SMALLEST, LARGEST = 0.02, 12.0  # bits
VECTOR_STEPS = 64  # quarter pixels that the table of vectors lists
_WEIGHT = 50.0  # symbols that a table's present value counts as, where new ones come


class LearnedTables(nn.Module):
    """Averages by quality that an encoder decides by, constant until `update`.

    Tables are buffers: checkpoints hold them. They change what an encoder decides and nothing that
    a decoder does, so they are no part of `codec.checkpoint.model_hash`, as long as a network keeps
    them as its `prices`.

    Args:
        start: tables to begin with, by name.
        smallest, largest: what `update` keeps values within.

    Attributes:
        tables: their names; each is a buffer `(KNOTS, …)`.
    """

    def __init__(self, start: dict[str, Tensor], smallest: float, largest: float) -> None:
        super().__init__()
        self.tables, self.limits = tuple(start), (smallest, largest)
        for name, values in start.items():
            self.register_buffer(name, values.expand(KNOTS, *values.shape).clone())
            self.register_buffer(f"{name}_spent", torch.zeros(KNOTS, *values.shape))
            self.register_buffer(f"{name}_count", torch.zeros(KNOTS, *values.shape))

    def at(self, quality: Tensor) -> dict[str, Tensor]:
        """The tables at `quality` `(B,)`, `(B, …)` each."""
        position = quality.float() * ((KNOTS - 1) / (QUALITIES - 1))
        lower = position.floor().long().clamp(max=KNOTS - 2)

        def between(table: Tensor) -> Tensor:
            share = (position - lower).view(-1, *[1] * (table.dim() - 1))
            return torch.lerp(table[lower], table[lower + 1], share)

        return {name: between(getattr(self, name)) for name in self.tables}

    @torch.no_grad()
    def note(
        self, kind: str, entry: Tensor, values: Tensor, present: Tensor, quality: Tensor
    ) -> None:
        """Count values, of symbols what they cost, towards the next `update`.

        Args:
            kind: of `tables`.
            entry: `(B, …)` integers, which entry of the table (its last dimensions flat) a value
                belongs to.
            values: of the same shape.
            present: of the same shape, bool: where there is one.
            quality: `(B,)`.
        """
        spent, count = getattr(self, f"{kind}_spent"), getattr(self, f"{kind}_count")
        knot = (quality.float() * ((KNOTS - 1) / (QUALITIES - 1))).round().long()
        place = entry.long() + spent[0].numel() * knot.view(-1, *[1] * (entry.dim() - 1))
        spent.view(-1).index_add_(
            0, place.flatten(), torch.where(present, values.float(), 0).flatten()
        )
        count.view(-1).index_add_(0, place.flatten(), present.float().flatten())

    @torch.no_grad()
    def update(self) -> None:
        """Take over what was noted, in all processes together."""
        for name in self.tables:
            table, spent, count = (getattr(self, name + end) for end in ("", "_spent", "_count"))
            if distributed.is_initialized():
                for value in (spent, count):
                    distributed.all_reduce(value)
            table.copy_(((spent + _WEIGHT * table) / (count + _WEIGHT)).clamp(*self.limits))
            spent.zero_(), count.zero_()


class PriceTables(LearnedTables):
    """Bits of splits, modes and vectors by quality.

    Args:
        modes: M, the number of classes of prediction.

    Attributes:
        split: `(KNOTS, 3, 2)` of "not split" and "split" at blocks of 64, 32 and 16.
        mode: `(KNOTS, 4, M)` of each mode at blocks of 64, 32, 16 and 8.
        same: `(KNOTS, 2)` of a vector that is not, and that is, just its mean.
        vector: `(KNOTS, K)` of one component of another vector, that differs by 0, 1, .. K - 1
            quarter pixels from its mean.
    """

    split: Tensor
    mode: Tensor
    same: Tensor
    vector: Tensor

    def __init__(self, modes: int) -> None:
        steps = torch.arange(1, VECTOR_STEPS).float()
        start = {
            "split": torch.ones(3, 2),
            "mode": torch.tensor([0.7, *[2.5] * (modes - 1)]).expand(4, -1),
            "same": torch.tensor([1.3, 0.7]),
            "vector": torch.cat([torch.tensor([1.6]), 2.4 + 1.4 * steps.log2()]).clamp(max=LARGEST),
        }
        super().__init__(start, SMALLEST, LARGEST)

    def update(self) -> None:
        """Vectors never become cheaper with their length."""
        super().update()
        self.vector.copy_(self.vector.cummax(1).values)


def update_prices(codec: nn.Module) -> None:
    """`LearnedTables.update` of all tables in a codec: between two stages of training."""
    for module in codec.modules():
        if isinstance(module, LearnedTables):
            module.update()
