"""The order of a stream: which rows of an index each reading process takes, shard by shard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq

from data.division import Chosen
from data.index.table import IndexedSequences
from data.sequences import Sequences


@dataclass(frozen=True)
class Consumer:
    """One reading process among `ranks * workers`; `workers` is at least 1."""

    rank: int
    ranks: int
    worker: int
    workers: int


class StreamOrder:
    """An epoch's rows in the order of reading and of drawing; a pure function of its arguments.

    An epoch is all shards, shuffled by `[seed, epoch]`, one behind the other and cut into as many equal runs of rows as there
    are consumers. So all consumers get as many rows (give or take one), whatever the sizes of the shards, and each reads at most
    two of them in part. What is read goes into a buffer out of which rows are drawn at random.

    Args:
        starts: int64 `(shards + 1,)`, the number of each shard's first row, and the number of rows.
        seed: any integer from 0.
        buffer: rows to draw among.
    """

    def __init__(self, starts: np.ndarray, seed: int, buffer: int) -> None:
        self.starts, self.seed, self.buffer = starts, seed, buffer

    def share(self, epoch: int, consumer: Consumer) -> np.ndarray:
        """int64 rows of one consumer, in the order of reading."""
        shards = np.random.default_rng([self.seed, epoch]).permutation(len(self.starts) - 1)
        ends = np.cumsum(self.starts[shards + 1] - self.starts[shards])
        rows, number = int(ends[-1]), consumer.rank * consumer.workers + consumer.worker
        first, stop = (rows * n // (consumer.ranks * consumer.workers) for n in (number, number + 1))
        pieces = []
        for place in range(np.searchsorted(ends, first, side="right"), len(shards)):
            start, end = self.starts[shards[place]], self.starts[shards[place] + 1]
            before = ends[place] - (end - start)
            if before >= stop:
                break
            pieces.append(np.arange(start + max(0, first - before), min(end, start + stop - before)))
        return np.concatenate(pieces) if pieces else np.empty(0, np.int64)

    def draws(self, rows: int, epoch: int, consumer: Consumer) -> Iterator[tuple[range, int]]:
        """For each of so many draws, which rows of `share` enter the buffer before it (by place) and which place leaves it."""
        picks = np.random.default_rng([self.seed, epoch, consumer.rank, consumer.worker]).random(rows)
        held: list[int] = []
        read = 0
        for pick in picks:
            stop = min(rows, read + self.buffer - len(held))
            entering, read = range(read, stop), stop
            held.extend(entering)
            chosen = int(pick * len(held))
            held[chosen], held[-1] = held[-1], held[chosen]
            yield entering, held.pop()


def taken_after(taken: list[int], turn: int, batches: int, batch: int) -> tuple[list[int], int]:
    """Samples that each worker has given, and whose turn it is, after so many more batches.

    A DataLoader takes one batch from each worker in turn.
    """
    workers = len(taken)
    more = [batches // workers + ((worker - turn) % workers < batches % workers) for worker in range(workers)]
    return [before + batch * count for before, count in zip(taken, more, strict=True)], (turn + batches) % workers


def shard_starts(sequences: Sequences) -> np.ndarray:
    """int64 `(shards + 1,)`: number of the first row of each shard, in the order of the index, and the number of rows."""
    if isinstance(sequences, Chosen):
        places = np.searchsorted(sequences.numbers, shard_starts(sequences.sequences))
        return np.unique(places).astype(np.int64)
    if isinstance(sequences, IndexedSequences):
        column = pq.read_table(sequences.path, columns=["path"], read_dictionary=["path"])["path"].unify_dictionaries()
        codes = np.concatenate([chunk.indices.to_numpy() for chunk in column.chunks])
        changes = np.flatnonzero(np.diff(codes)) + 1
    else:
        paths = [sequence.path for sequence in sequences]
        changes = [number for number in range(1, len(paths)) if paths[number] != paths[number - 1]]
    return np.array([0, *changes, len(sequences)], np.int64)
