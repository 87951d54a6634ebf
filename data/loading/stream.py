"""ShardStream: clips of packed sequences, shards read front to back, for object storage and slow
disks.
"""

from __future__ import annotations

import copy
import io
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
from torch.utils.data import IterableDataset, get_worker_info

from data.errors import DataError, check_at_least, check_share
from data.index.table import IndexedSequences
from data.io.container import opened_bytes
from data.io.probe import Probe, probe_from_index
from data.io.readers import Reader, SpanReader
from data.io.video import PyavReader
from data.loading.clip import Clip
from data.loading.quarantine import Quarantine
from data.loading.split import SequenceSubset
from data.sequences import Sequence, Sequences
from data.shards.storage import ShardFiles

Make = Callable[[Sequence, Reader, np.random.Generator], Clip]
log = logging.getLogger(__name__)


class ShardStream(IterableDataset[Clip]):
    """Clips without end, one of every sequence an epoch, in an order that depends on the arguments
    only.

    Each of `ranks * workers` processes reads its own part of every epoch's shards in the order of
    the shards' bytes, and draws out of a buffer (see `StreamOrder`). An index made by `corvid data
    pack` says where each member is, so that a resumed stream goes there without reading what was
    had before. A member that fails is set aside with a warning, and the next in the index takes its
    place.

    Args:
        sequences: of an index of shards: rows of one shard stand together, in the order of their
            offsets.
        make: a random clip of a sequence, from a reader of its frames, as `ClipDataset.draw`.
        batch: samples a batch, as the DataLoader's.
        seed: any integer from 0.
        rank, ranks: which of how many training processes this is.
        workers: reading processes, as the DataLoader's `num_workers`.
        buffer: members to draw among; a process holds so many of them in memory, encoded.
        where: for each shard's path, the file or URL (s3://...) to read instead; without it, the
            path.
        worst_share: 0..1, the share of sequences that may fail before DataError.
        record: where faults are recorded, see `Quarantine`.
        open_bytes: a reader of a sequence from its member's bytes.

    Raises:
        DataError: a field is out of range, or the sequences lie in no shards; while reading, too
            many sequences have failed.
    """

    def __init__(
        self,
        sequences: Sequences,
        make: Make,
        batch: int,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
        workers: int = 0,
        buffer: int = 128,
        where: Mapping[Path, str] | None = None,
        worst_share: float = 0.1,
        record: Path | None = None,
        open_bytes: Callable[[Sequence, bytes], Reader] | None = None,
    ) -> None:
        check_at_least(0, seed=seed, rank=rank, workers=workers)
        check_at_least(1, batch=batch, ranks=ranks, buffer=buffer)
        check_at_least(ranks * max(1, workers), sequences=len(sequences))
        check_share(worst_share=worst_share)
        if sequences[0].byte_range is None:
            raise DataError(
                f"{sequences[0].path}: not in a shard; make shards with: corvid data pack INDEX OUT"
            )
        self.sequences = sequences
        self.make = make
        self.batch = batch
        self.seed = seed
        self.rank = rank
        self.ranks = ranks
        self.workers = workers
        self.where = where or {}
        self.open_bytes = open_bytes or open_member
        self.order = StreamOrder(shard_starts(sequences), seed, buffer)
        self.quarantine = Quarantine(sequences, worst_share, record)
        self._taken = [0] * max(1, workers)
        self._turn = 0

    def state_dict(self, batches: int) -> dict[str, Any]:
        """Where every rank's stream stands when so many batches have been had of it since it was
        made or resumed.
        """
        taken, turn = taken_after(self._taken, turn=self._turn, batches=batches, batch=self.batch)
        size = {
            "ranks": self.ranks,
            "workers": len(taken),
            "buffer": self.order.buffer,
            "sequences": len(self.sequences),
        }
        return {"taken": taken, "turn": turn, "seed": self.seed, **size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`: exactly, where ranks, workers, seed and buffer are the same; a
        difference is warned of.

        Raises:
            DataError: the state is of other sequences.
        """
        if state["sequences"] != len(self.sequences):
            raise DataError(
                f"resume: a stream of {state['sequences']} sequences, data.root has "
                f"{len(self.sequences)}; give the same"
            )
        now = {
            "ranks": self.ranks,
            "workers": len(self._taken),
            "seed": self.seed,
            "buffer": self.order.buffer,
        }
        changed = [
            f"{name} {state[name]} before, {value} now"
            for name, value in now.items()
            if state[name] != value
        ]
        if changed:
            log.warning(
                "the stream is resumed with %s: some samples of this epoch repeat, others are "
                "left out",
                ", ".join(changed),
            )
        self._taken = list(state["taken"])
        self._turn = state["turn"]
        if (state["ranks"], state["workers"]) != (self.ranks, now["workers"]):
            each = sum(self._taken) * state["ranks"] // (self.ranks * now["workers"])
            self._taken = [each] * now["workers"]
            self._turn = 0

    def after(self, batches: int) -> ShardStream:
        """This stream behind so many of its batches."""
        other = copy.copy(self)
        other._taken, other._turn = taken_after(
            self._taken, turn=self._turn, batches=batches, batch=self.batch
        )
        return other

    def __iter__(self) -> Iterator[Clip]:
        info = get_worker_info()
        if (info.num_workers if info else 0) != self.workers:
            raise DataError(
                f"data.workers={self.workers}, but the DataLoader has "
                f"{info.num_workers if info else 0}; give both the same"
            )
        worker = ((info.id if info else 0) + self._turn) % len(self._taken)
        consumer = Consumer(self.rank, ranks=self.ranks, worker=worker, workers=len(self._taken))
        left = self._taken[worker]
        with ShardFiles(self.sequences, self.where) as shards:
            for epoch in count():
                rows = self.order.share(epoch, consumer)
                if left >= len(rows):
                    left -= len(rows)
                else:
                    yield from self._epoch(
                        epoch, consumer=consumer, rows=rows, skip=left, shards=shards
                    )
                    left = 0

    def _epoch(
        self, epoch: int, consumer: Consumer, rows: np.ndarray, skip: int, shards: ShardFiles
    ) -> Iterator[Clip]:
        """What one consumer gives of one epoch behind its first `skip` samples, of which nothing is
        read.
        """
        held: dict[int, bytes | DataError] = {}
        waiting: set[int] = set()
        for drawn, (entering, place) in enumerate(self.order.draws(len(rows), epoch, consumer)):
            waiting.update(entering)
            if drawn < skip:
                waiting.discard(place)
                continue
            held.update(
                (int(rows[other]), shards.read(int(rows[other]))) for other in sorted(waiting)
            )
            waiting.clear()
            yield self._clip(int(rows[place]), held=held, epoch=epoch, shards=shards)

    def _clip(
        self, row: int, held: dict[int, bytes | DataError], epoch: int, shards: ShardFiles
    ) -> Clip:
        """The clip of a row, or of the next in the index that does not fail, so that each draw
        gives one.
        """
        own = held.pop(row)

        def make(number: int) -> Clip:
            data = own if number == row else held.get(number) or shards.read(number)
            if isinstance(data, DataError):
                raise data
            sequence = self.sequences[number]
            rng = np.random.default_rng([self.seed, epoch, row, number])
            return self.make(sequence, self.open_bytes(sequence, data), rng)

        return self.quarantine.first_good(row, make)


@dataclass(frozen=True, eq=False)
class _InMemory(Probe):
    """A video whose bytes were read already."""

    data: bytes = b""

    def opened(self) -> AbstractContextManager[av.container.InputContainer]:
        return opened_bytes(io.BytesIO(self.data))


def open_member(sequence: Sequence, data: bytes) -> Reader:
    """A reader of a sequence from its member's bytes; DataError when the index does not know where
    its frames are.
    """
    timing = sequence.timing
    if timing is None:
        raise DataError(
            f"{sequence.label}: its frame rate varies, or its video is not the first stream; pack "
            "it without --copy to stream it"
        )
    found = _InMemory(**vars(probe_from_index(sequence, timing)), data=data)
    whole = PyavReader(found)
    return (
        whole
        if not sequence.first and sequence.frames in (None, whole.frames)
        else SpanReader(whole, sequence)
    )


@dataclass(frozen=True)
class Consumer:
    """One reading process among `ranks * workers`; `workers` is at least 1."""

    rank: int
    ranks: int
    worker: int
    workers: int


class StreamOrder:
    """An epoch's rows in the order of reading and of drawing; a pure function of its arguments.

    An epoch is all shards, shuffled by `[seed, epoch]`, one behind the other and cut into as many
    equal runs of rows as there are consumers. So all consumers get as many rows (give or take one),
    whatever the sizes of the shards, and each reads at most two of them in part. What is read goes
    into a buffer out of which rows are drawn at random.

    Args:
        starts: int64 `(shards + 1,)`, the number of each shard's first row, and the number of rows.
        seed: any integer from 0.
        buffer: rows to draw among.
    """

    def __init__(self, starts: np.ndarray, seed: int, buffer: int) -> None:
        self.starts = starts
        self.seed = seed
        self.buffer = buffer

    def share(self, epoch: int, consumer: Consumer) -> np.ndarray:
        """int64 rows of one consumer, in the order of reading."""
        shards = np.random.default_rng([self.seed, epoch]).permutation(len(self.starts) - 1)
        ends = np.cumsum(self.starts[shards + 1] - self.starts[shards])
        rows = int(ends[-1])
        number = consumer.rank * consumer.workers + consumer.worker
        first, stop = (
            rows * n // (consumer.ranks * consumer.workers) for n in (number, number + 1)
        )
        pieces = []
        for place in range(np.searchsorted(ends, first, side="right"), len(shards)):
            start = self.starts[shards[place]]
            end = self.starts[shards[place] + 1]
            before = ends[place] - (end - start)
            if before >= stop:
                break
            pieces.append(
                np.arange(start + max(0, first - before), min(end, start + stop - before))
            )
        return np.concatenate(pieces) if pieces else np.empty(0, np.int64)

    def draws(self, rows: int, epoch: int, consumer: Consumer) -> Iterator[tuple[range, int]]:
        """For each of so many draws, which rows of `share` enter the buffer before it (by place)
        and which place leaves it.
        """
        picks = np.random.default_rng([self.seed, epoch, consumer.rank, consumer.worker]).random(
            rows
        )
        held: list[int] = []
        read = 0
        for pick in picks:
            stop = min(rows, read + self.buffer - len(held))
            entering = range(read, stop)
            read = stop
            held.extend(entering)
            chosen = int(pick * len(held))
            held[chosen], held[-1] = held[-1], held[chosen]
            yield entering, held.pop()


def taken_after(taken: list[int], turn: int, batches: int, batch: int) -> tuple[list[int], int]:
    """Samples that each worker has given, and whose turn it is, after so many more batches.

    A DataLoader takes one batch from each worker in turn.
    """
    workers = len(taken)
    more = [
        batches // workers + ((worker - turn) % workers < batches % workers)
        for worker in range(workers)
    ]
    return [before + batch * count for before, count in zip(taken, more, strict=True)], (
        turn + batches
    ) % workers


def shard_starts(sequences: Sequences) -> np.ndarray:
    """int64 `(shards + 1,)`: number of the first row of each shard, in the order of the index, and
    the number of rows.
    """
    if isinstance(sequences, SequenceSubset):
        places = np.searchsorted(sequences.numbers, shard_starts(sequences.sequences))
        return np.unique(places).astype(np.int64)
    if isinstance(sequences, IndexedSequences):
        column = pq.read_table(sequences.path, columns=["path"], read_dictionary=["path"])[
            "path"
        ].unify_dictionaries()
        codes = np.concatenate([chunk.indices.to_numpy() for chunk in column.chunks])
        changes = np.flatnonzero(np.diff(codes)) + 1
    else:
        paths = [sequence.path for sequence in sequences]
        changes = np.array(
            [number for number in range(1, len(paths)) if paths[number] != paths[number - 1]],
            np.int64,
        )
    return np.array([0, *changes, len(sequences)], np.int64)
