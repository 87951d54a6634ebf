import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from small_codec import build, moving_clip
from torch import nn

from codec.losses.rate_distortion import RateDistortionLoss
from codec.training.distributed import best_precision
from codec.training.logging import Events
from codec.training.module import CodecTraining
from codec.training.schedule import Schedule
from codec.training.throughput import ThroughputMeter, _Counts, precisions_of
from data.loading.clip import Clip

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
