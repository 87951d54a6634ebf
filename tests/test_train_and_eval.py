import json
import logging
import re
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_codec import FPS, moving_clip

from codec.checkpoint import load_codec, model_hash
from codec.training.run import train
from codec.training.run_dir import identity, read_config
from data.io.writer import write_video

ROOT = Path(__file__).parents[1]
SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
STAGES = (
    "[{name: one, steps: 3, frames: 2, crop: 64, batch: 2, lr: 1e-3, lr_end: 1e-3, validate_every: "
    "3},"
    " {name: two, steps: 5, frames: 3, crop: 64, batch: 1, lr: 1e-3, lr_end: 1e-4, validate_every: "
    "3, loss: {lpips: 10}}]"
)


def script(name: str, *arguments: str) -> str:
    """Run a script at the root as a user would; what it said."""
    done = subprocess.run(
        [sys.executable, name, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of short videos."""
    folder = tmp_path_factory.mktemp("clips")
    for k in range(2):
        write_video(moving_clip(20, 80, 96 + 16 * k), FPS, folder / f"clip{k}.mp4")
    return folder


def settings(clips: Path | str, run: Path | str) -> list[str]:
    """A training run of seconds."""
    data = [
        "data=folder",
        f"data.root={clips}",
        "data.workers=1",
        "data.val_frames=2",
        "data.val_crop=64",
        "data.val_clips=2",
    ]
    small = [
        "width=16",
        "training.log_every=1",
        "training.val_qualities=[10,50]",
        "checkpoint_every=1",
        "name=smoke",
    ]
    return [*data, *small, f"schedule.stages={STAGES}", f"run={run}"]


@pytest.fixture(scope="module")
def run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    assert "trained 8 steps" in script("train.py", *settings(clips, folder), "wandb=offline")
    return folder


def test_a_run_folder_holds_everything(run: Path):
    """Catches a result that cannot be traced: config, versions, commit, command, numbers,
    checkpoints.
    """
    names = {path.name for path in run.iterdir()}
    assert {
        "config.yaml",
        "record.json",
        "metrics.jsonl",
        "best.ckpt",
        "last.ckpt",
        "stage_one.ckpt",
        "wandb",
    } <= names
    record = json.loads((run / "record.json").read_text())[0]
    assert record["command"][0] == "train.py" and record["versions"]["torch"] and record["commit"]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "train/loss" in row] == list(range(1, 9))
    assert {"val/loss", "val/bpp_q10", "val/psnr_q50", "val/lpips_q10"} <= {
        key for row in rows for key in row
    }


def test_a_killed_run_goes_on_by_the_same_command_and_ends_as_an_undisturbed_one(
    clips: Path, run: Path, tmp_path: Path
):
    """Catches lost optimizer state, repeated or skipped clips, and other noise after a kill in the
    middle of a stage.
    """
    folder = tmp_path / "cut"
    arguments = [*settings(clips, folder), "wandb=disabled"]
    with subprocess.Popen([sys.executable, "train.py", *arguments], cwd=ROOT, **SILENT) as process:
        while not steps(folder) >= {5}:
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.05)
        process.kill()
    said = script("train.py", *arguments)
    assert (
        re.search(rf"continues {folder} at step [4-7], stage 2/2 two, ", said)
        and "trained 8 steps" in said
    )
    undisturbed, resumed = (
        torch.load(each / "last.ckpt", weights_only=True) for each in (run, folder)
    )
    assert all(
        torch.equal(value, resumed["codec"][name]) for name, value in undisturbed["codec"].items()
    )
    assert training_rows(folder) == training_rows(run)


def test_a_finished_run_has_nothing_to_do(run: Path, capsys: pytest.CaptureFixture):
    """Catches a command that, given once more, trains again or fails: a cluster may requeue what is
    done.
    """
    kept = (run / "last.ckpt").stat().st_mtime_ns
    assert train(run, read_config(run)) is None
    assert "finished, after 8 steps; nothing to do" in capsys.readouterr().out
    assert (run / "last.ckpt").stat().st_mtime_ns == kept and len(
        json.loads((run / "record.json").read_text())
    ) == 1


def training_rows(folder: Path) -> list[tuple[int, float]]:
    """Step and loss of what a run has logged of training."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row]


def steps(folder: Path) -> set[int]:
    """Codec steps that a run has logged."""
    file = folder / "metrics.jsonl"
    return (
        {json.loads(line)["step"] for line in file.read_text().splitlines()}
        if file.is_file()
        else set()
    )


@pytest.fixture
def quiet_logging() -> Iterator[None]:
    """Hydra's handlers write to the stdout of the test that made them."""
    before = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = before


def test_mistakes_are_one_line(
    clips: Path,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    quiet_logging: None,
):
    """Catches tracebacks for what a user can put right, a run that overwrites another, and folders
    of runs that never were.
    """
    monkeypatch.chdir(ROOT)
    for arguments, said in [
        ([f"resume={tmp_path}"], "config.yaml does not exist"),
        (
            [f"resume={run}", "seed=3", "width=16", "data.workers=0"],
            f"resume={run}: seed was 0, is 3. This would change",
        ),
        ([f"resume={run}", "motion=implicit"], "with motion the command is of another run: "),
        ([*settings(clips, run), "seed=3"], "another config: seed was 0, is 3"),
        (
            [*settings(clips, tmp_path / "odd"), "motion.smallest=12"],
            "motion.smallest: 12, largest: 64; choose from",
        ),
        (
            [*settings(clips, tmp_path / "odd"), "trainer.precision=bf17"],
            "trainer.precision: bf17 given; choose from",
        ),
        ([*settings(clips, tmp_path / "odd"), "data.val_crop=4096"], "data.val_crop is 4096; "),
        ([*settings(clips, tmp_path / "odd"), "wandb=sometimes"], "wandb=sometimes: choose from"),
        (["data=folder"], "data.root has no value"),
        (settings(tmp_path / "nothing", tmp_path / "new"), "nothing"),
    ]:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
        out = capsys.readouterr().err
        assert ended.value.code == 2 and said in out and "Traceback" not in out
    assert not list(tmp_path.iterdir())


def test_ctrl_c_before_training_is_one_line(
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    quiet_logging: None,
):
    """Catches a traceback, and a folder, for a command that was stopped while it started."""

    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("codec.training.run.build_codec", interrupted)
    monkeypatch.setattr(sys, "argv", ["train.py", *settings(clips, tmp_path / "new")])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    assert (ended.value.code, capsys.readouterr().err) == (
        130,
        "interrupted; the same command goes on\n",
    )
    assert not list(tmp_path.iterdir())


def test_the_same_command_finds_its_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, quiet_logging: None
):
    """Catches a folder that depends on when, or with how many workers, a command is given; resume=
    that takes nothing else.
    """
    monkeypatch.chdir(run.parent)
    own = run.parent / "base" / identity(read_config(run))
    own.mkdir(parents=True)
    for name in ("config.yaml", "record.json", "last.ckpt"):
        shutil.copy(run / name, own)
    root = read_config(run)["data"]["root"]
    for arguments in (
        ["-m", *settings(root, "base"), "wandb=disabled", "data.workers=0"],
        [f"resume={run}", "data.workers=0", "wandb=disabled", "trainer=default"],
        [f"resume={run}", "seed=0", "width=16", "schedule.scale=1.0"],
        [f"resume={run}", *settings(root, run), "data.workers=0"],
    ):
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
        assert "finished, after 8 steps" in capsys.readouterr().out


def test_the_trained_codec_is_evaluated_against_hevc(clips: Path, run: Path, tmp_path: Path):
    """Catches a break anywhere on the main road: checkpoint, real files, fresh decoding, x265,
    BD-rate, report.
    """
    out = script(
        "eval.py",
        f"checkpoint={run}",
        f"clips={clips}/clip0.mp4",
        "anchors=[{x265_medium: {qualities: [22, 27, 32, 37]}}, all_intra]",
        "frames=2",
        f"output={tmp_path}",
        "qualities=[0,16,32,63]",
    )
    assert "report.html" in out
    result = json.loads((tmp_path / "rd.json").read_text())
    ours = [point for point in result["points"] if point["codec"] == "corvid"]
    assert result["schema"] == 2 and len(ours) == 4
    assert all(
        point["bytes"] * 8 / (point["width"] * point["height"] * 2) == pytest.approx(point["bpp"])
        for point in ours
    )
    assert result["conditions"] and model_hash(load_codec(run)) in json.dumps(result["conditions"])
    rows = json.loads((tmp_path / "bd_rate.json").read_text())
    assert {row["anchor"] for row in rows} == {"x265_medium", "all_intra"} and any(
        row["clip"] == "mean" for row in rows
    )
    assert (tmp_path / "rd_psnr_rgb.png").stat().st_size > 5000


def test_checkpoints_are_compared_with_each_other(
    clips: Path,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    quiet_logging: None,
):
    """Catches a comparison of networks that needs a standard codec, and names that get lost."""
    several = f"checkpoint={{last:{run}/last.ckpt,one:{run}/stage_one.ckpt}}"
    small = [
        "frames=2",
        "qualities=[0,20,40,63]",
        "metrics=[psnr_rgb]",
        "complexity=false",
        "pictures=false",
        "jobs=1",
        f"clips={clips}/clip0.mp4",
        f"output={tmp_path}",
    ]
    said = script("eval.py", several, "anchors=[]", *small)
    assert "Mean BD-rate against last" in said and "one" in said.split("against last")[1]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["eval.py", several, "anchors=[all_intra]", *small])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "eval.py"), run_name="__main__")
    assert ended.value.code and "one checkpoint expected" in capsys.readouterr().err
