"""How fast training goes, where its time goes, and what to change first."""

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.profilers import PassThroughProfiler, Profiler
from torch.utils.flop_counter import FlopCounterMode

from codec.device import device_name, measure_peak, memory_peak, memory_total, reset_memory_peak

if TYPE_CHECKING:
    from codec.training.module import CodecTraining

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


def profiler_of(trainer: Trainer) -> Profiler:
    """Lightning's profiler, which the Trainer has and does not declare."""
    return vars(trainer)["profiler"]


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


MOST_WAIT, MOST_IDLE, MOST_VALIDATION = 0.05, 0.10, 0.25  # of the wall time
FULL, ROOMY = 0.90, 0.50  # of the memory
LOW_MFU = 0.10  # of what the device can
_REMEDIES = {
    CHECKPOINTS: "raise checkpoint_every, or write them to a faster disk",
    LOGGING: "raise training.log_every, or wandb=offline",
    OTHER: "Lightning's own work between steps: larger batches",
}


@dataclass(frozen=True)
class Speed:
    """Of one process, but for the frames.

    Attributes:
        frames_per_s: frames of all processes, by wall time.
        shares: of the wall time, by part (`PartClock`); they add up to 1.
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


def summary(speed: Speed) -> str:
    """One line: the figures, and `advice` where there is some."""
    share = (
        f"{speed.mfu:.1%} of what this {speed.device} can "
        f"({_of_peak(speed.operations_per_s, speed.peak)}), "
    )
    figures = (
        f"speed: {speed.frames_per_s:.1f} frames/s, {share if speed.mfu else ''}data wait "
        f"{speed.data_wait:.1%}, "
        f"idle {speed.idle:.1%}, {speed.memory / 1e9:.1f} GB"
    )
    said = advice(speed)
    return f"{figures}; {said}" if said else figures


def advice(speed: Speed) -> str:
    """What to change first; "" where nothing stands out."""
    if speed.data_wait > MOST_WAIT:
        if speed.data_wait - speed.first_wait <= MOST_WAIT:
            return (
                f"workers start and open clips for {speed.first_wait:.1%} of the time: longer "
                "stages, or less data.hold_mb"
            )
        how = (
            "data.workers=1 or more"
            if speed.workers == 0
            else f"more data.workers than {speed.workers}"
        )
        return f"steps wait for data: {how}, or pack the clips (corvid data pack)"
    if speed.idle > MOST_IDLE:
        rest = {
            part: share
            for part, share in speed.shares.items()
            if part not in (STEP, VALIDATION, DATA)
        }
        part, share = max(rest.items(), key=lambda item: item[1])
        return (
            f"{part} takes {share:.1%} of the time: {_REMEDIES.get(part, 'look at that callback')}"
        )
    filled = speed.memory / speed.memory_total
    if filled > FULL:
        return f"memory is {filled:.0%} full: a smaller batch or activation checkpointing"
    if speed.shares.get(VALIDATION, 0.0) > MOST_VALIDATION:
        return (
            f"validation takes {speed.shares[VALIDATION]:.1%} of the time: raise the stage's "
            "validate_every"
        )
    if 0 < speed.mfu < LOW_MFU and filled < ROOMY:
        return "the device is hardly used: a larger batch"
    if 0 < speed.mfu < LOW_MFU and speed.gpu:  # on CPUs it was measured to gain nothing
        return "the device is hardly used: training.compile=true"
    return ""


def _of_peak(operations: float, peak: float) -> str:
    """Both in the peak's unit, to three digits at most."""
    units = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))
    factor, prefix = next((unit for unit in units if peak >= unit[0]), units[-1])
    return f"{operations / factor:.3g} of {peak / factor:.3g} {prefix}FLOP/s"


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
        self._module: CodecTraining | None = None

    def busy(self) -> AbstractContextManager:
        """Time in which validation runs: not idle."""
        return self.clock.profile(VALIDATION)

    def on_fit_start(self, trainer: Trainer, module: "CodecTraining") -> None:
        self.device, self._module = trainer.strategy.root_device, module
        self.peak = _peak(self.device, precisions_of(str(trainer.precision)))
        reset_memory_peak(self.device)
        vars(trainer)["profiler"] = self.clock
        module.gauges.append(self.numbers)
        self._counter: FlopCounterMode | None = None
        self._operations: int | None = None  # of a step
        self._first_wait = 0.0
        self.clock.restart()
        self._start = self._window = self._now = _Counts(time.perf_counter())

    def on_train_batch_start(
        self, trainer: Trainer, module: "CodecTraining", batch: Any, index: int
    ) -> None:
        count, length = batch.frames.shape[:2]
        self._first_wait = self._first_wait or self.clock.seconds().get(DATA, 0.0)
        self._now = replace(
            self._now, frames=self._now.frames + count * length * trainer.world_size
        )
        self._skipped, self._step_began = module.skipped, self.clock.seconds().get(STEP, 0.0)

    def on_train_batch_end(
        self, trainer: Trainer, module: "CodecTraining", outputs: Any, batch: Any, index: int
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

    def on_fit_end(self, trainer: Trainer, module: "CodecTraining") -> None:
        self._leave()
        speed = self._since(self._start)
        self.line = summary(speed)
        module.events.say("speed", self.line, module.codec_steps, **speed.numbers())

    def on_exception(
        self, trainer: Trainer, module: "CodecTraining", exception: BaseException
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
