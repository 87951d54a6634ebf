"""Tables of cumulative frequencies that the entropy coder codes by, the same on every machine."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from codec.errors import CodecError

PRECISION = 16  # bits of frequencies
LOOKUP_BITS = 8  # leading bits of a slot by which the decoder finds where to look for its symbol


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


def quantised(masses: list[int]) -> list[int]:
    """Frequencies of at least 1 that add up to 2^16, where they cost the fewest bits.

    They start at their share, rounded down. What is left, or was taken too much by lifting shares
    below 1, goes one by one where it saves the most bits, or saves the fewest.

    Args:
        masses: probabilities of 1 to 2^16 entries times any one number, at least 0.

    Source: the derivative of the cost `-m log2 f`, halfway to the next frequency: greedy as optimal
    allocation is, since the cost is convex (Fox, *Discrete optimization via marginal analysis*,
    1966).
    """
    whole = sum(masses)
    frequencies = [max(1, (mass << PRECISION) // whole) for mass in masses]
    left = (1 << PRECISION) - sum(frequencies)
    step = 1 if left > 0 else -1

    def loss(i: int) -> int:
        """What one step costs in entry `i`, negative where it saves."""
        return -step * (masses[i] << 2 * PRECISION) // (2 * frequencies[i] + step)

    queue = [(loss(i), i) for i in range(len(masses)) if frequencies[i] + step > 0]
    heapq.heapify(queue)
    for _ in range(abs(left)):
        _, i = queue[0]
        frequencies[i] += step
        if frequencies[i] + step > 0:
            heapq.heapreplace(queue, (loss(i), i))
        else:
            heapq.heappop(queue)
    return frequencies
