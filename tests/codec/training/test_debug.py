"""debug=overfit, profile and tiny: each does what it says, on sample clips."""

import json
from pathlib import Path

import pytest
from small_codec import composed

from codec.checkpoint import load_codec
from codec.training.run import train
from data.loading.datamodule import ClipDataModule

SHORT = "{name: short, steps: 6, frames: 2, crop: 64, batch: 2, lr: 1e-3, lr_end: 1e-3}"
QUICK = (
    "width=16",
    "wandb=disabled",
    "data.workers=0",
    "data.hold_mb=0",
    "data.val_clips=1",
    "data.val_frames=2",
    "data.val_crop=64",
    "training.val_qualities=[30]",
)


def test_tiny_runs_to_its_end(tmp_path: Path):
    """Catches a check of a minute that takes an hour, needs videos, or leaves no codec."""
    config = composed("debug=tiny", "width=16", "wandb=disabled", "logger=csv")
    assert sum(stage["steps"] for stage in config["schedule"]["stages"]) <= 20
    assert max(stage["crop"] for stage in config["schedule"]["stages"]) <= 64
    made = train(tmp_path, config)
    assert made.global_step == 10 and load_codec(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert "val/loss" in rows[-1] and (tmp_path / "csv" / "version_0" / "metrics.csv").is_file()


def test_profile_writes_where_time_goes(tmp_path: Path):
    """Catches a profile that stays in memory, and one of a schedule of days."""
    config = composed("debug=profile", f"schedule.stages=[{SHORT}]", *QUICK)
    config["schedule"]["max_steps"] = 2
    assert train(tmp_path, config).global_step == 2
    text = (tmp_path / "fit-profile-short.txt").read_text()
    assert "run_training_batch" in text and "train_dataloader_next" in text
    long = composed("debug=profile", "schedule=long")["schedule"]
    assert long["max_steps"] == 20


def test_overfit_repeats_a_few_batches_and_holds_nothing_out(tmp_path: Path):
    """Catches new samples in later batches, others after a resume, and a validation of clips that
    are not trained on.
    """
    config = composed("debug=overfit", f"schedule.stages=[{SHORT}]", *QUICK)
    data = config["data"] | {"frames": 2, "crop": 64, "batch": 2, "overfit_batches": 2}
    del data["type"]
    made = ClipDataModule(**data)
    made.configure(2, 64, 2, batches=4)
    first = list(made.train_dataloader())
    made.configure(2, 64, 2, start_sample=6, batches=1)
    (later,) = made.train_dataloader()
    for one, again in ((first[0], first[2]), (first[1], first[3]), (first[1], later)):
        assert one.names == again.names and one.frames.equal(again.frames)
    assert not first[0].frames.equal(first[1].frames)
    assert made.val_clips.sequences is made.train_clips.sequences
    assert made.val_clips.held_out == made.train_clips.held_out == 0.0
    config["data"]["overfit_batches"] = 1
    run = train(tmp_path, config)
    assert run.global_step == 6 and run.ema is None


@pytest.mark.parametrize("choice", ["overfit", "profile", "tiny"])
def test_debugging_is_another_run(choice: str):
    """Catches weights of a check among those of the real run."""
    from codec.training.run_dir import differences

    assert choice == "profile" or differences(composed(), composed(f"debug={choice}"))
