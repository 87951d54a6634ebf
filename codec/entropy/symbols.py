"""How symbols are distributed, as both ends of a channel know it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from codec.entropy.rans import LOOKUP_BITS, PRECISION
from codec.errors import CodecError
from codec.layers.compressai import quantize_ste


@dataclass(frozen=True, eq=False)
class CdfTables:
    """Cumulative 16-bit frequencies, a row a distribution; the last entry of each is the escape.

    Attributes:
        cumulative: uint32, the rows one after another, each rising from 0 to 2^16: one value more
            than it has entries.
        first: `(R + 1,)` int64, where in `cumulative` each row begins, and the length of all.
        offsets: `(R,)` int32, the symbol of each row's first entry; 0 lies in every row's reach or
            just beyond, or symbols at the other end of int32 could not be coded.

    Raises:
        CodecError: a row that is no distribution; nothing could be coded by it.
    """

    cumulative: np.ndarray
    first: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[int]], offsets: Sequence[int]) -> "CdfTables":
        """Tables of cumulative frequencies and the smallest symbol of each."""
        first = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return cls(np.concatenate(rows).astype(np.uint32), first, np.array(offsets, np.int32))

    def __post_init__(self) -> None:
        ends = self.first[1:] - 1
        rising = np.diff(self.cumulative.astype(np.int64)) > 0
        rising[ends[:-1]] = True
        begun = (self.cumulative[self.first[:-1]] == 0).all() and (np.diff(self.first) > 1).all()
        if not (begun and rising.all() and (self.cumulative[ends] == 1 << PRECISION).all()):
            raise CodecError(
                "cdf tables: a row does not rise from 0 to 2^16 in every entry; make it of finite "
                "probabilities"
            )

    def bits_of(self, symbols: Tensor, rows: Tensor) -> Tensor:
        """Bits that the entropy coder will spend on whole `symbols` coded by `rows`, escapes
        included; same shape.

        Beyond a row's reach the coder writes the escape symbol, one nibble that counts the nibbles
        to come, and these.
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
    def lookup(self) -> np.ndarray:
        """`(R, 2^LOOKUP_BITS)` uint16: the entry of each row that the lowest slot with these
        leading bits belongs to.
        """
        above = np.arange(len(self.offsets))[:, None] << (PRECISION + 1)
        row_of = np.repeat(above[:, 0], np.diff(self.first))
        slots = np.arange(1 << LOOKUP_BITS) << (PRECISION - LOOKUP_BITS)
        place = np.searchsorted(self.cumulative + row_of, above + slots, side="right") - 1
        return (place - self.first[:-1, None]).astype(np.uint16)

    @cached_property
    def _costs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Where each row starts in the last, its smallest symbol, the place of its escape, and the
        bits of every entry.
        """
        frequencies = np.diff(self.cumulative.astype(np.float64), append=0).clip(
            min=1
        )  # what is between two rows is not used
        bits = torch.from_numpy(PRECISION - np.log2(frequencies)).float()
        escape = torch.from_numpy(np.diff(self.first) - 2).float()
        return (
            torch.from_numpy(self.first[:-1]),
            torch.from_numpy(self.offsets).float(),
            escape,
            bits,
        )


@lru_cache(maxsize=16)
def _on_device(tables: CdfTables, device: torch.device) -> tuple[Tensor, ...]:
    """`_costs` of tables where they are needed; copied there once."""
    return tuple(table.to(device) for table in tables._costs)


class SymbolModel(ABC):
    """How one set of symbols, `round(latent - means)`, is distributed.

    Attributes:
        means: `(B, C, h, w)` float32.
        integer: the latent is one of integers that were decided (as motion vectors are), and so are
            the means. In training they are taken as they are: no noise stands for their rounding,
            and what is not `coded` costs nothing and passes no gradient. Otherwise it is a
            network's answer, which is rounded.
    """

    means: Tensor
    integer: bool = False

    @abstractmethod
    def bits(self, centred: Tensor) -> Tensor:
        """Bits, differentiable, of the unit bin about `centred` latents (means taken away), of the
        same shape.
        """

    def estimate(self, latent: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """A proxy for coding a latent that is no decision, in training.

        Args:
            latent: `(B, C, h, w)`.
            noise: of the same shape, in 0..1.

        Returns:
            What the receiving side has, `(B, C, h, w)`, whose gradients pass through the rounding;
            and the bits `(B,)` of the latent with the noise about it.
        """
        centred = latent.float() - self.means
        rounded = quantize_ste(centred)
        if self.coded is not None:  # gradients pass all the same, or what is left out would stay so
            rounded = rounded - (rounded * ~self.coded).detach()
        return rounded + self.means, self.bits(centred + noise - 0.5).flatten(1).sum(1)

    @property
    def coded(self) -> Tensor | None:
        """`(B, C, h, w)` bool: where there is a symbol; elsewhere a value is its mean. None:
        everywhere.
        """
        return None

    @property
    @abstractmethod
    def rows(self) -> Tensor:
        """`(B, C, h, w)` signed integers: the row of `tables` that codes each symbol; below 0, none
        does, and it is 0.
        """

    @property
    @abstractmethod
    def tables(self) -> CdfTables:
        """What the entropy coder uses."""
