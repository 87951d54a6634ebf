"""What a run computes in, and that all that belongs to it follows."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import open_dict, read_write
from pytorch_lightning import Trainer
from pytorch_lightning.plugins.environments import LightningEnvironment
from small_codec import CONF, FPS, composed, moving_clip

from codec.training import distributed as ours
from codec.training.distributed import (
    UnwrappedDDPStrategy,
    agree,
    best_precision,
    choose_precision,
    run_in_processes,
)
from codec.training.reproduce import reproduce
from codec.training.run import run_to_resume, sweep_folder, train
from codec.training.run_dir import identity, precision_of_run, read_config, write_config
from data.io.writer import write_video

CPU = {"accelerator": "cpu", "precision": "auto"}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes this a machine that multiplies bfloat16, or one that does not."""

    def be(has_bf16: bool, has_tiles: bool | None = None) -> None:
        monkeypatch.setattr("codec.precision.multiplies_bf16", lambda device: has_bf16)
        monkeypatch.setattr(ours, "multiplies_bf16", lambda device: has_bf16)
        tiles = has_bf16 if has_tiles is None else has_tiles
        monkeypatch.setattr(ours, "multiplies_bf16_in_tiles", lambda device: tiles)
        best = "bf16" if tiles else "fp32"
        monkeypatch.setattr(
            ours, "slower_here", lambda name, device: "" if name == best else f"{name} is slow here"
        )

    return be


@pytest.mark.parametrize(
    "has_bf16, name, said",
    [(True, "bf16-mixed", "multiplies"), (False, "32-true", "does not multiply")],
)
def test_auto_follows_the_machine_and_says_why(machine: Any, has_bf16: bool, name: str, said: str):
    """Catches hours in an arithmetic that the processor emulates, and a choice without a word."""
    machine(has_bf16)
    chosen = choose_precision(CPU, None, None)
    assert (chosen.name, chosen.line) == (
        name,
        f"precision: {name}, as this CPU {said} bfloat16 (trainer.precision=auto)",
    )
    assert (
        best_precision(CPU) == name and best_precision(CPU | {"precision": "32-true"}) == "32-true"
    )


def test_bf16_without_tiles_is_not_trained_in(machine: Any):
    """Catches training in bfloat16 on a CPU whose vectors multiply it no faster than float32."""
    machine(True, has_tiles=False)
    chosen = choose_precision(CPU, None, None)
    said = "this CPU multiplies bfloat16, but not in AMX's tiles: float32 trains faster"
    assert (chosen.name, chosen.line) == (
        "32-true",
        f"precision: 32-true, as {said} (trainer.precision=auto)",
    )


def test_a_measurement_only_warns(machine: Any, monkeypatch: pytest.MonkeyPatch):
    """Catches a busy moment that decides what a run computes in."""
    machine(True)
    monkeypatch.setattr(ours, "slower_here", lambda name, device: "a layer takes 3.0 times as long")
    chosen = choose_precision(CPU, None, None)
    assert chosen.name == "bf16-mixed" and chosen.line.endswith("; a layer takes 3.0 times as long")


def test_a_resumed_run_keeps_its_precision_unless_told(machine: Any):
    """Catches a run that changes its arithmetic with the node, one that cannot be changed, and
    silence about what that costs.
    """
    machine(False)
    kept = choose_precision(CPU, "bf16-mixed", None)
    assert kept.name == "bf16-mixed" and kept.line == (
        "precision: bf16-mixed, as until now; bf16 is slow here; trainer.precision=32-true goes on "
        "in that"
    )
    assert choose_precision(CPU, "32-true", None).line == "precision: 32-true, as until now"
    told = choose_precision(CPU | {"precision": "32-true"}, "bf16-mixed", None)
    assert (told.name, told.line) == (
        "32-true",
        "precision: 32-true, as given, bf16-mixed until now",
    )
    assert choose_precision(CPU | {"precision": "bf16-mixed"}, None, None).line.endswith(
        "as given; bf16 is slow here"
    )


def test_jobs_of_a_sweep_follow_the_first(machine: Any, tmp_path: Path):
    """Catches a sweep whose jobs differ by the node they ran on."""
    machine(True)
    assert choose_precision(CPU, None, tmp_path / "sweep").name == "bf16-mixed"
    machine(False)
    second = choose_precision(CPU, None, tmp_path / "sweep")
    assert (second.name, second.line) == (
        "bf16-mixed",
        "precision: bf16-mixed, as the first job of the sweep; bf16 is slow here",
    )
    assert choose_precision(CPU, None, tmp_path / "another").name == "32-true"
    assert (
        choose_precision(CPU | {"precision": "32-true"}, None, tmp_path / "sweep").name == "32-true"
    )
    assert agree(tmp_path / "sweep", "32-true", torch.device("cpu")) == "bf16-mixed"
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["precision_cpu.txt"]


def in_a_process(folder: Path) -> None:
    """Run by every process: the second would compute in what the first does not."""
    rank, found = int(os.environ["LOCAL_RANK"]), []
    for names in (("bf16-mixed", "32-true"), ("32-true", "bf16-mixed")):
        given = {
            "accelerator": "cpu",
            "devices": 2,
            "plugins": [LightningEnvironment()],
            "precision": names[rank],
        }
        quiet = dict.fromkeys(
            ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
        )
        trainer = Trainer(strategy=UnwrappedDDPStrategy(), **given, **quiet)
        trainer.strategy.setup_environment()
        with trainer.precision_plugin.forward_context():
            kind = torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype
        found.append([trainer.precision, str(kind)])
    (folder / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def test_all_processes_compute_as_the_first(tmp_path: Path):
    """Catches nodes that differ in what they can and average gradients of two arithmetics."""
    run_in_processes(2, in_a_process, tmp_path)
    expected = [["bf16-mixed", "torch.bfloat16"], ["32-true", "torch.float32"]]
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [
        expected,
        expected,
    ]


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """A run of two steps."""
    write_video(moving_clip(12, 80, 96), FPS, tmp_path / "clips" / "clip.mp4")
    stages = (
        "[{name: one, steps: 2, frames: 2, crop: 64, batch: 1, lr: 1e-3, lr_end: 1e-3, "
        "validate_every: 1}]"
    )
    data = [
        "data=folder",
        f"data.root={tmp_path}/clips",
        "data.workers=0",
        "data.val_frames=2",
        "data.val_crop=64",
        "data.val_clips=1",
    ]
    small = [
        "width=16",
        "training.val_qualities=[30]",
        "wandb=disabled",
        "trainer.accelerator=cpu",
        "checkpoint_every=1",
    ]
    return composed(*data, *small, f"run={tmp_path}/run", f"schedule.stages={stages}")


def test_a_run_records_and_keeps_what_it_computed_in(
    machine: Any,
    config: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    """Catches numbers of which nobody knows the arithmetic, a folder named after the machine, a
    reproduction in another arithmetic, and a resumed run that forgets what it was told.
    """
    machine(False)
    shown: list[str] = []
    monkeypatch.setattr(
        "codec.training.logging.wandb_logger",
        lambda *given, **_: shown.append(given[-1]["trainer"]["precision"]),
    )
    folder, before = tmp_path / "run", identity(config)
    train(folder, config)
    assert "precision: 32-true, as this CPU does not multiply bfloat16" in capsys.readouterr().out
    assert (
        json.loads((folder / "record.json").read_text())[0]["precision"]
        == precision_of_run(folder)
        == "32-true"
    )
    written = read_config(folder)
    assert written["trainer"]["precision"] == "auto" and identity(written) == before
    machine(True)
    longer = config | {
        "schedule": config["schedule"]
        | {"stages": [config["schedule"]["stages"][0] | {"steps": 3}]}
    }
    (folder / "config.yaml").write_text(
        (folder / "config.yaml").read_text().replace("steps: 2", "steps: 3")
    )
    content = torch.load(folder / "last.ckpt", weights_only=True)
    content["training"]["stages_done"] = 0
    for name in ("last.ckpt", "last-1.ckpt", "last-2.ckpt", "best.ckpt", "stage_one.ckpt"):
        (folder / name).unlink(missing_ok=True)
    torch.save(content, folder / "last.ckpt")
    train(folder, longer)
    said = capsys.readouterr().out
    assert (
        "precision: 32-true, as until now; fp32 is slow here; trainer.precision=bf16-mixed goes on "
        "in that" in said
    )
    assert [entry["precision"] for entry in json.loads((folder / "record.json").read_text())] == [
        "32-true",
        "32-true",
    ]
    reproduce(folder, tmp_path / "again")
    assert precision_of_run(tmp_path / "again") == "32-true" and shown == ["32-true"] * 3


@pytest.mark.parametrize(
    "words, asked",
    [([], "auto"), (["trainer.precision=32-true"], "32-true"), (["trainer=default"], "auto")],
)
def test_resume_asks_for_what_the_command_says(
    words: list[str], asked: str, config: dict[str, Any], tmp_path: Path
):
    """Catches a run that goes back to what it was first told, and a command that cannot
    change it.
    """
    config["trainer"]["precision"] = "bf16-mixed"
    (tmp_path / "run").mkdir()
    write_config(tmp_path / "run", config)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        given = [f"resume={tmp_path}/run", "name=test", *words]
        composed_config = compose("train", overrides=given, return_hydra_config=True)
    before = HydraConfig.instance().cfg
    try:
        HydraConfig.instance().set_config(composed_config)
        folder, plain = run_to_resume(composed_config)
        assert (folder, plain["trainer"]["precision"]) == (tmp_path / "run", asked)
        assert sweep_folder() is None
        with read_write(composed_config.hydra), open_dict(composed_config.hydra):
            composed_config.hydra.mode, composed_config.hydra.sweep.dir = (
                RunMode.MULTIRUN,
                "multirun/one",
            )
        HydraConfig.instance().set_config(composed_config)
        assert sweep_folder() == Path("multirun/one")
    finally:
        HydraConfig.instance().cfg = before


def test_what_a_run_computed_in(tmp_path: Path):
    """Catches runs of before the record said it that go on in another arithmetic, and the first
    start taken for the last.
    """
    assert precision_of_run(tmp_path) is None
    (tmp_path / "config.yaml").write_text("trainer: {precision: bf16-mixed}\n")
    (tmp_path / "record.json").write_text("[{}]")
    assert precision_of_run(tmp_path) == "bf16-mixed"
    (tmp_path / "record.json").write_text('[{"precision": "bf16-mixed"}, {"precision": "32-true"}]')
    assert (precision_of_run(tmp_path), precision_of_run(tmp_path, 0)) == ("32-true", "bf16-mixed")
    (tmp_path / "config.yaml").write_text("trainer: {precision: auto}\n")
    (tmp_path / "record.json").write_text("[{}]")
    assert precision_of_run(tmp_path) is None
