"""SIGTERM and SIGUSR1, which clusters send before a job's time is up: the step is finished, a
checkpoint kept, the run left.
"""

import os
import signal
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from codec.training.stopped import ASK_TO_STOP, EndInTime, stop_early


class StopOnSignal(Callback):
    """Remembers that a signal came; before the end of the first step, stops at once.

    To be used around training: `with StopOnSignal() as stop`, and as the first callback. The
    training module asks for `wanted` at every step, agrees with the other processes, and raises
    `Stopped` after all callbacks have seen the step. Until the first step is done there is nobody
    to agree with and nothing to keep: `StoppedEarly` is raised where the signal finds the process,
    which ends in seconds even where it waits in a library.

    Attributes:
        wanted: name of the signal that came, or "".
    """

    def __init__(self) -> None:
        self.wanted = ""
        self._begun, self._process = False, os.getpid()

    def __enter__(self) -> "StopOnSignal":
        self._before = {number: signal.getsignal(number) for number in ASK_TO_STOP}
        self._end_in_time = EndInTime()
        self._listen()
        return self

    def __exit__(self, *error: object) -> None:
        self._end_in_time.disarm()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._listen()  # again in every stage: Lightning takes SIGTERM for itself

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        self._begun = True
        self._end_in_time.disarm()

    def _listen(self) -> None:
        for number in ASK_TO_STOP:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        first, self.wanted = not self.wanted, signal.Signals(number).name
        if (
            first and not self._begun and os.getpid() == self._process
        ):  # a forked data worker leaves it to its parent
            stop_early(number)
