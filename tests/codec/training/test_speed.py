from dataclasses import replace

import pytest

from codec.training.throughput import Throughput, advice, summary

GOOD = Throughput(
    frames_per_s=41.23,
    shares={"step": 0.9, "validation": 0.08, "data": 0.004, "checkpoints": 0.01, "other": 0.006},
    operations_per_s=12e12,
    peak=39e12,
    memory=2_300_000_000,
    memory_total=10_000_000_000,
    device="CPU",
    gpu=False,
    workers=2,
)


def shares(**parts: float) -> dict[str, float]:
    return {"shares": {"step": 1 - sum(parts.values())} | parts}


@pytest.mark.parametrize(
    "change, said",
    [
        (shares(data=0.06, checkpoints=0.3), "steps wait for data: more data.workers than 2"),
        (
            shares(data=0.06) | {"first_wait": 0.05},
            "workers start and open clips for 5.0% of the time: longer stages",
        ),
        (shares(data=0.06) | {"workers": 0}, "steps wait for data: data.workers=1 or more"),
        (
            shares(data=0.04, checkpoints=0.05, logging=0.02),
            "checkpoints takes 5.0% of the time: raise checkpoint_every",
        ),
        (shares(logging=0.2), "logging takes 20.0% of the time: raise training.log_every"),
        (shares(other=0.2), "other takes 20.0% of the time: work between steps: larger batches"),
        (
            {"memory": 9_500_000_000},
            "memory is 95% full: a smaller batch or activation checkpointing",
        ),
        (
            shares(validation=0.4),
            "validation takes 40.0% of the time: raise the stage's validate_every",
        ),
        ({"gpu": True, "operations_per_s": 1e12}, "the device is hardly used: a larger batch"),
        (
            {"gpu": True, "operations_per_s": 1e12, "memory": 7_000_000_000},
            "the device is hardly used: training.compile=true",
        ),
        ({"operations_per_s": 1e12}, "the device is hardly used: a larger batch"),
    ],
)
def test_the_first_thing_to_change_is_named(change: dict, said: str):
    """Catches advice that misses the cause, or names a smaller one first."""
    assert advice(replace(GOOD, **change)).startswith(said)
    assert said in summary(replace(GOOD, **change))


def test_where_all_is_well_the_line_only_tells():
    """Catches advice that everybody learns to skip, and figures in the wrong unit."""
    line = (
        "speed: 41.2 frames/s, 30.8% of what this CPU can (12 of 39 TFLOP/s), data wait 0.4%, idle "
        "2.0%, 2.3 GB"
    )
    assert summary(GOOD) == line
    assert not advice(
        replace(GOOD, operations_per_s=1e12, memory=7_000_000_000)
    )  # compiling gains nothing on a CPU
    assert "can (" not in summary(replace(GOOD, operations_per_s=0.0))


def test_what_is_not_known_is_not_logged():
    """Catches a zero where nothing was measured yet."""
    assert "speed/mfu" not in replace(GOOD, operations_per_s=0.0).numbers()
    assert (
        GOOD.numbers()["speed/idle"] == pytest.approx(0.02)
        and GOOD.numbers()["speed/memory_mb"] == 2300
    )
