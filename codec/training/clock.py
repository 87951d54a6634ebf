"""PartClock: where the wall time of training goes."""

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache

from pytorch_lightning.profilers import PassThroughProfiler

STEP, VALIDATION, DATA, CHECKPOINTS, LOGGING, OTHER = (
    "step",
    "validation",
    "data",
    "checkpoints",
    "logging",
    "other",
)
_NAMED = {"run_training_batch": STEP, "KeepCheckpoints": CHECKPOINTS}
_NAMED |= {part: part for part in (VALIDATION, CHECKPOINTS, LOGGING)}


class PartClock(PassThroughProfiler):
    """Seconds by part of training, by what Lightning and `trainer.profiler.profile(PART)` say
    begins and ends.

    Parts are `step`, `validation`, `data` (waiting for a batch), `checkpoints`, `logging`, each
    other callback under its class's name, and `other`. A part inside another counts as the inner
    one alone, so that the sum is the wall time.

    Args:
        around_step: gives a context that every training step runs in.
    """

    def __init__(self, around_step: Callable[[], AbstractContextManager] = nullcontext) -> None:
        super().__init__()
        self.around_step = around_step
        self._around: AbstractContextManager = nullcontext()
        self._open = [OTHER]
        self.restart()

    def restart(self) -> None:
        """Count from zero; what is under way goes on."""
        self._seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def seconds(self) -> dict[str, float]:
        """By part, until now."""
        self._count()
        return dict(self._seconds)

    def start(self, action_name: str) -> None:
        if part := part_of(action_name):
            self._count()
            self._open.append(part)
        if part == STEP:
            self._around = self.around_step()
            self._around.__enter__()

    def stop(self, action_name: str) -> None:
        if part := part_of(action_name):
            self._count()
            self._open.pop()
        if part == STEP:
            self._around.__exit__(None, None, None)

    def _count(self) -> None:
        now, part = time.perf_counter(), self._open[-1]
        self._seconds[part] = self._seconds.get(part, 0.0) + now - self._since
        self._since = now


@cache
def part_of(action: str) -> str:
    """The part that an action of Lightning's profilers belongs to; "" where it makes no part of its
    own.
    """
    if action.endswith(".train_dataloader_next"):
        return DATA
    callback = re.match(r"\[Callback\](\w+)", action)
    name = callback[1] if callback else action
    return _NAMED.get(name, callback[1] if callback else "")
