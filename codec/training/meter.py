"""SpeedMeter: how fast training goes, logged with every row and said in a line at the end of a
stage.
"""

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.flop_counter import FlopCounterMode

from codec.device import device_name, measure_peak, memory_peak, memory_total, reset_memory_peak
from codec.training.clock import DATA, STEP, VALIDATION, PartClock
from codec.training.speed import Speed, summary

_LOWER = {"bf16": torch.bfloat16, "16": torch.float16}  # by the beginning of Lightning's precision


@dataclass(frozen=True)
class _Counts:
    """What had been done at a moment: the time, frames of all processes, and seconds and number of
    the steps that MFU is of.
    """

    at: float
    frames: int = 0
    steps: int = 0
    step_seconds: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)


class SpeedMeter(Callback):
    """Measures frames a second, waits for data, idle time, memory, and the share of the device's
    peak.

    The operations of a training step, forward and backward, are counted once a stage, in its first
    step (again, should that be skipped); counting changes no number of it. They are set against
    large matrix products in the same arithmetic, measured when the first stage begins. Wall time is
    divided by Lightning's own profiling marks. Where other code does a part that Lightning does not
    mark, it says so: `with meter.busy():` validates, `with trainer.profiler.profile("logging"):`
    logs.

    Args:
        workers: reading processes, for advice.
    """

    def __init__(self, workers: int = 0) -> None:
        self.workers = workers
        self.clock = PartClock(self._around_step)
        self.line = ""
        self._module: LightningModule | None = None

    def busy(self) -> AbstractContextManager:
        """Time in which validation runs: not idle."""
        return self.clock.profile(VALIDATION)

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.device, self._module = trainer.strategy.root_device, module
        self.peak = _peak(self.device, precisions_of(str(trainer.precision)))
        reset_memory_peak(self.device)
        trainer.profiler = self.clock
        module.gauges.append(self.numbers)
        self._counter: FlopCounterMode | None = None
        self._operations: int | None = None  # of a step
        self._first_wait = 0.0
        self.clock.restart()
        self._start = self._window = self._now = _Counts(time.perf_counter())

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, index: int
    ) -> None:
        count, length = batch.frames.shape[:2]
        self._first_wait = self._first_wait or self.clock.seconds().get(DATA, 0.0)
        self._now = replace(
            self._now, frames=self._now.frames + count * length * trainer.world_size
        )
        self._skipped, self._step_began = module.skipped, self.clock.seconds().get(STEP, 0.0)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if self._counter:  # it took longer than others
            self._operations = (
                None if module.skipped > self._skipped else self._counter.get_total_flops()
            )
            self._counter = None
            return
        took = self.clock.seconds()[STEP] - self._step_began
        self._now = replace(
            self._now, steps=self._now.steps + 1, step_seconds=self._now.step_seconds + took
        )

    def on_fit_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._leave()
        speed = self._since(self._start)
        self.line = summary(speed)
        module.events.say("speed", self.line, module.codec_steps, **speed.numbers())

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        self._leave()

    def numbers(self) -> dict[str, float]:
        """For a logged row: since the row before."""
        before, self._window = self._window, self._moment()
        return self._since(before).numbers()

    def _leave(self) -> None:
        if self._module and self.numbers in self._module.gauges:
            self._module.gauges.remove(self.numbers)

    def _around_step(self) -> AbstractContextManager:
        if self._operations is not None:
            return nullcontext()
        self._counter = FlopCounterMode(display=False)
        return self._counter

    def _moment(self) -> _Counts:
        return replace(self._now, at=time.perf_counter(), seconds=self.clock.seconds())

    def _since(self, before: _Counts) -> Speed:
        now = self._moment()
        wall, steps, seconds = (
            now.at - before.at,
            now.steps - before.steps,
            now.step_seconds - before.step_seconds,
        )
        return Speed(
            frames_per_s=(now.frames - before.frames) / wall,
            shares={
                part: (value - before.seconds.get(part, 0.0)) / wall
                for part, value in now.seconds.items()
            },
            operations_per_s=(self._operations or 0) * steps / seconds if steps else 0.0,
            peak=self.peak,
            memory=memory_peak(self.device),
            memory_total=memory_total(self.device),
            device=device_name(self.device),
            gpu=self.device.type != "cpu",
            workers=self.workers,
            first_wait=0.0 if before.frames else self._first_wait / wall,
        )


def precisions_of(precision: str) -> tuple[torch.dtype, ...]:
    """What a Trainer's precision, "bf16-mixed" for example, multiplies in; float32 always, as exact
    networks compute in it.
    """
    lower = next((kind for name, kind in _LOWER.items() if precision.startswith(name)), None)
    return (torch.float32,) if lower is None else (lower, torch.float32)


@cache
def _peak(device: torch.device, precisions: tuple[torch.dtype, ...]) -> float:
    return measure_peak(device, precisions)
