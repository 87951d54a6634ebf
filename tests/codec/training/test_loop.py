"""Whole schedules, in process: boundaries, rollback, signals, resumed runs."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from small_codec import FPS, composed, moving_clip

from codec.checkpoint import build_codec, load_codec, read_checkpoint
from codec.errors import CodecError
from codec.training import loop
from codec.training.loop import check_crops
from codec.training.module import CodecTraining
from codec.training.run import train
from codec.training.schedule import Stage
from codec.training.shutdown import Stopped
from data.io.writer import write_video
from data.loading.datamodule import ClipDataModule

STAGE = {
    "steps": 3,
    "frames": 2,
    "crop": 64,
    "batch": 2,
    "lr": 1e-3,
    "lr_end": 1e-4,
    "validate_every": 2,
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short video."""
    folder = tmp_path_factory.mktemp("clips")
    write_video(moving_clip(20, 80, 96), FPS, folder / "clip.mp4")
    return folder


def config(clips: Path, *stages: dict[str, Any], **training: Any) -> dict[str, Any]:
    """Of a training of a few steps."""
    data = [
        "data=folder",
        f"data.root={clips}",
        "data.workers=0",
        "data.val_frames=2",
        "data.val_crop=64",
        "data.val_clips=1",
    ]
    made = composed(
        "width=16", "wandb=disabled", "training.val_qualities=[30]", "training.log_every=2", *data
    )
    made["schedule"] = {
        "stages": [STAGE | {"name": f"s{k}"} | stage for k, stage in enumerate(stages)]
    }
    made["training"] |= training
    return made


def rows(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """The lines of a JSON-lines file in a run."""
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def logged(folder: Path) -> list[tuple[int, float]]:
    """Step and loss of the logged rows of training."""
    return [(row["step"], row["train/loss"]) for row in rows(folder) if "train/loss" in row]


def validated(folder: Path) -> list[int]:
    """Steps at which there was a validation."""
    return [row["step"] for row in rows(folder) if "val/loss" in row]


@pytest.fixture(scope="module")
def undisturbed(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two stages."""
    folder = tmp_path_factory.mktemp("undisturbed")
    train(
        folder,
        config(
            clips, {"update": "frame"}, {"frames": 3, "loss": {"lpips": 10}, "checkpointing": True}
        ),
    )
    return folder


def test_a_boundary_is_told_and_kept(undisturbed: Path):
    """Catches a stage whose effect nobody sees (DCVC #97), and checkpoints that do not know their
    stage.
    """
    (first, second) = [
        row["text"] for row in rows(undisturbed, "events.jsonl") if row["kind"] == "stage end"
    ]
    assert (
        first.startswith("stage s0: loss ")
        and "PSNR" in first
        and "dB; bpp " in first
        and "(intra" in first
    )
    assert "LPIPS" in second and second.count(" -> ") >= 6
    states = [read_checkpoint(undisturbed / f"stage_s{k}.ckpt")["training"] for k in range(2)]
    assert [(s["stage"], s["codec_steps"], s["stages_done"]) for s in states] == [
        ("s0", 3, 1),
        ("s1", 6, 2),
    ]
    assert validated(undisturbed) == [0, 2, 3, 5, 6]
    assert load_codec(undisturbed)


@pytest.mark.parametrize("step, number", [(2, signal.SIGTERM), (4, signal.SIGUSR1)])
def test_a_stopped_run_ends_as_an_undisturbed_one(
    clips: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    number: int,
):
    """Catches signals that lose a step or end a run at once, validations that move, weights that
    differ after it goes on, and a stop that nobody can find later.
    """
    settings = config(
        clips, {"update": "frame"}, {"frames": 3, "loss": {"lpips": 10}, "checkpointing": True}
    )
    plain = CodecTraining.training_step

    def signalled(self: CodecTraining, *arguments: Any) -> None:
        if self.global_step == step:
            os.kill(os.getpid(), number)
        plain(self, *arguments)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(CodecTraining, "training_step", signalled)
        with pytest.raises(Stopped):
            train(tmp_path, settings)
    assert (
        read_checkpoint(tmp_path / "last.ckpt")["training"]["codec_steps"] == step + 1
        and signal.getsignal(number) == before
    )
    train(tmp_path, settings)
    (stop,) = [
        row for row in rows(tmp_path, "events.jsonl") if row["kind"] == "stop"
    ]  # still there
    assert (stop["step"], stop["cause"]) == (
        step + 1,
        "signal",
    ) and f"({signal.Signals(number).name})" in stop["text"]
    assert validated(tmp_path) == validated(undisturbed)
    assert logged(tmp_path) == logged(undisturbed)
    for name in ("last.ckpt", "best.ckpt"):
        one, other = (read_checkpoint(folder / name) for folder in (tmp_path, undisturbed))
        for weights in (
            (one["codec"], other["codec"]),
            (one["training"]["weights"], other["training"]["weights"]),
        ):
            assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_a_signal_between_stages_ends_the_run_there(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches a stop that waits for the next stage's data and first step."""
    plain = loop._end_stage

    def signalled(*arguments: Any) -> None:
        plain(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop, "_end_stage", signalled)
    with pytest.raises(Stopped, match="SIGTERM"):
        train(tmp_path, config(clips, {}, {}))
    state = read_checkpoint(tmp_path / "last.ckpt")["training"]
    assert (state["codec_steps"], state["stages_done"]) == (3, 1)


def test_two_processes_train_as_one_does(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches a launcher that starts too many or too few, in a batch job of two tasks, too, where
    nobody else starts them; samples that come twice, and files that two processes write.
    """
    settings = config(clips, {"frames": 3, "truncate": 2}, {"update": "frame"})
    settings["trainer"] |= {"accelerator": "cpu", "precision": "32-true"}
    train(tmp_path / "one", settings)
    for name, value in {
        "JOB_ID": "7",
        "NTASKS": "2",
        "JOB_NAME": "train",
        "PROCID": "0",
        "LOCALID": "0",
        "NODEID": "0",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert (
        train(tmp_path / "two", settings | {"trainer": settings["trainer"] | {"devices": 2}})
        is None
    )
    one, two = (rows(tmp_path / name) for name in ("one", "two"))
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for first, second in zip(one, two, strict=True):
        kept = [name for name in first if not name.startswith("speed/")]
        assert {name: second[name] for name in kept} == pytest.approx(
            {name: first[name] for name in kept}, rel=1e-4, abs=1e-6
        )
    kinds = [
        [row["kind"] for row in rows(tmp_path / name, "events.jsonl")] for name in ("one", "two")
    ]
    assert kinds[0] == kinds[1]


def test_the_demo_is_an_experiment(tmp_path: Path):
    """Catches a demo that no longer composes, finds its clips or goes through its stages."""
    quick = [
        "width=16",
        "schedule.scale=0.01",
        "wandb=disabled",
        "data.hold_mb=0",
        "training.val_qualities=[30]",
    ]
    quick += ["data.val_clips=1", "data.val_frames=2", "data.val_crop=64"]
    assert build_codec(composed("experiment=demo")["codec"])
    config = composed("experiment=demo", *quick)
    for stage in config["schedule"]["stages"]:
        stage |= {"crop": 64, "batch": 1}
    made = train(tmp_path, config)
    assert made.global_step == 2 + 2 + 1
    assert {"stage_pairs.ckpt", "stage_chains.ckpt", "stage_perceptual.ckpt"} <= {
        path.name for path in tmp_path.iterdir()
    }


def test_a_stage_that_does_harm_is_dropped(clips: Path, tmp_path: Path):
    """Catches a rollback that keeps the bad weights, loses count, or throws away what
    went wrong.
    """
    harm = {"lr": 0.5, "lr_end": 0.5, "rollback": 0.01}
    made = train(tmp_path, config(clips, {}, harm))
    for part in (lambda content: content["codec"], lambda content: content["training"]["weights"]):
        good, back = (part(read_checkpoint(tmp_path / f"stage_s{k}.ckpt")) for k in range(2))
        assert all(torch.equal(value, back[name]) for name, value in good.items())
    assert made.global_step == 6 and (tmp_path / "dropped_s1.ckpt").is_file()
    best = read_checkpoint(tmp_path / "best.ckpt")["training"]
    assert best["figures"]["val/loss"] < 10
    (text,) = [row["text"] for row in rows(tmp_path, "events.jsonl") if row["kind"] == "rollback"]
    assert "by more than rollback: 0.01; back to the weights from before it" in text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A damaged file and two videos, 64 and 80 pixels high."""
    folder = tmp_path_factory.mktemp("clips")
    for height in (64, 80):
        write_video(moving_clip(12, height, 96), FPS, folder / f"high{height}.mp4")
    (folder / "broken.mp4").write_bytes(b"nothing")
    return folder


def look(folder: Path, crop: int, **data: Any) -> None:
    """Check one stage."""
    module = ClipDataModule(folder, **{"val_crop": 64} | data)
    module.setup()
    check_crops(module, [Stage("pairs", 1, 2, crop, 1, 1e-3, 1e-3)])


def test_a_crop_far_larger_than_the_videos_is_refused(folder: Path):
    """Catches a slip of the hand that pads frames until the memory is full, and a damaged video
    that ends the check.
    """
    with pytest.raises(
        CodecError,
        match=r"stage 'pairs': crop is 161; .* 2 looked at, .*high80.mp4, is 96×80.* "
        "give 160 or less",
    ):
        look(folder, 161)
    with pytest.raises(CodecError, match="data.val_crop is 4096; .*high80.mp4"):
        look(folder, 64, val_crop=4096)


def test_smaller_videos_are_padded_as_before(folder: Path):
    """Catches a check that refuses what the data pads, and one that names a size where no video can
    be opened.
    """
    look(folder, 160, val_crop=160)
    look(folder / "broken.mp4", 4096)


ONE_STAGE = Stage("a", 1, 2, 64, 1, 1e-3, 1e-3)


@pytest.mark.parametrize(
    "given, gpus, said",
    [
        (
            {"accelerator": "gpu"},
            0,
            "trainer.accelerator=gpu: torch can use no GPU here .*trainer.accelerator=auto",
        ),
        ({"accelerator": "warp"}, 1, "trainer.accelerator: warp given; choose from auto, cpu"),
        ({"devices": 4}, 2, "trainer.devices=4: torch can use 2 GPU here; give trainer.devices=2"),
        ({"devices": [0, 2]}, 2, r"trainer.devices=\[0, 2\]"),
        ({"devices": "all"}, 1, "trainer.devices=all.*or auto"),
        (
            {"precision": "bf17"},
            0,
            "trainer.precision: bf17 given; choose from auto, bf16-mixed, 32-true",
        ),
        ({"max_epochs": 3}, 0, "trainer.max_epochs: not a field to give"),
        ({"presicion": "32-true"}, 0, "trainer.presicion: not a field to give"),
    ],
)
def test_what_cannot_be_had_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], gpus: int, said: str
):
    """Catches Lightning's traceback, minutes later, for a word on the command line."""
    monkeypatch.setattr(loop, "accelerators", lambda: ["GPU"] * gpus)
    with pytest.raises(CodecError, match=said):
        loop.check_trainer(given)


def test_what_can_be_had_is_taken(monkeypatch: pytest.MonkeyPatch):
    """Catches a check that refuses processes on a CPU, or fields that are Lightning's own."""
    monkeypatch.setattr(loop, "accelerators", lambda: ["GPU"])
    whole = {"max_time": {"hours": 1}, "precision": "32-true"}
    for given in (
        {},
        {"devices": "auto"},
        {"accelerator": "cpu", "devices": 4},
        {"devices": [0]},
        whole,
    ):
        loop.check_trainer(given)


def test_what_lightning_refuses_is_one_line():
    """Catches a traceback for the fields that are not looked at."""
    with pytest.raises(CodecError, match="trainer: .*gradient_clip_algorithm.*correct trainer"):
        loop.make_trainer(ONE_STAGE, 1, [], [], {"gradient_clip_algorithm": "none of them"}, 1)
