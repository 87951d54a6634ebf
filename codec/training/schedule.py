"""A schedule: stages that follow each other, as data."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from codec import registry
from codec.errors import CodecError
from codec.training.stage import Stage


class Schedule:
    """Stages in order; a codec step belongs to exactly one.

    Args:
        stages: dictionaries with the fields of `Stage`.
        scale: multiplies the steps of every stage, warm-up and validation with them: 0.01 is a
            quick look at a long recipe.

    Raises:
        CodecError: no stages, an unknown or missing field, a name used twice, or a value out of
            range.
    """

    def __init__(self, stages: list[dict[str, Any]], scale: float = 1.0) -> None:
        if not isinstance(stages, list) or not stages:
            raise CodecError("schedule.stages: empty; give at least one stage")
        if not scale > 0:
            raise CodecError(
                f"schedule.scale: {scale} given; expected a number above 0, for example 0.01"
            )
        scaled = _scaler(scale)
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


def _scaler(scale: float) -> Callable[[int], int]:
    return lambda steps: max(1, round(steps * scale)) if steps else 0


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
