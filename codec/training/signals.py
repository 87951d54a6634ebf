"""SIGTERM and SIGUSR1, which clusters send before a job's time is up: the step is finished, a checkpoint kept, the run left."""

import signal
from types import FrameType

from pytorch_lightning import Callback, LightningModule, Trainer

ASK_TO_STOP = (signal.SIGTERM, signal.SIGUSR1)


class StopOnSignal(Callback):
    """Remembers that a signal came.

    To be used around training: `with StopOnSignal() as stop`, and as the first callback. The training module asks for `wanted` at
    every step, agrees with the other processes, and raises `Stopped` after all callbacks have seen the step.

    Attributes:
        wanted: name of the signal that came, or "".
    """

    def __init__(self) -> None:
        self.wanted = ""

    def __enter__(self) -> "StopOnSignal":
        self._before = {number: signal.getsignal(number) for number in ASK_TO_STOP}
        self._listen()
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._listen()  # again in every stage: Lightning takes SIGTERM for itself

    def _listen(self) -> None:
        for number in ASK_TO_STOP:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.wanted = signal.Signals(number).name
