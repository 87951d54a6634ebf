"""How fast training goes, where its time goes, and what to change first.

Lightning's `ThroughputMonitor` knows neither how long steps wait for data nor the peak of any
device but NVIDIA's larger ones, and its `SimpleProfiler` keeps every duration of a run of a million
steps. So a stopwatch says where the time goes; a profile of what Lightning marks is
`debug=profile`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import Callback, Trainer
from torch.utils.flop_counter import FlopCounterMode

from codec.device import device_name, measure_peak, memory_peak, memory_total, reset_memory_peak

if TYPE_CHECKING:
    from codec.training.module import CodecTraining

# Parts of the time of training.
STEP = "step"
VALIDATION = "validation"
DATA = "data"
CHECKPOINTS = "checkpoints"
LOGGING = "logging"
OTHER = "other"

MOST_WAIT, MOST_IDLE, MOST_VALIDATION = 0.05, 0.10, 0.25  # of the wall time
FULL, ROOMY = 0.90, 0.50  # of the memory
LOW_MFU = 0.10  # of what the device can
_REMEDIES = {
    CHECKPOINTS: "raise checkpoint_every, or write them to a faster disk",
    LOGGING: "raise training.log_every, or wandb=offline",
    OTHER: "work between steps: larger batches; debug=profile says which callback",
}
_LOWER = {"bf16": torch.bfloat16, "16": torch.float16}  # by the beginning of Lightning's precision


class Stopwatch:
    """Seconds by part of training: one part is under way at a time, so that their sum is the wall
    time.
    """

    def __init__(self) -> None:
        self._part = OTHER
        self.restart()

    def restart(self) -> None:
        """Count from zero; what is under way goes on."""
        self._seconds: dict[str, float] = {}
        self._since = perf_counter()

    def switch(self, part: str) -> None:
        """From now on it is `part`."""
        now = perf_counter()
        self._seconds[self._part] = self._seconds.get(self._part, 0.0) + now - self._since
        self._since = now
        self._part = part

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """What is done within is `part`; then the part from before goes on."""
        before = self._part
        self.switch(part)
        try:
            yield
        finally:
            self.switch(before)

    def seconds(self) -> dict[str, float]:
        """By part, until now."""
        self.switch(self._part)
        return dict(self._seconds)


@dataclass(frozen=True)
class Throughput:
    """What a stretch of training made of its time and its device; of one process, but for the
    frames.

    Attributes:
        frames_per_s: frames of all processes, by wall time.
        shares: of the wall time, by part (`Stopwatch`); they add up to 1.
        operations_per_s: of convolutions and matrix products, while a step runs; 0 when not known.
        peak: operations a second that the device can.
        memory, memory_total: bytes, the most that was held and what there is.
        device: its name.
        gpu: whether it is one.
        workers: reading processes.
        first_wait: share of the wall time spent waiting for a stage's first batch, which is part of
            the wait for data.
    """

    frames_per_s: float
    shares: dict[str, float]
    operations_per_s: float
    peak: float
    memory: int
    memory_total: int
    device: str
    gpu: bool
    workers: int = 0
    first_wait: float = 0.0

    @property
    def data_wait(self) -> float:
        """Share of the wall time spent waiting for a batch."""
        return self.shares.get(DATA, 0.0)

    @property
    def idle(self) -> float:
        """Share of the wall time in which neither a step nor a validation ran."""
        return sum(share for part, share in self.shares.items() if part not in (STEP, VALIDATION))

    @property
    def mfu(self) -> float:
        """Share of the peak that steps reach; what activation checkpointing computes twice counts
        twice.
        """
        return self.operations_per_s / self.peak if self.peak else 0.0

    def numbers(self) -> dict[str, float]:
        """For logs; shares are 0..1."""
        found = {
            "frames_per_s": self.frames_per_s,
            "data_wait": self.data_wait,
            "idle": self.idle,
            "memory_mb": self.memory / 1e6,
        }
        if self.mfu:
            found["mfu"] = self.mfu
        return {f"speed/{name}": round(value, 4) for name, value in found.items()}


def summary(throughput: Throughput) -> str:
    """One line: the figures, and `advice` where there is some."""
    figures = f"speed: {throughput.frames_per_s:.1f} frames/s, "
    if throughput.mfu:
        reached = _of_peak(throughput.operations_per_s, throughput.peak)
        figures += f"{throughput.mfu:.1%} of what this {throughput.device} can ({reached}), "
    figures += f"data wait {throughput.data_wait:.1%}, idle {throughput.idle:.1%}, "
    figures += f"{throughput.memory / 1e9:.1f} GB"
    change = advice(throughput)
    return f"{figures}; {change}" if change else figures


def advice(throughput: Throughput) -> str:
    """What to change first; "" where nothing stands out."""
    if throughput.data_wait > MOST_WAIT:
        if throughput.data_wait - throughput.first_wait <= MOST_WAIT:
            return (
                f"workers start and open clips for {throughput.first_wait:.1%} of the time: longer "
                "stages, or less data.hold_mb"
            )
        how = (
            "data.workers=1 or more"
            if throughput.workers == 0
            else f"more data.workers than {throughput.workers}"
        )
        return f"steps wait for data: {how}, or pack the clips (corvid data pack)"
    if throughput.idle > MOST_IDLE:
        rest = {
            part: share
            for part, share in throughput.shares.items()
            if part not in (STEP, VALIDATION, DATA)
        }
        part, share = max(rest.items(), key=lambda item: item[1])
        return f"{part} takes {share:.1%} of the time: {_REMEDIES[part]}"
    filled = throughput.memory / throughput.memory_total
    if filled > FULL:
        return f"memory is {filled:.0%} full: a smaller batch or activation checkpointing"
    if throughput.shares.get(VALIDATION, 0.0) > MOST_VALIDATION:
        return (
            f"validation takes {throughput.shares[VALIDATION]:.1%} of the time: raise the stage's "
            "validate_every"
        )
    if 0 < throughput.mfu < LOW_MFU and filled < ROOMY:
        return "the device is hardly used: a larger batch"
    if 0 < throughput.mfu < LOW_MFU and throughput.gpu:  # on CPUs it was measured to gain nothing
        return "the device is hardly used: training.compile=true"
    return ""


def _of_peak(operations: float, peak: float) -> str:
    """Both in the peak's unit, to three digits at most."""
    units = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))
    factor, prefix = next((unit for unit in units if peak >= unit[0]), units[-1])
    return f"{operations / factor:.3g} of {peak / factor:.3g} {prefix}FLOP/s"


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


class ThroughputMeter(Callback):
    """Measures frames a second, waits for data, idle time, memory, and the share of the device's
    peak (model FLOPs utilisation, MFU).

    It is to be the first callback: a step ends where its `on_train_batch_end` is called. The
    module's stopwatch says what other time is spent on.

    The operations of a training step, forward and backward, are counted once a stage, in its first
    step (again, should that be skipped); counting changes no number of it. They are set against
    large matrix products in the same arithmetic, measured when the first stage begins.

    Args:
        workers: reading processes, for advice.
    """

    def __init__(self, workers: int = 0) -> None:
        self.workers = workers
        self.line = ""
        self._module: CodecTraining | None = None
        self._counter: FlopCounterMode | None = None
        self._operations: int | None = None  # of a step

    def on_fit_start(self, trainer: Trainer, module: "CodecTraining") -> None:
        self.device = trainer.strategy.root_device
        self.peak = _peak(self.device, precisions_of(str(trainer.precision)))
        self._module = module
        self._first_wait = 0.0
        reset_memory_peak(self.device)
        module.gauges.append(self.numbers)
        self._stopwatch = module.stopwatch
        self._stopwatch.restart()
        self._start = self._window = self._now = _Counts(perf_counter())

    def on_train_batch_start(
        self, trainer: Trainer, module: "CodecTraining", batch: Any, index: int
    ) -> None:
        seconds = module.stopwatch.seconds()
        self._first_wait = self._first_wait or seconds.get(DATA, 0.0)
        self._step_began = seconds.get(STEP, 0.0)
        self._skipped = module.skipped
        clips, length = batch.frames.shape[:2]
        frames = self._now.frames + clips * length * trainer.world_size
        self._now = replace(self._now, frames=frames)
        if self._operations is None:
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()
        module.stopwatch.switch(STEP)

    def on_train_batch_end(
        self, trainer: Trainer, module: "CodecTraining", outputs: Any, batch: Any, index: int
    ) -> None:
        module.stopwatch.switch(OTHER)
        if self._counter:  # it took longer than others
            operations = self._counter.get_total_flops()
            self._stop_counting()
            self._operations = None if module.skipped > self._skipped else operations
            return
        took = module.stopwatch.seconds()[STEP] - self._step_began
        self._now = replace(
            self._now, steps=self._now.steps + 1, step_seconds=self._now.step_seconds + took
        )

    def on_fit_end(self, trainer: Trainer, module: "CodecTraining") -> None:
        self._leave()
        throughput = self._since(self._start)
        self.line = summary(throughput)
        module.events.say("speed", self.line, module.global_step, **throughput.numbers())

    def on_exception(
        self, trainer: Trainer, module: "CodecTraining", exception: BaseException
    ) -> None:
        self._leave()

    def numbers(self) -> dict[str, float]:
        """For a logged row: since the row before."""
        before, self._window = self._window, self._moment()
        return self._since(before).numbers()

    def _leave(self) -> None:
        self._stop_counting()
        if self._module and self.numbers in self._module.gauges:
            self._module.gauges.remove(self.numbers)

    def _stop_counting(self) -> None:
        if self._counter:
            self._counter.__exit__(None, None, None)
            self._counter = None

    def _moment(self) -> _Counts:
        return replace(self._now, at=perf_counter(), seconds=self._stopwatch.seconds())

    def _since(self, before: _Counts) -> Throughput:
        now = self._moment()
        wall = now.at - before.at
        steps = now.steps - before.steps
        seconds = now.step_seconds - before.step_seconds
        return Throughput(
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
