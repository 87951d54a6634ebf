"""Running the parts of a long job: one after the other here, or as an array on a cluster."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from common.errors import CorvidError
from common.files import make_private
from common.progress import Progress

if TYPE_CHECKING:
    import submitit

T = TypeVar("T")
LAUNCHERS = ("local", "slurm")
POLL = 0.5  # seconds at first between looks at the jobs
LONGEST_POLL = 10.0
log = logging.getLogger(__name__)


def run_parts(
    function: Callable[..., T],
    arguments_by_part: Sequence[tuple[Any, ...]],
    launcher: str,
    folder: Path | str,
    at_once: int = 1,
    **slurm: Any,
) -> list[T]:
    """Run `function(*arguments)` for every part in a process of its own, and wait for all of them.

    Nothing is run a second time: a part that fails is reported when the others are done. If this
    process is interrupted, so are local parts, and the array on the cluster is cancelled.

    Args:
        function: importable by name; it and its arguments are pickled.
        arguments_by_part: a tuple a part.
        launcher: "local" runs them on this machine, "slurm" submits one array.
        folder: for logs and answers, one of each a part; on a cluster all nodes must see it.
        at_once: parts that run at the same time.
        slurm: options of submitit, without their prefix: `partition="cpu"`, `time=600` (minutes),
            `cpus_per_task=16`, `mem="32GB"`, `additional_parameters={"qos": "low"}`.

    Returns:
        The answers, in the order of the parts.

    Raises:
        CorvidError: the launcher is unknown or not installed; the cluster refuses the array; some
            parts failed, each with its log.
    """
    if at_once < 1:
        raise CorvidError(f"at_once={at_once}; give 1 or more")
    executor = _executor(launcher, folder=Path(folder), at_once=at_once, slurm=slurm)
    return _answers(
        _ended(
            executor, function=function, parts=arguments_by_part, launcher=launcher, at_once=at_once
        )
    )


def _ended(
    executor: submitit.Executor,
    function: Callable[..., T],
    parts: Sequence[tuple[Any, ...]],
    launcher: str,
    at_once: int,
) -> list[submitit.Job[T]]:
    """A job a part, all of them done; when we are interrupted, so are they."""
    jobs: list[submitit.Job[T]] = []
    try:
        with Progress(f"{launcher} parts", len(parts), "part") as progress:
            if launcher == "slurm":
                jobs += _submitted(executor, function, parts)
            else:
                for arguments in parts:
                    _wait(jobs, at_once - 1, progress)
                    jobs.append(executor.submit(function, *arguments))
            _wait(jobs, 0, progress)
    except BaseException:
        for job in jobs:
            if not job.done():
                job.cancel()
        raise
    return jobs


def _said(error: BaseException) -> str:
    """The last line of the trace that submitit quotes between dashes, or else the first of its
    message.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [
        type(error).__name__
    ]
    dashes = [number for number, line in enumerate(lines) if set(line) == {"-"}]
    return lines[dashes[-1] - 1] if len(dashes) > 1 else lines[0]


def _executor(
    launcher: str, folder: Path, at_once: int, slurm: dict[str, Any]
) -> submitit.Executor:
    if launcher not in LAUNCHERS:
        raise CorvidError(f"launcher={launcher!r} is unknown; choose one of {', '.join(LAUNCHERS)}")
    try:
        import submitit

        logging.getLogger("submitit").setLevel(
            logging.ERROR
        )  # it warns at every look when SLURM keeps no accounts
    except ImportError as error:
        raise CorvidError(
            "launcher: submitit is not installed; run pip install 'corvid[cluster]'"
        ) from error
    try:
        make_private(folder)  # of pickles, which run what they say
        executor = submitit.AutoExecutor(
            folder=folder / "%j", cluster=launcher, **_retries(launcher)
        )
        if launcher == "slurm":
            executor.update_parameters(
                slurm_array_parallelism=at_once, **{f"slurm_{name}": slurm[name] for name in slurm}
            )
        else:
            executor.update_parameters(
                timeout_min=60 * 24 * 365
            )  # of submitit's own watch; files have their own
    except (RuntimeError, TypeError, NameError, ValueError, OSError) as error:
        raise CorvidError(
            f"launcher={launcher}: {str(error).strip()}; correct the options, or take "
            "launcher=local"
        ) from error
    return executor


def _retries(launcher: str) -> dict[str, int]:
    """Not to be submitted again after a timeout without a word."""
    return {"slurm_max_num_timeout": 0} if launcher == "slurm" else {}


def _submitted(
    executor: submitit.Executor, function: Callable[..., T], parts: Sequence[tuple[Any, ...]]
) -> list[submitit.Job[T]]:
    import submitit

    try:
        return executor.map_array(function, *zip(*parts, strict=True))
    except (submitit.core.utils.FailedJobError, RuntimeError, OSError) as error:
        raise CorvidError(
            f"launcher=slurm: the cluster refuses the array ({str(error).strip()}); correct its "
            "options"
        ) from error


def _wait(jobs: Sequence[submitit.Job[T]], most: int, progress: Progress) -> None:
    """Until at most so many are not done."""
    pause = POLL
    while True:
        running = sum(not job.done() for job in jobs)
        if ended := len(jobs) - running - progress.done:
            progress.update(ended)
        if running <= most:
            return
        time.sleep(pause)
        pause = min(LONGEST_POLL, 1.5 * pause)


def _answers(jobs: Sequence[submitit.Job[T]]) -> list[T]:
    answers = []
    failures = []
    for number, job in enumerate(jobs, 1):
        error = job.exception()
        if error is None:
            answers.append(job.result())
            continue
        failures.append(f"part {number}: {_said(error)} (log {job.paths.stderr})")
    if failures:
        lines = "\n  ".join(
            failures[:20] + ([f"and {len(failures) - 20} more"] if len(failures) > 20 else [])
        )
        raise CorvidError(
            f"{len(failures)} of {len(jobs)} parts failed; mend the cause and run the same command "
            f"again:\n  {lines}"
        )
    return answers
