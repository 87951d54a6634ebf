"""A schedule: stages that follow each other, as data."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from codec import registry
from codec.errors import CodecError

CURVES = ("cosine", "linear", "constant")
UPDATES = ("clip", "frame")
PRECISIONS = (None, "bf16-mixed", "32-true")


@dataclass(frozen=True)
class Stage:
    """One stage of a schedule. A codec step takes one batch.

    Attributes:
        name: for logs and the checkpoint at its end, `stage_NAME.ckpt`.
        steps: codec steps.
        frames, crop: frames a clip, pixels a side.
        batch: clips a step, of all processes together.
        lr, lr_end: learning rate at the start and, along `curve`, at the end.
        curve: `cosine`, `linear`, or `constant` (then `lr_end` counts for nothing).
        warmup: steps over which the rate rises from zero first.
        lr_of: factors of the rate by part of the codec, for example `{motion: 0.1}`.
        validate_every: steps from one validation to the next; there is one at the stage's start and
            end, too.
        loss: weights of the distortion terms, for example `{mse: 1, lpips: 50}`; a term not named
            keeps its config's weight.
        frame_weights: weights of the distortion by frame of the clip, repeated; None: as the loss
            says.
        frozen: parts of the codec that stay as they are, for example `[intra, motion.entropy]`.
        rounding: exact entropy networks compute in integer arithmetic, as streams are coded, with
            straight-through gradients. Without it they compute in floating point. What validation
            says is always of integers.
        update: `clip`: one update a step, from the whole clip (a cascade). `frame`: one after every
            frame, and no gradient flows from a frame into the one before.
        truncate: frames through which gradients flow back; None: the whole clip.
        checkpointing: activations are computed again in the backward pass, a frame at a time:
            memory for time.
        accumulate: parts in which the batch goes through the codec, one after the other, for one
            update.
        precision: `bf16-mixed` or `32-true`; None: as the trainer says.
        rollback: share by which the validation loss may rise over the stage before its weights are
            dropped again; None: any.

    Raises:
        CodecError: a value out of range, or two fields that do not go together.
    """

    name: str
    steps: int
    frames: int
    crop: int
    batch: int
    lr: float
    lr_end: float
    curve: str = "cosine"
    warmup: int = 0
    lr_of: dict[str, float] = field(default_factory=dict)
    validate_every: int = 1000
    loss: dict[str, float] = field(default_factory=dict)
    frame_weights: list[float] | None = None
    frozen: list[str] = field(default_factory=list)
    rounding: bool = False
    update: str = "clip"
    truncate: int | None = None
    checkpointing: bool = False
    accumulate: int = 1
    precision: str | None = None
    rollback: float | None = None

    def __post_init__(self) -> None:
        self._check(
            bool(re.fullmatch(r"[\w.-]+", str(self.name))),
            "its name becomes a file's: letters, digits, '_', '-' and '.' expected",
        )
        for name in (
            "lr",
            "lr_end",
            "steps",
            "frames",
            "crop",
            "batch",
            "warmup",
            "validate_every",
            "accumulate",
        ):
            value = getattr(self, name)
            self._check(isinstance(value, int | float), f"{name} is {value!r}; a number expected")
        numbers = all(isinstance(weight, int | float) for weight in self.frame_weights or ())
        self._check(numbers, f"frame_weights are {self.frame_weights}; numbers expected")
        for name in (
            "steps",
            "frames",
            "crop",
            "batch",
            "validate_every",
            "accumulate",
            "truncate",
        ):
            value = getattr(self, name)
            self._check(value is None or value >= 1, f"{name} is {value}; at least 1 expected")
        self._check(
            0 <= self.lr_end <= self.lr,
            f"lr {self.lr}, lr_end {self.lr_end}; expected 0 <= lr_end <= lr",
        )
        for name, known in (("curve", CURVES), ("update", UPDATES), ("precision", PRECISIONS)):
            value = getattr(self, name)
            self._check(
                value in known, f"{name} is {value!r}; choose from {', '.join(map(str, known))}"
            )
        alone = self.update == "clip" or (self.truncate is None and self.accumulate == 1)
        self._check(alone, "update: frame goes with neither truncate nor accumulate; remove them")
        self._check(
            self.batch % self.accumulate == 0,
            f"accumulate: {self.accumulate} does not divide batch {self.batch}",
        )
        self._check(
            self.frame_weights != [], "frame_weights: empty; give a weight a frame, or null"
        )
        self._check(
            self.rollback is None or self.rollback >= 0,
            f"rollback is {self.rollback}; 0 or more expected, or null",
        )

    def _check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise CodecError(f"schedule stage {self.name!r}: {otherwise}")

    def rate(self, step: int) -> float:
        """Learning rate at `step`, counted from the stage's start."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        share = min((step - self.warmup) / max(1, self.steps - self.warmup), 1.0)
        left = {
            "cosine": (1 + math.cos(math.pi * share)) / 2,
            "linear": 1 - share,
            "constant": 1.0,
        }[self.curve]
        return self.lr if self.curve == "constant" else self.lr_end + (self.lr - self.lr_end) * left

    def validates_after(self, step: int) -> bool:
        """Whether there is a validation after so many of its steps."""
        return step % self.validate_every == 0 or step == self.steps

    @property
    def bptt_length(self) -> int:
        """Frames from one cut of the gradient to the next."""
        return 1 if self.update == "frame" else self.truncate or self.frames

    def scaled(self, scaled: Callable[[int], int]) -> "Stage":
        """The same with other numbers of steps."""
        return replace(
            self,
            steps=scaled(self.steps),
            warmup=scaled(self.warmup),
            validate_every=scaled(self.validate_every),
        )


class Schedule:
    """Stages in order; a codec step belongs to exactly one.

    Args:
        stages: dictionaries with the fields of `Stage`.
        scale: multiplies the steps of every stage, warm-up and validation with them: 0.01 is a
            quick look at a long recipe.
        max_steps: of each stage; None: any number.

    Raises:
        CodecError: no stages, an unknown or missing field, a name used twice, or a value out of
            range.
    """

    def __init__(
        self, stages: list[dict[str, Any]], scale: float = 1.0, max_steps: int | None = None
    ) -> None:
        if not isinstance(stages, list) or not stages:
            raise CodecError("schedule.stages: empty; give at least one stage")
        if not scale > 0:
            raise CodecError(
                f"schedule.scale: {scale} given; expected a number above 0, for example 0.01"
            )
        if max_steps is not None and max_steps < 1:
            raise CodecError(f"schedule.max_steps: {max_steps} given; expected 1 or more, or null")
        scaled = _scaler(scale, max_steps)
        self.stages = [_stage(values, i, scaled) for i, values in enumerate(stages)]
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

    def where(self, step: int) -> str:
        """What a person calls codec step `step`, for example "stage 2/3 chains, step 40 of 240"."""
        index, stage = self.at(step)
        return (
            f"stage {index + 1}/{len(self.stages)} {stage.name}, step "
            f"{step - self.start_of(index)} of {stage.steps}"
        )


def schedule_of(config: dict[str, Any]) -> Schedule:
    """What the `schedule` part of a config describes: `Schedule`, or what `type` names."""
    return registry.build("schedule", {registry.KEY: "stages", **config}, "schedule")


def _scaler(scale: float, most: int | None) -> Callable[[int], int]:
    def scaled(steps: int) -> int:
        steps = max(1, round(steps * scale)) if steps else 0
        return steps if most is None else min(steps, most)

    return scaled


def _stage(values: dict[str, Any], index: int, scaled: Callable[[int], int]) -> Stage:
    if not isinstance(values, dict):
        raise CodecError(
            f"schedule.stages[{index}]: {values!r} given; fields such as name, steps and lr "
            "expected"
        )
    known = {f.name for f in fields(Stage)}
    if unknown := set(values) - known:
        raise CodecError(
            f"schedule.stages[{index}]: unknown fields {sorted(unknown)}; known are {sorted(known)}"
        )
    try:
        return Stage(**values).scaled(scaled)
    except TypeError as error:
        raise CodecError(f"schedule.stages[{index}]: {error}") from error
