"""ShardStream: clips of packed sequences, shards read front to back, for object storage and slow disks."""

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
from torch.utils.data import IterableDataset, get_worker_info

from data.clip import Clip
from data.errors import DataError, check_at_least, check_share
from data.faults import Faults
from data.io.probe import Probe, told
from data.io.readers import Reader, SpanReader
from data.io.video import PyavReader
from data.sequences import Sequence, Sequences
from data.shards.storage import ShardFiles
from data.stream_order import Consumer, StreamOrder, shard_starts, taken_after

Make = Callable[[Sequence, Reader, np.random.Generator], Clip]
log = logging.getLogger(__name__)


class ShardStream(IterableDataset[Clip]):
    """Clips without end, one of every sequence an epoch, in an order that depends on the arguments only.

    Each of `ranks * workers` processes reads its own part of every epoch's shards in the order of the shards' bytes, and draws
    out of a buffer (see `StreamOrder`). An index made by `corvid data pack` says where each member is, so that a resumed stream
    goes there without reading what was had before. A member that fails is set aside with a warning, and the next in
    the index takes its place.

    Args:
        sequences: of an index of shards: rows of one shard stand together, in the order of their offsets.
        make: a random clip of a sequence, from a reader of its frames, as `ClipDataset.draw`.
        batch: samples a batch, as the DataLoader's.
        seed: any integer from 0.
        rank, ranks: which of how many training processes this is.
        workers: reading processes, as the DataLoader's `num_workers`.
        buffer: members to draw among; a process holds so many of them in memory, encoded.
        where: for each shard's path, the file or URL (s3://...) to read instead; without it, the path.
        worst_share: 0..1, the share of sequences that may fail before DataError.
        record: where faults are recorded, see `Faults`.
        open_bytes: a reader of a sequence from its member's bytes.

    Raises:
        DataError: a field is out of range, or the sequences lie in no shards; while reading, too many sequences have failed.
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
        if sequences[0].part is None:
            raise DataError(f"{sequences[0].path}: not in a shard; make shards with: corvid data pack INDEX OUT")
        self.sequences, self.make, self.batch, self.seed, self.rank, self.ranks = sequences, make, batch, seed, rank, ranks
        self.workers, self.where, self.open_bytes = workers, where or {}, open_bytes or open_member
        self.order = StreamOrder(shard_starts(sequences), seed, buffer)
        self.faults = Faults(sequences, worst_share, record)
        self._taken, self._turn = [0] * max(1, workers), 0

    def state_dict(self, batches: int) -> dict[str, Any]:
        """Where every rank's stream stands when so many batches have been had of it since it was made or resumed."""
        taken, turn = taken_after(self._taken, self._turn, batches, self.batch)
        size = {"ranks": self.ranks, "workers": len(taken), "buffer": self.order.buffer, "sequences": len(self.sequences)}
        return {"taken": taken, "turn": turn, "seed": self.seed, **size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`: exactly, where ranks, workers, seed and buffer are the same; a difference is warned of.

        Raises:
            DataError: the state is of other sequences.
        """
        if state["sequences"] != len(self.sequences):
            raise DataError(
                f"resume: a stream of {state['sequences']} sequences, data.root has {len(self.sequences)}; give the same"
            )
        now = {"ranks": self.ranks, "workers": len(self._taken), "seed": self.seed, "buffer": self.order.buffer}
        changed = [f"{name} {state[name]} before, {value} now" for name, value in now.items() if state[name] != value]
        if changed:
            log.warning(
                "the stream is resumed with %s: some samples of this epoch repeat, others are left out", ", ".join(changed)
            )
        self._taken, self._turn = list(state["taken"]), state["turn"]
        if (state["ranks"], state["workers"]) != (self.ranks, now["workers"]):
            each = sum(self._taken) * state["ranks"] // (self.ranks * now["workers"])
            self._taken, self._turn = [each] * now["workers"], 0

    def after(self, batches: int) -> ShardStream:
        """This stream behind so many of its batches."""
        other = copy.copy(self)
        other._taken, other._turn = taken_after(self._taken, self._turn, batches, self.batch)
        return other

    def __iter__(self) -> Iterator[Clip]:
        info = get_worker_info()
        if (info.num_workers if info else 0) != self.workers:
            raise DataError(
                f"data.workers={self.workers}, but the DataLoader has {info.num_workers if info else 0}; give both the same"
            )
        worker = ((info.id if info else 0) + self._turn) % len(self._taken)
        consumer = Consumer(self.rank, self.ranks, worker, len(self._taken))
        left = self._taken[worker]
        with ShardFiles(self.sequences, self.where) as shards:
            for epoch in count():
                rows = self.order.share(epoch, consumer)
                if left >= len(rows):
                    left -= len(rows)
                else:
                    yield from self._epoch(epoch, consumer, rows, left, shards)
                    left = 0

    def _epoch(self, epoch: int, consumer: Consumer, rows: np.ndarray, skip: int, shards: ShardFiles) -> Iterator[Clip]:
        """What one consumer gives of one epoch behind its first `skip` samples, of which nothing is read."""
        held: dict[int, bytes | DataError] = {}
        waiting: set[int] = set()
        for drawn, (entering, place) in enumerate(self.order.draws(len(rows), epoch, consumer)):
            waiting.update(entering)
            if drawn < skip:
                waiting.discard(place)
                continue
            held.update((int(rows[other]), shards.read(int(rows[other]))) for other in sorted(waiting))
            waiting.clear()
            yield self._clip(int(rows[place]), held, epoch, shards)

    def _clip(self, row: int, held: dict[int, bytes | DataError], epoch: int, shards: ShardFiles) -> Clip:
        """The clip of a row, or of the next in the index that does not fail, so that each draw gives one."""
        own = held.pop(row)

        def make(number: int) -> Clip:
            data = own if number == row else held.get(number) or shards.read(number)
            if isinstance(data, DataError):
                raise data
            sequence = self.sequences[number]
            rng = np.random.default_rng([self.seed, epoch, row, number])
            return self.make(sequence, self.open_bytes(sequence, data), rng)

        return self.faults.first_good(row, make)


@dataclass(frozen=True, eq=False)
class _InMemory(Probe):
    """A video whose bytes were read already."""

    data: bytes = b""

    def opened(self) -> AbstractContextManager[av.container.InputContainer]:
        return av.open(io.BytesIO(self.data))


def open_member(sequence: Sequence, data: bytes) -> Reader:
    """A reader of a sequence from its member's bytes; DataError when the index does not know where its frames are."""
    timing = sequence.timing
    if timing is None:
        raise DataError(f"{sequence.label}: its frame rate varies; pack it without --copy to stream it")
    found = _InMemory(**vars(told(sequence, timing)), data=data)
    whole = PyavReader(found)
    return whole if not sequence.first and sequence.frames in (None, whole.frames) else SpanReader(whole, sequence)
