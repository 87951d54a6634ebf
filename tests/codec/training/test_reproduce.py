"""A run is trained again and compared; in this process, as `corvid reproduce` does."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from small_codec import FPS, composed, moving_clip

from codec.checkpoint import read_checkpoint
from codec.cli import main
from codec.errors import CodecError
from codec.training import reproduce
from codec.training.reproduce import (
    Figure,
    changes,
    compare_figures,
    compare_weights,
    evaluation_command,
    last_validation,
)
from codec.training.run import train
from data.io.writer import write_video

STAGES = "[{name: one, steps: 2, frames: 2, crop: 64, batch: 2, lr: 1e-3, lr_end: 1e-3}]"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of two steps, with the record of an evaluation."""
    base = tmp_path_factory.mktemp("reproduced")
    write_video(moving_clip(12, 80, 96), FPS, base / "clips" / "clip.mp4")
    folder = base / "run"
    data = [
        "data=folder",
        f"data.root={base}/clips",
        "data.workers=0",
        "data.val_frames=2",
        "data.val_crop=64",
        "data.val_clips=1",
    ]
    small = [
        "width=16",
        "training.log_every=1",
        "training.val_qualities=[30]",
        "wandb=disabled",
        f"run={folder}",
    ]
    train(folder, composed(*data, *small, f"schedule.stages={STAGES}"))
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / "rd.json").write_text("{}")
    command = ["eval.py", f"checkpoint={folder}", "clips=videos", "anchors=[]", "output=elsewhere"]
    (folder / "evaluation" / "record.json").write_text(json.dumps([{"command": command}]))
    return folder


@pytest.fixture(scope="module")
def again(run: Path) -> Path:
    """Its reproduction."""
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", str(run)])
    assert ended.value.code == 0
    return run / "reproduction"


def test_the_same_config_gives_the_same_weights(
    run: Path, again: Path, capsys: pytest.CaptureFixture
):
    """Catches randomness that follows from no seed, a run that its config does not describe, and a
    second training of what is there.
    """
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", str(run), "-o", str(again)])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and "nothing to do" in said
    assert (
        "identical bit by bit" in said
        and "every figure within 2.0%" in said
        and "val/psnr_q30" in said
    )
    assert {figure.difference for figure in compare_figures(run, again, 0.0)} == {0.0}
    assert (
        f"python eval.py checkpoint={again} output={again}/evaluation clips=videos anchors=[]"
        in said
    )
    assert (
        "/reproduction/" in (again / "config.yaml").read_text()
        and len(json.loads((again / "record.json").read_text())) == 1
    )


def test_a_difference_is_found(
    run: Path, again: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    """Catches a comparison that only looks at the files' presence: other figures, other weights, a
    figure that is missing.
    """
    shutil.copytree(again, tmp_path / "other")
    content = read_checkpoint(tmp_path / "other" / "last.ckpt")
    name = next(name for name, value in content["codec"].items() if value.is_floating_point())
    content["codec"][name] += 0.25
    torch.save(content, tmp_path / "other" / "last.ckpt")
    assert (
        f"1 of {len(content['codec'])} tensors differ, by 0.25 at most (in {name})"
        in compare_weights(run, tmp_path / "other")
    )
    rows = [json.loads(line) for line in (again / "metrics.jsonl").read_text().splitlines()]
    rows[-1]["val/bpp_q30"] *= 1.03
    del rows[-1]["val/psnr_q30"]
    (tmp_path / "other" / "metrics.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows)
    )
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", str(run), "-o", str(tmp_path / "other")])
    assert ended.value.code == 1 and "not reproduced: val/bpp_q30, val/psnr_q30" in " ".join(
        capsys.readouterr().out.split()
    )


def test_decibels_and_shares():
    """Catches PSNR compared as a share, where 2 % are 0.7 dB; a sign that hides a difference; NaN
    taken for equal.
    """
    assert (
        Figure("val/psnr_q30", 35.0, 34.95, 0.1).holds
        and not Figure("val/psnr_q30", 35.0, 34.85, 0.1).holds
    )
    assert (
        Figure("val/bpp_q30", 0.1, 0.1019, 0.02).holds
        and not Figure("val/bpp_q30", 0.1, 0.0979, 0.02).holds
    )
    assert (
        not Figure("val/loss", 1.0, math.nan, 0.02).holds
        and not Figure("val/loss", 1.0, None, 0.02).holds
    )
    assert Figure("val/loss", 0.0, 0.0, 0.0).holds and not Figure("val/loss", 0.0, 1e-9, 0.02).holds


def test_what_has_changed_since_is_said(run: Path, tmp_path: Path):
    """Catches a difference that is put down to chance while another torch made it."""
    assert all(line.startswith("commit") for line in changes(run))
    record = json.loads((run / "record.json").read_text())
    record[0]["versions"]["torch"] = "1.0"
    (tmp_path / "record.json").write_text(json.dumps(record))
    assert f"torch: 1.0 then, {torch.__version__.partition('+')[0]} now" in changes(tmp_path)
    (tmp_path / "record.json").unlink()
    assert "unknown" in changes(tmp_path)[0] and evaluation_command(tmp_path, run) is None


def test_a_folder_that_is_not_there_is_said_first(tmp_path: Path, capsys: pytest.CaptureFixture):
    """Catches a mistyped path that is answered with the files that it lacks."""
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", str(tmp_path / "none")])
    said = capsys.readouterr()
    assert ended.value.code == 2 and not said.out and "none: the folder does not exist" in said.err


def test_folders_that_cannot_be_reproduced(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches a comparison with figures of a run that is not finished, and tracebacks for a folder
    that is no run.
    """
    with pytest.raises(
        CodecError, match=r"no config\.yaml and no metrics\.jsonl and no last\.ckpt"
    ):
        reproduce.reproduce(tmp_path, tmp_path / "again")
    with pytest.raises(CodecError, match="the run itself"):
        reproduce.reproduce(run, run)
    for name in ("config.yaml", "metrics.jsonl", "last.ckpt"):
        shutil.copy(run / name, tmp_path)
    content = read_checkpoint(run / "last.ckpt")
    content["training"]["codec_steps"] = 1
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(
        CodecError, match=r"stopped at step 1 of 2; finish it first: python train\.py resume="
    ):
        reproduce.reproduce(tmp_path, tmp_path / "again")
    (tmp_path / "config.yaml").write_text("clips: videos\n")
    with pytest.raises(CodecError, match=r"not the config of a run of train\.py"):
        reproduce.reproduce(tmp_path, tmp_path / "again")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "train/loss": 1.0}\n{"step": 2, "val/l')
    with pytest.raises(CodecError, match="no validation in it"):
        last_validation(tmp_path)
