import json
import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import common.files
from codec.checkpoint import read_checkpoint
from codec.errors import CodecError
from codec.training.checkpointing import KeepCheckpoints, find_newest, settle
from codec.training.logging import Events, TermMeans
from common.files import WriteError

TRAINER = SimpleNamespace(is_global_zero=True)


class Tiny(nn.Linear):
    """What a checkpoint needs of a codec."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.config, self.frozen, self.stored_names = {"width": 2}, None, {}


class TinyTraining:
    """What checkpoints need of a training module."""

    def __init__(self, step: int = 0) -> None:
        self.codec, self.codec_steps, self.stepping, self.validation_loss = Tiny(), step, False, 1.0
        self.samples = self.skipped = self.skipped_in_a_row = self.stages_done = 0
        self.figures, self.before, self.average, self.means, self.events = (
            {},
            {},
            None,
            TermMeans(),
            Events(),
        )
        self.stage, self.data_state = SimpleNamespace(name="a"), lambda samples: {}
        self.optimizer = torch.optim.SGD(self.codec.parameters(), lr=1.0)
        self.kept: dict[str, torch.Tensor] | None = None

    def weights_to_keep(self) -> dict[str, torch.Tensor]:
        return self.kept or self.codec.state_dict()


def run_to(folder: Path, steps: int, **settings: int) -> KeepCheckpoints:
    """Checkpoints of a run after so many steps, written every step."""
    keep = KeepCheckpoints(folder, every=1, **settings)
    for step in range(1, steps + 1):
        keep.on_train_batch_end(TRAINER, TinyTraining(step), None, None, step)
    return keep


def steps_in(folder: Path) -> dict[str, int]:
    return {
        path.name: read_checkpoint(path)["training"]["codec_steps"]
        for path in sorted(folder.glob("*.ckpt"))
    }


def test_the_last_ones_are_kept(tmp_path: Path):
    """Catches one checkpoint too few, one too many, and numbers that do not follow the steps."""
    run_to(tmp_path, 5, keep_last=3)
    assert steps_in(tmp_path) == {"last.ckpt": 5, "last-1.ckpt": 4, "last-2.ckpt": 3}
    keep = KeepCheckpoints(tmp_path, keep_last=1)
    keep.save_last(TinyTraining(6))
    assert steps_in(tmp_path) == {"last.ckpt": 6}


@pytest.mark.parametrize("stop_at", range(1, 5))
def test_a_kill_while_they_are_renamed_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
):
    """Catches a moment at which neither the new checkpoint nor the one before it has a name that is
    looked for.
    """
    run_to(tmp_path, 3)
    real, calls = os.replace, []

    def killed(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == stop_at:
            raise SystemExit
        real(*arguments)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(SystemExit):
        KeepCheckpoints(tmp_path).save_last(TinyTraining(4))
    monkeypatch.setattr(os, "replace", real)
    newest = 3 if stop_at == 1 else 4
    assert find_newest(tmp_path)["training"]["codec_steps"] == newest
    settle(tmp_path, 3)
    assert (
        steps_in(tmp_path)["last.ckpt"] == newest
        and find_newest(tmp_path)["training"]["codec_steps"] == newest
    )


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Catches a run that cannot go on after a crash of the machine, or goes on with weights that a
    disk changed, and one whose history does not tell.
    """
    run_to(tmp_path, 3)
    last, before = tmp_path / "last.ckpt", tmp_path / "last-1.ckpt"
    os.truncate(last, last.stat().st_size // 2)
    weights = read_checkpoint(before)["codec"]["weight"].numpy().tobytes()
    flipped = before.read_bytes().replace(weights, weights[:-1] + bytes([weights[-1] ^ 1]))
    before.write_bytes(flipped)
    with caplog.at_level(logging.WARNING):
        assert find_newest(tmp_path)["training"]["codec_steps"] == 1
    assert "last.ckpt: not a readable checkpoint" in caplog.text and "wrong checksum" in caplog.text
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"last.ckpt.broken", "last-1.ckpt.broken", "last-2.ckpt", "events.jsonl"}
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    told = [("broken checkpoint", 1, "last.ckpt"), ("broken checkpoint", 1, "last-1.ckpt")]
    assert [(event["kind"], event["step"], event["file"]) for event in events] == told
    (tmp_path / "last-2.ckpt").write_bytes(b"")
    with pytest.raises(CodecError, match="none of last-2.ckpt can be read .* init_from"):
        find_newest(tmp_path)
    with pytest.raises(CodecError, match="none of last-1.ckpt, last-2.ckpt, last.ckpt can be read"):
        find_newest(tmp_path)  # the same command again must not begin anew over it


def test_a_checkpoint_that_cannot_be_read_now_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches a passing error of the machine that throws a good checkpoint away for good."""

    def too_many_files(*given: Any, **how: Any) -> None:
        raise OSError(24, "Too many open files")

    run_to(tmp_path, 2)
    with monkeypatch.context() as patch:
        patch.setattr("codec.checkpoint.torch.load", too_many_files)
        with pytest.raises(CodecError, match="last.ckpt: cannot be read now .*Too many open files"):
            find_newest(tmp_path)
    assert find_newest(tmp_path)["training"]["codec_steps"] == 2


def test_a_folder_without_checkpoints_has_none(tmp_path: Path):
    """Catches an error where a run was killed before its first checkpoint."""
    assert find_newest(tmp_path) is None


def test_the_best_is_kept_and_remembered(tmp_path: Path):
    """Catches a best.ckpt that is overwritten by a worse one, after a resume too."""
    keep, module = KeepCheckpoints(tmp_path), TinyTraining(1)
    keep.validated(module)
    keep.save_last(module)
    again = KeepCheckpoints(tmp_path)
    again.take_up(TinyTraining(), find_newest(tmp_path))
    worse = TinyTraining(2)
    worse.validation_loss = 1.5
    again.validated(worse)
    assert steps_in(tmp_path)["best.ckpt"] == 1


def test_weights_to_keep_are_what_is_exported(tmp_path: Path):
    """Catches a checkpoint that exports raw weights where their average was validated."""
    module = TinyTraining(1)
    module.kept = {name: value + 1 for name, value in module.codec.state_dict().items()}
    KeepCheckpoints(tmp_path).save_last(module)
    assert torch.equal(read_checkpoint(tmp_path)["codec"]["weight"], module.kept["weight"])


def full(handle: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Catches a second attempt that buries the first error, and earlier checkpoints lost to it."""
    keep = run_to(tmp_path, 2)
    monkeypatch.setattr(common.files.os, "fsync", full)
    module = TinyTraining(3)
    with pytest.raises(WriteError) as error:
        keep.save_last(module)
    monkeypatch.setattr(KeepCheckpoints, "save", lambda *args: pytest.fail("tried again"))
    keep.on_exception(TRAINER, module, error.value)
    assert steps_in(tmp_path) == {"last.ckpt": 2, "last-1.ckpt": 1}


def test_an_exception_is_not_hidden_by_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    """Catches a run that says its disk is full where a bad batch ended it."""
    keep = run_to(tmp_path, 2)
    monkeypatch.setattr(common.files.os, "fsync", full)
    keep.on_exception(TRAINER, TinyTraining(3), ValueError("bad batch"))
    assert "warning: " in (said := capsys.readouterr().out) and "the disk is full" in said


def test_a_stop_keeps_the_last_step_but_not_half_of_one(tmp_path: Path):
    """Catches steps that are trained twice: lost at a stop, or saved before they are counted."""
    keep = run_to(tmp_path, 1)
    keep.every = 100
    half = TinyTraining(2)
    half.stepping = True
    keep.on_exception(TRAINER, half, KeyboardInterrupt())
    assert steps_in(tmp_path)["last.ckpt"] == 1
    keep.on_exception(TRAINER, TinyTraining(3), KeyboardInterrupt())
    keep.on_exception(TRAINER, TinyTraining(3), KeyboardInterrupt())
    assert steps_in(tmp_path) == {"last.ckpt": 3, "last-1.ckpt": 1}
