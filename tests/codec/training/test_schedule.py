import pytest

from codec.errors import CodecError
from codec.training.schedule import Schedule

STAGE = {"name": "a", "steps": 10, "frames": 2, "crop": 64, "batch": 1, "lr": 1e-3, "lr_end": 1e-4}


def test_every_step_belongs_to_one_stage():
    """Catches a boundary off by one: a step trained twice or in the wrong stage."""
    schedule = Schedule([STAGE, STAGE | {"name": "b", "steps": 5}])
    assert [schedule.at(step)[0] for step in (0, 9, 10, 14, 15)] == [0, 0, 1, 1, 1]
    assert schedule.steps == 15 and schedule.start_of(1) == 10


def test_the_rate_rises_then_falls_to_its_end():
    """Catches a rate that jumps, or does not end where it should."""
    stage = Schedule([STAGE | {"steps": 100, "warmup": 10}]).stages[0]
    rates = [stage.rate(step) for step in range(100)]
    assert (
        rates[0] == pytest.approx(1e-4)
        and rates[9] == pytest.approx(1e-3)
        and max(rates) == rates[10]
    )
    assert all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False)) and rates[
        -1
    ] == pytest.approx(1e-4, rel=0.01)


@pytest.mark.parametrize(
    "stages, said",
    [
        ([], "empty"),
        ([STAGE, STAGE], "not all different"),
        ([STAGE | {"stepz": 3}], "unknown fields .'stepz'"),
        ([{"name": "a"}], "missing"),
        ([STAGE | {"steps": 0}], "steps is 0"),
        ([STAGE | {"lr_end": 1.0}], "lr_end <= lr"),
    ],
)
def test_mistakes_are_named(stages: list[dict], said: str):
    """Catches a schedule that is read differently from what was meant."""
    with pytest.raises(CodecError, match=said):
        Schedule(stages)
