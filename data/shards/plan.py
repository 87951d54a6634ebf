"""What is packed: the members of all shards, in order, from an index and the options."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import DataError
from data.index.schema import COLUMNS
from data.index.table import IndexedSequences
from data.shards.options import PackOptions

Row = dict[str, Any]  # of an index, see `data.index.schema`


@dataclass(frozen=True)
class Member:
    """One file in a shard.

    Attributes:
        key: its name there, without suffix.
        rows: of the index; one, or with `copy` all that are sequences of this file.
        first, frames: which of the source's frames, when it is encoded.
    """

    key: str
    rows: tuple[Row, ...]
    first: int
    frames: int


class Plan:
    """All members in the order in which they are packed; a pure function of the index and the
    options.

    Args:
        index: made by `corvid data index`.
        options: see `PackOptions`.

    Attributes:
        root: folder that the index's paths count from.
        rows: how many sequences.
        digest: says whether two plans are the same.

    Raises:
        DataError: no index, an empty one, or one of shards.
    """

    def __init__(self, index: Path | str, options: PackOptions) -> None:
        self.root = IndexedSequences(index).root
        self.options = options
        self._table = pq.read_table(index, columns=COLUMNS.names).combine_chunks()
        if self._table["offset"].null_count < len(self._table):
            raise DataError(
                f"{index}: an index of shards; pack from the index that they were made from"
            )
        self.rows = len(self._table)
        self._order, self._starts = _mixed(self._table, options)
        longest = options.longest or np.iinfo(np.int32).max
        self._pieces = np.ones(len(self._starts), np.int64)
        if not options.copy:
            self._pieces = -(
                -self._table["frames"].to_numpy()[self._order].astype(np.int64) // longest
            )
        self._ends = np.cumsum(self._pieces)
        with open(index, "rb") as file:
            content = hashlib.file_digest(file, "sha256")
        content.update(json.dumps(asdict(options), sort_keys=True).encode())
        self.digest = content.hexdigest()[:16]

    def __len__(self) -> int:
        """How many members."""
        return int(self._ends[-1])

    def part(self, part: int, parts: int) -> range:
        """Numbers of the members of part 1 .. `parts`."""
        return range(len(self) * (part - 1) // parts, len(self) * part // parts)

    def members(self, numbers: range) -> Iterator[Member]:
        """Some members, by number."""
        for number in numbers:
            group = int(np.searchsorted(self._ends, number, side="right"))
            pieces = int(self._pieces[group])
            piece = number - int(self._ends[group] - self._pieces[group])
            stop = self._starts[group + 1] if group + 1 < len(self._starts) else self.rows
            places = self._order[self._starts[group] : stop]
            rows = tuple(self._table.take(pa.array(places)).to_pylist())
            start, end = (rows[0]["frames"] * n // pieces for n in (piece, piece + 1))
            first = rows[0]["first"] + start
            yield Member(f"{places[0]:08d}-{first:06d}", rows=rows, first=first, frames=end - start)


def _mixed(table: pa.Table, options: PackOptions) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers, files in random order and the rows of a file together; and where groups start in
    it.

    With `copy` a group is a file, else a row.
    """
    codes = table["path"].combine_chunks().dictionary_encode()
    if isinstance(codes, pa.ChunkedArray):
        codes = codes.combine_chunks()
    files = codes.indices.to_numpy()
    place = np.random.default_rng(options.seed).permutation(int(files.max()) + 1)[files]
    order = np.argsort(place, kind="stable")
    starts = (
        np.flatnonzero(np.diff(place[order], prepend=-1)) if options.copy else np.arange(len(order))
    )
    return order, starts
