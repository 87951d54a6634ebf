"""How points are made: here one by one, here in several processes, or as jobs of a cluster; and how
long that will take.
"""

import multiprocessing
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch

from codec.errors import CodecError
from codec.evaluation.measure import Measure
from codec.evaluation.memory import fitting
from codec.evaluation.orphans import end_with_parent, forked
from codec.evaluation.points.cache import Store
from codec.evaluation.points.task import Task, perform
from common.cluster import LAUNCHERS, run_parts
from common.files import read_pickle, write_pickle
from common.progress import Progress, amount, duration
from common.resources import available_cores, keep_freed_memory

# Seconds of a point and of a pixel in it: coding, decoding and scores on one core of 2023.
LEARNED_GUESS = (2.0, 2e-6)
STANDARD_GUESS = (0.3, 4e-7)


@dataclass(frozen=True)
class Running:
    """How an evaluation is run; its result does not depend on it, times apart.

    Attributes:
        jobs: points that are made at once, each in a process; None: a core each, on an accelerator
            one.
        threads: of torch in every process. Always the same, as the last digits of a float may
            depend on it.
        launcher: "local", or "slurm" for jobs of a cluster.
        slurm: `parts`, the jobs that the points are divided among; `at_once`, how many of them run;
            and options of submitit.
        cache: folder of the store; None: `default_folder()`; False: nothing is kept.
        complexity: measure what coding costs, too, one codec after the other.
    """

    jobs: int | None = 1
    threads: int = 1
    launcher: str = "local"
    slurm: dict[str, Any] = field(default_factory=dict)
    cache: str | Path | bool | None = None
    complexity: bool = False

    def __post_init__(self) -> None:
        for name in ("jobs", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise CodecError(f"{name}: {value}; give 1 or more")
        if self.launcher not in LAUNCHERS:
            raise CodecError(
                f"launcher: {self.launcher!r} is unknown; choose one of {', '.join(LAUNCHERS)}"
            )

    def jobs_on(self, device: str) -> int:
        """Points made at once, before memory is looked at."""
        if self.jobs is not None:
            return self.jobs
        return available_cores() if device == "cpu" else 1


def run_here(
    tasks: Sequence[Task], measure: Measure, store: Store, jobs: int, threads: int
) -> None:
    """Make points on this machine; those that are finished stay when one fails.

    Raises:
        CodecError, DataError: of the first point that failed; or a process died.
    """
    jobs = min(jobs, len(tasks))
    with shown_progress(tasks, store, jobs) as done:
        if jobs <= 1:
            with torch_threads(threads):
                for task in tasks:
                    done(task, timed(task, measure, store))
        else:
            _run_in_processes(tasks, measure, store, jobs, threads, done)


def timed(task: Task, measure: Measure, store: Store) -> float:
    """Make a point; the seconds it took."""
    start = time.monotonic()
    perform(task, measure, store)
    return time.monotonic() - start


def run_on_cluster(
    tasks: Sequence[Task], measure: Measure, store: Store, running: Running, needed: int
) -> None:
    """Divide the points among jobs of a cluster, whose nodes see the store, and wait for all of
    them.

    Args:
        needed: bytes a point may take; it limits how many a job makes at once.

    Raises:
        DataError: the cluster refuses, or jobs failed, each with its log; the points of the others
            are kept.
    """
    options = {"parts": 8, "at_once": 8, "cpus_per_task": running.jobs or 1, **running.slurm}
    parts, at_once = min(options.pop("parts"), len(tasks)), options.pop("at_once")
    jobs = min(running.jobs or options["cpus_per_task"], options["cpus_per_task"])
    with store.workplace() as folder:
        content = folder / "evaluation.pickle"
        write_pickle(content, (tasks, measure, store, jobs, running.threads, needed))
        run_parts(
            run_part,
            [(content, part, parts) for part in range(parts)],
            running.launcher,
            store.logs,
            at_once,
            **options,
        )


def run_part(content: Path, part: int, parts: int) -> None:
    """In a job of a cluster: every so many of the points, so that slow codecs are spread."""
    keep_freed_memory()
    tasks, measure, store, jobs, threads, needed = read_pickle(content)
    run_here(tasks[part::parts], measure, store, fitting(jobs, needed, measure.device), threads)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch have so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def shown_progress(
    tasks: Sequence[Task], store: Store, jobs: int
) -> Iterator[Callable[[Task, float], None]]:
    """Say about how long the points will take, and how far they are; what it gives is told of each
    and its seconds.
    """
    forecast, last = Forecast(tasks, store, jobs), ""
    sure = (
        "a guess until each codec has made a point"
        if forecast.is_a_guess()
        else "as these codecs took before"
    )
    print(
        f"about {duration(forecast.seconds())} with {jobs} at once, {sure}",
        file=sys.stderr,
        flush=True,
    )
    with Progress(
        "evaluate", len(tasks), "point", left=forecast.seconds_once_measured, note=lambda: last
    ) as progress:

        def done(task: Task, seconds: float) -> None:
            nonlocal last
            last = f"last: {task.title}"
            forecast.made(task, seconds)
            progress.update()

        yield done


def _run_in_processes(
    tasks: Sequence[Task],
    measure: Measure,
    store: Store,
    jobs: int,
    threads: int,
    done: Callable[[Task, float], None],
) -> None:
    before = set(multiprocessing.active_children())
    with store.workplace() as folder:
        content = folder / "measure.pickle"
        write_pickle(content, (measure, store))
        pool = ProcessPoolExecutor(jobs, forked(), _begin, (content, threads))
        try:
            futures = {pool.submit(_perform, task): task for task in tasks}
            for future in as_completed(futures):
                done(futures[future], _answer(future))
            pool.shutdown()
        except (Exception, KeyboardInterrupt) as error:
            stopped = isinstance(error, KeyboardInterrupt | BrokenProcessPool)
            for process in set(multiprocessing.active_children()) - before if stopped else ():
                process.terminate()
            pool.shutdown(cancel_futures=True)
            raise


def _answer(future: Future[float]) -> float:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise CodecError(
            f"evaluation: a process died ({error}); is there memory enough? Give fewer jobs="
        ) from error


def _begin(content: Path, threads: int) -> None:
    """In a new process."""
    end_with_parent()
    keep_freed_memory()
    torch.set_num_threads(threads)
    _PROCESS["measure"], _PROCESS["store"] = read_pickle(content)


_PROCESS: dict[str, Any] = {}


def _perform(task: Task) -> float:
    return timed(task, _PROCESS["measure"], _PROCESS["store"])


class Forecast:
    """Seconds that are left, by what a codec took for a pixel on other clips and qualities.

    A codec of which no point is made yet takes what it took in earlier evaluations that used this
    store, or else a guess, corrected by what points of other codecs took here.

    Args:
        tasks: all that are to be made.
        store: remembers what codecs took.
        jobs: points that are made at once.
    """

    def __init__(self, tasks: Sequence[Task], store: Store, jobs: int) -> None:
        self._left = {task.stream_key: task for task in tasks}
        self._store, self._jobs = store, jobs
        self._took: dict[str, list[float]] = defaultdict(list)  # seconds a pixel, by codec
        self._seconds = self._guessed = 0.0  # of all points that were made
        self._known = {name: store.read("speeds", name) for name in {_name(task) for task in tasks}}

    def made(self, task: Task, seconds: float) -> None:
        """A point is made, and took so long."""
        del self._left[task.stream_key]
        took = self._took[_name(task)]
        took.append(seconds / task.pixels)
        self._seconds, self._guessed = self._seconds + seconds, self._guessed + _guess(task)
        self._store.write("speeds", _name(task), self._measured(task))

    def seconds(self) -> float:
        """That are left, of the wall clock."""
        work = sum(self._seconds_of(task) for task in self._left.values())
        return work / max(1, min(self._jobs, len(self._left)))

    def is_a_guess(self) -> bool:
        """Whether there is a codec of which nothing is known."""
        names = {_name(task) for task in self._left.values()}
        return any(not self._took[name] and not self._known[name] for name in names)

    def seconds_once_measured(self) -> float | None:
        """None until a point is made: a guess need not be said twice."""
        return self.seconds() if self._seconds else None

    def _seconds_of(self, task: Task) -> float:
        if self._took[_name(task)]:
            return task.pixels * self._measured(task)
        if known := self._known[_name(task)]:
            return task.pixels * known
        return _guess(task) * (self._seconds / self._guessed if self._guessed else 1.0)

    def _measured(self, task: Task) -> float:
        """Seconds a pixel; the first point of a codec loads and compiles what the others have."""
        took = self._took[_name(task)]
        return median(took[1:] or took)


def _guess(task: Task) -> float:
    start, pixel = LEARNED_GUESS if getattr(task.coder, "device", None) else STANDARD_GUESS
    return start + pixel * task.pixels


def _name(task: Task) -> str:
    """Of a codec, as a file may be called; tunings take as long as each other."""
    return "".join(
        letter if letter.isalnum() or letter in "-_" else "_" for letter in task.coder.name
    )


def plan_line(tasks: Sequence[Task], missing: Sequence[Task]) -> str:
    """What will be done: `evaluate: 24 points of 2 codecs on 2 clips, 4 of them kept from before,
    20 to make`.
    """
    codecs = amount(len({task.coder.name for task in tasks}), "codec")
    clips = amount(len({id(task.clip) for task in tasks}), "clip")
    kept = f"{len(tasks) - len(missing)} of them kept from before"
    return (
        f"evaluate: {amount(len(tasks), 'point')} of {codecs} on {clips}, {kept}, {len(missing)} "
        "to make"
    )
