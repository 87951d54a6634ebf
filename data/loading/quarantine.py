"""Quarantine: sequences that fail in training are set aside, counted, recorded, and replaced by
others.
"""

import errno
import json
import logging
import os
import signal
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from av.error import FFmpegError
from torch.utils.data import get_worker_info

from data.errors import DataError, OutOfMemory
from data.sequences import Sequences

T = TypeVar("T")
MOST_WORKERS = 1024
MIN_SAMPLE = 1000  # sequences; of less, a share says little
MAX_CONSECUTIVE = 100  # failures of a process without a success between them
RETRY_DELAYS = (1.0, 5.0, 25.0)  # seconds before another try
TRANSIENT_ERRORS = {
    errno.EIO,
    errno.ESTALE,
    errno.EAGAIN,
    errno.ETIMEDOUT,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
}
log = logging.getLogger(__name__)


# What a mistake in a program raises; libraries raise some of it for damaged files, too.
MISTAKES = (NameError, AttributeError, TypeError, ImportError, AssertionError, NotImplementedError)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")})


def is_mistake(error: Exception) -> bool:
    """Whether an error is of a program, not of a file: of such a kind, and not from inside a
    library.
    """
    if not isinstance(error, MISTAKES):
        return False
    trace = error.__traceback__
    if trace is None:
        return True  # never raised: no library's
    while trace.tb_next is not None:
        trace = trace.tb_next
    ours = trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] in ("codec", "data")
    return ours or not trace.tb_frame.f_code.co_filename.startswith(_LIBRARIES)


class Quarantine:
    """Which sequences have failed and which one each worker is reading, in memory shared by a
    process and its workers.

    Args:
        sequences: all of them.
        worst_share: 0..1, the share that may fail, of those that this process and its workers have
            drawn.
        record: a file to which a line of JSON is appended for each: path, frames, reason, time;
            None keeps no record.
    """

    def __init__(
        self, sequences: Sequences, worst_share: float, record: Path | None = None
    ) -> None:
        self.sequences = sequences
        self.worst_share = worst_share
        self.record = record
        self.failed = torch.zeros(len(sequences), dtype=torch.bool).share_memory_()
        self._in_a_row = 0
        self._reading = (
            torch.tensor([-1, -1, 0]).repeat(MOST_WORKERS, 1).share_memory_()
        )  # process, sequence, how many so far

    @property
    def count(self) -> int:
        """Sequences set aside so far, in all workers."""
        return int(self.failed.sum())

    def first_good(self, first: int, make: Callable[[int], T]) -> T:
        """`make(number)` of sequence `first`, or of the next in the list that does not fail.

        Raises:
            DataError: more than `worst_share` of the sequences have failed, or very many one after
                the other.
        """
        for step in range(len(self.sequences)):
            number = (first + step) % len(self.sequences)
            if self.failed[number]:
                continue
            self.note(number)
            try:
                made = self._with_retries(number, make)
                self._in_a_row = 0
                return made
            except Exception as error:  # damaged files make libraries raise many kinds
                if is_mistake(error):
                    raise
                own = isinstance(error, DataError)
                said = (
                    str(error)
                    if own
                    else f"{self.sequences[number].path}: {type(error).__name__}: {error}"
                )
                self.add(number, said)
            finally:
                self.note(-1)
        label = self.sequences[0].label
        raise DataError(
            f"all {len(self.sequences)} sequences failed, {label} too; give readable videos as "
            "data.root"
        )

    def add(self, number: int, reason: str) -> None:
        """Never draw sequence `number` again; DataError when too many have failed, or very many one
        after the other.
        """
        self.failed[number] = True
        self._in_a_row += 1
        sequence = self.sequences[number]
        if self.record is not None:
            row: dict[str, object] = {
                "path": str(sequence.path),
                "first": sequence.first,
                "frames": sequence.frames,
                "part": sequence.byte_range,
            }
            row |= {"reason": reason, "time": time.strftime("%Y-%m-%dT%H:%M:%S")}
            _append(self.record, row)
        of = min(len(self.sequences), max(MIN_SAMPLE, int(self._reading[:, 2].sum())))
        share = f"{self.count} of {of} sequences"
        if self.count > self.worst_share * of:
            raise DataError(
                f"{share} failed, more than data.worst_share={self.worst_share:g}; the last: "
                f"{reason}"
            )
        if self._in_a_row > MAX_CONSECUTIVE:
            raise DataError(
                f"{self._in_a_row} sequences failed one after the other; is the storage there? The "
                f"last: {reason}"
            )
        log.warning("set aside %s (%s so far)", reason, share)

    def _with_retries(self, number: int, make: Callable[[int], T]) -> T:
        """`make(number)`, tried again where storage or memory, not the file, seems to blame."""
        for wait in RETRY_DELAYS:
            try:
                return make(number)
            except Exception as error:
                cause = error if isinstance(error, OSError) else error.__cause__
                if not isinstance(error, OutOfMemory) and (
                    not isinstance(cause, OSError)
                    or isinstance(cause, FFmpegError)
                    or cause.errno not in TRANSIENT_ERRORS
                ):
                    raise  # ffmpeg calls some damaged files an I/O error
                log.warning("%s; tried again in %g s", error, wait)
                time.sleep(wait)
        return make(number)

    def read_by(self, worker: int) -> tuple[int, int]:
        """Process id of a worker and the number of the sequence that it is reading, -1 for none."""
        process, number, _ = self._reading[worker].tolist()
        return process, number

    def start_worker(self, worker: int) -> None:
        """A reading process takes one thread, and leaves Ctrl-C to the training process, which ends
        its workers itself.
        """
        torch.set_num_threads(1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.note(-1)

    def note(self, number: int) -> None:
        """Leave word of which sequence is being read, -1 for none, for the case that this process
        does not come back.
        """
        info = get_worker_info()
        worker = 0 if info is None else info.id
        self._reading[worker] = torch.tensor(
            [os.getpid(), number, int(self._reading[worker, 2]) + (number >= 0)]
        )


def _append(record: Path, row: dict[str, object]) -> None:
    """One write of one line, so that lines of this node's processes do not mix; no lock."""
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, (json.dumps(row) + "\n").encode())
        finally:
            os.close(handle)
    except OSError as error:
        log.warning(
            "%s: cannot be written (%s); what is set aside is only logged", record, error.strerror
        )
