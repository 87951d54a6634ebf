"""Scanning many files at once, so that one that crashes or hangs a decoder costs itself only."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait

from pebble import ProcessExpired, ProcessPool

from common.progress import Progress
from data.errors import REPAIR, DataError
from data.index.options import ScanOptions
from data.index.scan import Scan, rejected, scan
from data.index.source_files import Source, stamp_of

AHEAD = 4  # files handed out for each worker
TASKS = 500  # files after which a worker is replaced, against leaks in libraries
# a file may take; 4K HEVC takes 1.5 s/MB on one core
SECONDS = 120.0
SECONDS_PER_MB = 10.0
log = logging.getLogger(__name__)


def scan_all(
    sources: list[Source], options: ScanOptions, workers: int, keep: Callable[[Scan], None]
) -> None:
    """Scan files in processes of their own, in any order; a `Progress` shows how far it is.

    Args:
        sources: what to scan.
        options: of `scan`.
        workers: processes.
        keep: called with every answer as it comes.
    """
    todo = iter(sources)
    pending: dict[Future[Scan], Source] = {}
    context = multiprocessing.get_context(
        "fork"
    )  # nothing but the answer is shared; spawn would import all that the command did
    counts = _Counts()
    shown = Progress("index", len(sources), "file", note=counts.text)
    with ProcessPool(workers, max_tasks=TASKS, context=context) as pool, shown as progress:
        try:
            while True:
                for source in _some(todo, AHEAD * workers - len(pending)):
                    pending[pool.schedule(scan, [source, options], timeout=_patience(source))] = (
                        source
                    )
                if not pending:
                    return
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    answer = _answer(future, pending.pop(future))
                    keep(answer)
                    counts.count(answer)
                    progress.update()
        except BaseException:
            pool.stop()
            raise


def _answer(future: Future[Scan], source: Source) -> Scan:
    """What a worker found, or why there is nothing: a busy node or too little memory may be to
    blame, so that has no stamp.
    """
    path = source.sequence.path
    try:
        return future.result()
    except TimeoutError:
        message = f"{path}: the decoder did not finish in {_patience(source):.0f} s; {REPAIR}"
    except ProcessExpired as error:
        message = f"{path}: the decoder crashed (exit code {error.exitcode}); {REPAIR}"
    except Exception as error:
        # whatever a library raises for one file must not end the run; the row in the report says it
        log.warning("%s: %s: %s", path, type(error).__name__, error)
        message = (
            f"{path}: failed with {type(error).__name__}: {str(error).replace('; ', ', ')}; "
            f"{REPAIR}, or report this"
        )
    return rejected(source, None, message)


def _some(todo: Iterable[Source], count: int) -> Iterable[Source]:
    return (source for _, source in zip(range(count), todo, strict=False))


def _patience(source: Source) -> float:
    try:
        return SECONDS + SECONDS_PER_MB * stamp_of(source.sequence.path).bytes / 1e6
    except DataError:  # the scan says so too
        return SECONDS


class _Counts:
    """Sequences and hours that were found, and files that were rejected."""

    def __init__(self) -> None:
        self._sequences = self._rejected = 0
        self._hours = 0.0

    def count(self, scan: Scan) -> None:
        """One more file."""
        self._sequences += len(scan.rows)
        self._hours += (
            sum(row["frames"] * row["fps_den"] / row["fps_num"] for row in scan.rows) / 3600
        )
        self._rejected += not scan.rows

    def text(self) -> str:
        """For people."""
        return f"{self._sequences} sequences, {self._hours:.1f} h, {self._rejected} files rejected"
