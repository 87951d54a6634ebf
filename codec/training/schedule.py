"""A schedule: stages that follow each other, as data."""

import math
from dataclasses import dataclass, field, fields
from typing import Any

from codec.errors import CodecError


@dataclass(frozen=True)
class Stage:
    """One stage of a schedule. Steps are codec steps: updates of the codec's weights.

    Attributes:
        name: for logs and the checkpoint at its end, `stage_NAME.ckpt`.
        steps: codec steps.
        frames, crop, batch: frames a clip, pixels a side, clips a step.
        lr, lr_end: learning rate at the start and, along a cosine, at the end.
        warmup: steps over which the rate rises from zero first.
        validate_every: steps from one validation to the next.
        loss: weights of the distortion terms, for example `{mse: 1, lpips: 50}`; a term not named keeps its config's weight.
        frozen: parts of the codec that stay as they are, for example `[intra, motion.entropy]`.
        rounding: exact entropy networks compute in whole numbers, as streams are coded, with straight-through gradients.
            Without it they compute in floating point. What validation says is always of whole numbers.
    """

    name: str
    steps: int
    frames: int
    crop: int
    batch: int
    lr: float
    lr_end: float
    warmup: int = 0
    validate_every: int = 1000
    loss: dict[str, float] = field(default_factory=dict)
    frozen: list[str] = field(default_factory=list)
    rounding: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "frames", "crop", "batch", "validate_every"):
            if getattr(self, name) < 1:
                raise CodecError(f"schedule stage {self.name!r}: {name} is {getattr(self, name)}; at least 1 expected")
        if not 0 <= self.lr_end <= self.lr:
            raise CodecError(f"schedule stage {self.name!r}: lr {self.lr}, lr_end {self.lr_end}; expected 0 <= lr_end <= lr")

    def rate(self, step: int) -> float:
        """Learning rate at `step`, counted from the stage's start."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        share = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr_end + (self.lr - self.lr_end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


class Schedule:
    """Stages in order; a codec step belongs to exactly one.

    Args:
        stages: dictionaries with the fields of `Stage`.

    Raises:
        CodecError: no stages, an unknown or missing field, a name used twice, or a value out of range.
    """

    def __init__(self, stages: list[dict[str, Any]]) -> None:
        if not stages:
            raise CodecError("schedule.stages: empty; give at least one stage")
        self.stages = [_stage(values, i) for i, values in enumerate(stages)]
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise CodecError(f"schedule.stages: names {names} are not all different; rename one")

    @property
    def steps(self) -> int:
        """Codec steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def start_of(self, index: int) -> int:
        """Codec steps before stage `index`."""
        return sum(stage.steps for stage in self.stages[:index])

    def at(self, step: int) -> tuple[int, Stage]:
        """Index and stage that codec step `step` belongs to; the last stage once all is done."""
        for index, stage in enumerate(self.stages):
            if step < self.start_of(index) + stage.steps:
                return index, stage
        return len(self.stages) - 1, self.stages[-1]


def _stage(values: dict[str, Any], index: int) -> Stage:
    known = {f.name for f in fields(Stage)}
    if unknown := set(values) - known:
        raise CodecError(f"schedule.stages[{index}]: unknown fields {sorted(unknown)}; known are {sorted(known)}")
    try:
        return Stage(**values)
    except TypeError as error:
        raise CodecError(f"schedule.stages[{index}]: {error}") from error
