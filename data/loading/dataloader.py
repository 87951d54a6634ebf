"""ClipLoader: batches in order from reading processes, which are started again when they die or
hang.
"""

import logging
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from torch.utils.data import DataLoader

from data.errors import DataError
from data.io.color import compile_kernels
from data.loading.clip import Clip, join_clips
from data.loading.dataset import ClipDataset
from data.loading.samplers import ClipBatchSampler
from data.loading.stream import ShardStream

DYING = 1.0  # seconds until a process that was killed counts as dead
log = logging.getLogger(__name__)


class ClipLoader:
    """Batches of a `ClipDataset` or a `ShardStream`, the same ones whatever happens to the workers.

    A worker that gives no batch for `patience` seconds is ended. One that ends, by this or by
    itself, is reported with what it was reading, and all workers are started again at the batch
    that is missing. A sequence at which this happens twice is set aside as a fault.

    Args:
        clips: where samples come from.
        batches: which samples make up which batch; of a stream, only how many and how large.
        workers: reading processes; 0 reads in this process, where nothing can be started again.
        patience: seconds without a batch after which a worker hangs.
        most_restarts: starts in a row, without a batch between them, before DataError.
        start_method: "fork", "forkserver" or "spawn".
        prefetch: batches that each worker reads ahead.
        pin_memory: batches come in page-locked memory, from which a GPU takes them faster.
    """

    def __init__(
        self,
        clips: ClipDataset | ShardStream,
        batches: ClipBatchSampler,
        workers: int = 0,
        patience: float = 300,
        most_restarts: int = 5,
        start_method: str = "fork",
        prefetch: int = 2,
        pin_memory: bool = False,
    ) -> None:
        self.clips = clips
        self.batches = batches
        self.workers = workers
        self.patience = patience
        self.most_restarts = most_restarts
        self.start_method = start_method
        self.prefetch = prefetch
        self.pin_memory = pin_memory
        self.restarts = 0
        self._suspects: set[int] = set()
        self._hung: set[int] = set()
        self._processes: list[int] = []  # of the workers, in their order

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Clip]:
        done = in_a_row = 0
        while done < len(self.batches):
            try:
                for clip in self._from_workers(done):
                    done = done + 1
                    in_a_row = 0
                    yield clip
            except DataError as error:
                raise DataError(
                    str(error).rpartition("DataError: ")[2].strip()
                ) from None  # without the worker's traceback
            except RuntimeError as error:
                if "DataLoader worker (pid" not in str(error):
                    raise
                in_a_row += 1
                self._report(error, in_a_row)

    def _from_workers(self, done: int) -> Iterator[Clip]:
        if self.workers and self.start_method == "fork":
            compile_kernels()  # once, for all workers
        with _deaths_are_asked_for():
            remaining = iter(self._dataloader(done))
        self._processes = [worker.pid for worker in getattr(remaining, "_workers", [])]
        for number in range(len(self.batches) - done):
            watch = threading.Timer(self.patience, self._end_late, [number % max(1, self.workers)])
            watch.daemon = True
            if self.workers:
                watch.start()
            try:
                clip = next(remaining)
            except (
                OSError,
                EOFError,
            ) as error:  # a batch that waits is fetched from its worker, which may be gone by then
                time.sleep(DYING)
                lost = [
                    str(worker.pid)
                    for worker in getattr(remaining, "_workers", [])
                    if not worker.is_alive()
                ]
                if not lost:
                    raise
                raise RuntimeError(
                    f"DataLoader worker (pid(s) {', '.join(lost)}) died with a batch"
                ) from error
            finally:
                watch.cancel()
            yield clip

    def _dataloader(self, done: int) -> DataLoader[Clip]:
        """What is left behind the first `done` batches."""
        if isinstance(self.clips, ShardStream):
            several: dict[str, Any] = dict(
                dataset=self.clips.after(done), batch_size=self.batches.batch
            )
        else:
            several = dict(dataset=self.clips, batch_sampler=self.batches.after(done))
        if self.workers:
            several |= dict(
                prefetch_factor=self.prefetch, multiprocessing_context=self.start_method
            )
        return DataLoader(
            num_workers=self.workers,
            collate_fn=join_clips,
            pin_memory=self.pin_memory,
            worker_init_fn=self.clips.quarantine.start_worker,
            **several,
        )

    def _end_late(self, worker: int) -> None:
        """End the worker whose turn it is; SIGKILL, as it may be stuck where a polite signal does
        not reach.
        """
        self._hung.add(self._processes[worker])
        with suppress(ProcessLookupError):
            os.kill(self._processes[worker], signal.SIGKILL)

    def _report(self, error: RuntimeError, in_a_row: int) -> None:
        """Say which workers were lost at what, and set aside what was being read when it happens
        again there.
        """
        self.restarts += 1
        lost = {int(number) for number in re.findall(r"\d+", str(error).partition("pid")[2])}
        words = []
        for worker, process in enumerate(self._processes):
            if process not in lost:
                continue
            noted, number = self.clips.quarantine.read_by(worker)
            number = number if noted == process else -1
            what = str(self.clips.sequences[number].path) if number >= 0 else "no file"
            end = f"gave nothing for {self.patience:g} s" if process in self._hung else "died"
            words.append(f"{what}: the worker reading it (process {process}) {end}")
            if number in self._suspects:
                self.clips.quarantine.add(number, f"{words[-1]}, for the second time")
            elif number >= 0:
                self._suspects.add(number)
        said = "; ".join(words) or str(error)
        log.warning("%s; the workers are started again (%d times so far)", said, self.restarts)
        if in_a_row > self.most_restarts:
            raise DataError(
                f"data.workers={self.workers}: {said}, {in_a_row} times in a row; look for the "
                "out-of-memory killer, a full "
                "/dev/shm or a disk that does not answer, or use data.workers=0"
            ) from error


@contextmanager
def _deaths_are_asked_for() -> Iterator[None]:
    """Keep torch from raising a worker's death wherever training happens to be, in the middle of a
    step for instance.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)
