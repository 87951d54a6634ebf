"""Faults: sequences that fail in training are set aside, counted, recorded, and replaced by others."""

import json
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch.utils.data import get_worker_info

from data.errors import DataError
from data.sequences import Sequences

T = TypeVar("T")
MOST_WORKERS = 1024
log = logging.getLogger(__name__)


class Faults:
    """Which sequences have failed and which one each worker is reading, in memory shared by a process and its workers.

    Args:
        sequences: all of them.
        worst_share: 0..1, the share of them that may fail.
        record: a file to which a line of JSON is appended for each: path, frames, reason, time; None keeps no record.
    """

    def __init__(self, sequences: Sequences, worst_share: float, record: Path | None = None) -> None:
        self.sequences, self.worst_share, self.record = sequences, worst_share, record
        self.failed = torch.zeros(len(sequences), dtype=torch.bool).share_memory_()
        self._reading = torch.full((MOST_WORKERS, 2), -1, dtype=torch.int64).share_memory_()  # process, sequence

    @property
    def count(self) -> int:
        """Sequences set aside so far, in all workers."""
        return int(self.failed.sum())

    def first_good(self, first: int, make: Callable[[int], T]) -> T:
        """`make(number)` of sequence `first`, or of the next in the list that does not raise DataError.

        Raises:
            DataError: more than `worst_share` of the sequences have failed.
        """
        for step in range(len(self.sequences)):
            number = (first + step) % len(self.sequences)
            if self.failed[number]:
                continue
            self.note(number)
            try:
                return make(number)
            except DataError as error:
                self.set_aside(number, str(error))
            finally:
                self.note(-1)
        label = self.sequences[0].label
        raise DataError(f"all {len(self.sequences)} sequences failed, {label} too; give readable videos as data.root")

    def set_aside(self, number: int, reason: str) -> None:
        """Never draw sequence `number` again; DataError when too many have failed."""
        self.failed[number] = True
        sequence = self.sequences[number]
        if self.record is not None:
            row = {"path": str(sequence.path), "first": sequence.first, "frames": sequence.frames, "part": sequence.part}
            self._append(row | {"reason": reason, "time": time.strftime("%Y-%m-%dT%H:%M:%S")})
        share = f"{self.count} of {len(self.sequences)} sequences"
        if self.count > self.worst_share * len(self.sequences):
            raise DataError(f"{share} failed, more than data.worst_share={self.worst_share:g}; the last: {reason}")
        log.warning("set aside %s (%s so far)", reason, share)

    def read_by(self, worker: int) -> tuple[int, int]:
        """Process id of a worker and the number of the sequence that it is reading, -1 for none."""
        process, number = self._reading[worker].tolist()
        return process, number

    def start_worker(self, worker: int) -> None:
        """A reading process takes one thread, and leaves Ctrl-C to the training process, which ends its workers itself."""
        torch.set_num_threads(1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.note(-1)

    def note(self, number: int) -> None:
        """Leave word of which sequence is being read, -1 for none, for the case that this process does not come back."""
        worker = get_worker_info()
        if worker is not None:
            self._reading[worker.id] = torch.tensor([os.getpid(), number])

    def _append(self, row: dict[str, object]) -> None:
        """One write of one line, so that lines of several processes do not mix; no lock."""
        self.record.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, (json.dumps(row) + "\n").encode())
        finally:
            os.close(handle)
