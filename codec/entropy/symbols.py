"""How symbols are distributed, as both ends of a channel know it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

PRECISION = 16


@dataclass(frozen=True, eq=False)
class CdfTables:
    """Cumulative 16-bit frequencies as compressai's rANS takes them: a row a distribution, the last symbol the escape.

    Attributes:
        cdfs: rows, padded with zeros to one length.
        lengths: entries of each row that count.
        offsets: the smallest symbol of each row.
    """

    cdfs: list[list[int]]
    lengths: list[int]
    offsets: list[int]

    def bits_of(self, symbols: Tensor, rows: Tensor) -> Tensor:
        """Bits that the entropy coder will spend on whole `symbols` coded by `rows`, escapes included; same shape.

        Beyond a row's reach the coder writes the escape symbol, one nibble that counts the nibbles to come, and these.
        """
        start, offset, escape, bits = _on_device(self, symbols.device)
        rows = rows.long()
        entry = symbols.float() - offset[rows]
        escape = escape[rows]
        raw = torch.where(entry < 0, -2 * entry - 1, 2 * (entry - escape))
        nibbles = torch.ceil(torch.log2(raw.clamp(min=0) + 1) / 4)
        escaped = (entry < 0) | (entry >= escape)
        entry = torch.where(escaped, escape, entry).long()
        return bits[start[rows] + entry] + torch.where(escaped, 4 * (1 + nibbles), 0)

    @cached_property
    def _costs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Where each row starts in the last, its smallest symbol, the place of its escape, and the bits of every entry."""
        rows = [torch.tensor(row[:length]) for row, length in zip(self.cdfs, self.lengths, strict=True)]
        bits = [PRECISION - torch.log2(row.diff().double()).float() for row in rows]
        start = torch.tensor([0, *(len(b) for b in bits[:-1])]).cumsum(0)
        escape = torch.tensor(self.lengths, dtype=torch.float32) - 2
        return start, torch.tensor(self.offsets, dtype=torch.float32), escape, torch.cat(bits)


@lru_cache(maxsize=16)
def _on_device(tables: CdfTables, device: torch.device) -> tuple[Tensor, ...]:
    """`_costs` of tables where they are needed; copied there once."""
    return tuple(table.to(device) for table in tables._costs)


class SymbolModel(ABC):
    """How one set of symbols, `round(latent - means)`, is distributed.

    Attributes:
        means: `(B, C, h, w)` float32.
    """

    means: Tensor

    @abstractmethod
    def bits(self, centred: Tensor) -> Tensor:
        """Bits, differentiable, of the unit bin about `centred` latents (means taken away), of the same shape."""

    @property
    @abstractmethod
    def rows(self) -> Tensor:
        """`(B, C, h, w)` int32: the row of `tables` that codes each symbol."""

    @property
    @abstractmethod
    def tables(self) -> CdfTables:
        """What the entropy coder uses."""
