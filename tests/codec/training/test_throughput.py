import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import LambdaCallback
from small_codec import build, moving_clip
from torch import nn
from training_module import module

from codec.losses.rate_distortion import RateDistortionLoss
from codec.training import throughput
from codec.training.distributed import best_precision
from codec.training.logging import Events
from codec.training.module import CodecTraining
from codec.training.schedule import Schedule
from codec.training.throughput import (
    Stopwatch,
    Throughput,
    ThroughputMeter,
    _Counts,
    advice,
    precisions_of,
    summary,
)
from data.loading.clip import Clip


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets seconds pass, where the test says and nowhere else."""
    now = [0.0]
    monkeypatch.setattr(throughput, "perf_counter", lambda: now[0])

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    return pass_by


def test_all_time_is_counted_once(wait: Any):
    """Catches time that two parts claim, such as a checkpoint within a validation's callback, and
    time that none has.
    """
    watch = Stopwatch()
    watch.switch("data")
    wait(1)
    watch.switch("other")
    wait(2)
    watch.switch("step")
    wait(4)
    with watch.timed("logging"):
        wait(8)
    wait(4)
    watch.switch("other")
    with watch.timed("validation"):
        wait(32)
        with watch.timed("checkpoints"):
            wait(64)
    expected = {
        "data": 1,
        "other": 2,
        "step": 8,
        "logging": 8,
        "validation": 32,
        "checkpoints": 64,
    }
    assert watch.seconds() == expected
    watch.restart()
    assert not any(watch.seconds().values())


def test_a_part_that_fails_is_left(wait: Any):
    """Catches all later time on the account of a validation that raised."""
    watch = Stopwatch()
    with pytest.raises(KeyError), watch.timed("validation"):
        raise KeyError
    wait(1)
    assert watch.seconds() == {"other": 1, "validation": 0}


def test_parts_are_where_lightning_does_them(wait: Any, tmp_path: Path):
    """Catches a Lightning that calls hooks in another order: time of a step that counts as a wait
    for data, or the other way round.
    """
    made = module(steps=2, settings={"events": Events(tmp_path / "events.jsonl")})
    for name in ("manual_backward", "optimizers", "log_dict", "write"):
        delattr(made, name)  # as it is with a trainer
    made.log_every = 100
    plain = made.training_step

    def step(*arguments: Any) -> None:
        wait(4)
        plain(*arguments)

    made.training_step = step

    class Batches:
        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Iterator[Clip]:
            for _ in range(2):
                wait(1)
                frames = moving_clip(2, 64, 64)[None].repeat(2, 1, 1, 1, 1)
                yield Clip(frames, ["one", "two"], [25.0, 25.0])

    found: list[dict[str, float]] = []
    between = LambdaCallback(on_train_batch_end=lambda *_: wait(16))
    last = LambdaCallback(on_fit_end=lambda *_: found.append(made.stopwatch.seconds()))
    callbacks: list[Callback] = [ThroughputMeter(), between, last]
    settings = dict(max_epochs=1, logger=False, enable_checkpointing=False, accelerator="cpu")
    quiet = dict(enable_progress_bar=False, enable_model_summary=False)
    Trainer(callbacks=callbacks, **settings, **quiet).fit(made, Batches())
    assert {part: found[0][part] for part in ("data", "step", "other")} == {
        "data": 2,
        "step": 8,
        "other": 32,
    }


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


FAST = best_precision({"accelerator": "cpu"})
STAGE = {"name": "a", "steps": 4, "frames": 2, "crop": 64, "batch": 2, "lr": 1e-3, "lr_end": 1e-4}


class Batches:
    """Four batches of two clips of two frames."""

    def __len__(self) -> int:
        return STAGE["steps"]

    def __iter__(self) -> Iterator[Clip]:
        clip = moving_clip(2, 64, 64)
        for k in range(len(self)):
            yield Clip(clip[None].repeat(2, 1, 1, 1, 1).roll(k, -1), ["one", "two"], [25.0, 25.0])


def trained(folder: Any, *callbacks: Callback, **options: Any) -> tuple[CodecTraining, list[dict]]:
    """A module after a stage of four steps, and the rows that it logged."""
    events = Events(folder / "events.jsonl")
    module = CodecTraining(
        build().train(), RateDistortionLoss(), Schedule([STAGE]), log_every=1, events=events
    )
    rows: list[dict] = []
    module.write = rows.append
    settings = dict(
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    Trainer(callbacks=list(callbacks), accelerator="cpu", **settings, **options).fit(
        module, Batches()
    )
    return module, rows


def test_a_stage_is_measured_and_no_number_of_it_changes(
    tmp_path: Any, capsys: pytest.CaptureFixture
):
    """Catches a count that disturbs the step it counts (a resumed run counts in another one), and
    figures that are not there.
    """
    meter = ThroughputMeter(workers=1)
    measured, rows = trained(tmp_path, meter, precision=FAST)
    assert capsys.readouterr().out.strip() == meter.line and "of what this CPU can" in meter.line
    said = json.loads((tmp_path / "events.jsonl").read_text())
    assert said["kind"] == "speed" and said["speed/frames_per_s"] > 0
    assert measured.gauges == []
    plain, without = trained(tmp_path, precision=FAST)
    assert all(
        torch.equal(a, b)
        for a, b in zip(measured.codec.parameters(), plain.codec.parameters(), strict=True)
    )
    names = {f"speed/{name}" for name in ("frames_per_s", "data_wait", "idle", "memory_mb", "mfu")}
    assert set(rows[0]) - set(without[0]) == names - {
        "speed/mfu"
    }  # the first step is not like others
    assert set(rows[-1]) - set(without[-1]) == names
    assert all(0 <= row[f"speed/{name}"] <= 1 for row in rows for name in ("data_wait", "idle"))


def test_operations_are_those_of_forward_and_backward():
    """Catches a count of one direction alone, or of what runs between the steps."""
    meter = ThroughputMeter()
    network = nn.Conv2d(3, 5, 1)
    module = CodecTraining(build().train(), RateDistortionLoss(), Schedule([STAGE]))
    meter.device, meter._now = torch.device("cpu"), _Counts(0.0)
    meter._first_wait = 0.0
    batch, trainer = next(iter(Batches())), SimpleNamespace(world_size=1)
    meter.on_train_batch_start(trainer, module, batch, 0)
    network(torch.rand(1, 3, 4, 4)).sum().backward()
    meter.on_train_batch_end(trainer, module, None, batch, 0)
    network(torch.rand(1, 3, 4, 4))
    assert meter._operations == 2 * 2 * 3 * 5 * 16  # the input needs no gradient


class Fails(Callback):
    def on_train_batch_end(self, *args: Any) -> None:
        raise KeyError("a bad day")


def test_a_stage_that_fails_leaves_no_gauge_behind(tmp_path: Any):
    """Catches a module that goes on asking, and operations that are counted for ever."""
    meter = ThroughputMeter()
    with pytest.raises(KeyError, match="a bad day"):
        trained(tmp_path, meter, Fails())
    assert (
        meter._module.gauges == [] and not torch.utils._python_dispatch._len_torch_dispatch_stack()
    )


def test_the_peak_is_of_the_arithmetic_of_the_training():
    """Catches a share of a peak that the training never aims at."""
    assert precisions_of("bf16-mixed") == (torch.bfloat16, torch.float32)
    assert precisions_of("16-mixed") == (torch.float16, torch.float32) and precisions_of(
        "32-true"
    ) == (torch.float32,)
