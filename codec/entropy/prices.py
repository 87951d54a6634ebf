"""What side information costs, in bits: tables that an encoder decides by, learned from what an entropy network spends."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn

from codec.layers.gain import KNOTS
from codec.quality import QUALITIES

SMALLEST, LARGEST = 0.02, 12.0  # bits
VECTOR_STEPS = 64  # quarter pixels that the table of vectors lists
_WEIGHT = 50.0  # symbols that a table's present value counts as, where new ones come


class PriceTables(nn.Module):
    """Bits of splits, modes and vectors by quality, constant until `update`.

    Tables are buffers: checkpoints hold them. They change what an encoder decides and nothing that a decoder does, so they are no
    part of `codec.checkpoint.model_hash`.

    Args:
        modes: M, the number of classes of prediction.

    Attributes:
        split: `(KNOTS, 3, 2)` of "not split" and "split" at blocks of 64, 32 and 16.
        mode: `(KNOTS, 4, M)` of each mode at blocks of 64, 32, 16 and 8.
        same: `(KNOTS, 2)` of a vector that is not, and that is, just its mean.
        vector: `(KNOTS, K)` of one component of another vector, that differs by 0, 1, .. K - 1 quarter pixels from its mean.
    """

    def __init__(self, modes: int) -> None:
        super().__init__()
        steps = torch.arange(1, VECTOR_STEPS).float()
        start = {
            "split": torch.ones(3, 2),
            "mode": torch.tensor([0.7, *[2.5] * (modes - 1)]).expand(4, -1),
            "same": torch.tensor([1.3, 0.7]),
            "vector": torch.cat([torch.tensor([1.6]), 2.4 + 1.4 * steps.log2()]).clamp(max=LARGEST),
        }
        self.tables = tuple(start)
        for name, bits in start.items():
            self.register_buffer(name, bits.expand(KNOTS, *bits.shape).clone())
            self.register_buffer(f"{name}_spent", torch.zeros(KNOTS, *bits.shape))
            self.register_buffer(f"{name}_count", torch.zeros(KNOTS, *bits.shape))

    def at(self, quality: Tensor) -> dict[str, Tensor]:
        """The tables at `quality` `(B,)`: split `(B, 3, 2)`, mode `(B, 4, M)`, same `(B, 2)`, vector `(B, K)`."""
        position = quality.float() * ((KNOTS - 1) / (QUALITIES - 1))
        lower = position.floor().long().clamp(max=KNOTS - 2)

        def between(table: Tensor) -> Tensor:
            share = (position - lower).view(-1, *[1] * (table.dim() - 1))
            return torch.lerp(table[lower], table[lower + 1], share)

        return {name: between(getattr(self, name)) for name in self.tables}

    @torch.no_grad()
    def note(self, kind: str, entry: Tensor, bits: Tensor, present: Tensor, quality: Tensor) -> None:
        """Count what symbols cost, towards the next `update`.

        Args:
            kind: `split`, `mode`, `same` or `vector`.
            entry: `(B, …)` integers, which entry of the table (its last dimensions flat) a symbol belongs to.
            bits: of the same shape.
            present: of the same shape, bool: where there is a symbol.
            quality: `(B,)`.
        """
        spent, count = getattr(self, f"{kind}_spent"), getattr(self, f"{kind}_count")
        knot = (quality.float() * ((KNOTS - 1) / (QUALITIES - 1))).round().long()
        place = entry.long() + spent[0].numel() * knot.view(-1, *[1] * (entry.dim() - 1))
        spent.view(-1).index_add_(0, place.flatten(), torch.where(present, bits.float(), 0).flatten())
        count.view(-1).index_add_(0, place.flatten(), present.float().flatten())

    @torch.no_grad()
    def update(self) -> None:
        """Take over what was noted, in all processes together; vectors never become cheaper with their length."""
        for name in self.tables:
            table, spent, count = (getattr(self, name + end) for end in ("", "_spent", "_count"))
            if distributed.is_initialized():
                for value in (spent, count):
                    distributed.all_reduce(value)
            table.copy_(((spent + _WEIGHT * table) / (count + _WEIGHT)).clamp(SMALLEST, LARGEST))
            spent.zero_(), count.zero_()
        self.vector.copy_(self.vector.cummax(1).values)


def update_prices(codec: nn.Module) -> None:
    """`PriceTables.update` of all tables in a codec: between two stages of training."""
    for module in codec.modules():
        if isinstance(module, PriceTables):
            module.update()
