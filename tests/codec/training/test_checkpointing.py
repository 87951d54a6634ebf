import json
import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_codec import build
from torch import nn

import common.files
from codec.checkpoint import read_checkpoint, save_checkpoint
from codec.errors import CodecError
from codec.training.checkpointing import CheckpointManager, find_newest, init_from, rotate
from codec.training.logging import Events, MetricAccumulator
from codec.training.throughput import Stopwatch
from codec.video import VideoCodec
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
        self.codec, self.global_step, self.validation_loss = Tiny(), step, 1.0
        self.is_consistent, self.stopwatch = True, Stopwatch()
        self.samples = self.skipped = self.skipped_in_a_row = self.stages_done = 0
        self.figures, self.before, self.ema, self.accumulator, self.events = (
            {},
            {},
            None,
            MetricAccumulator(),
            Events(),
        )
        self.stage, self.data_state = SimpleNamespace(name="a"), lambda samples: {}
        self.optimizer = torch.optim.SGD(self.codec.parameters(), lr=1.0)
        self.kept: dict[str, torch.Tensor] | None = None

    def weights_to_keep(self) -> dict[str, torch.Tensor]:
        return self.kept or self.codec.state_dict()


def run_to(folder: Path, steps: int, **settings: int) -> CheckpointManager:
    """Checkpoints of a run after so many steps, written every step."""
    keep = CheckpointManager(folder, every=1, **settings)
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
    keep = CheckpointManager(tmp_path, keep_last=1)
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
        CheckpointManager(tmp_path).save_last(TinyTraining(4))
    monkeypatch.setattr(os, "replace", real)
    newest = 3 if stop_at == 1 else 4
    assert find_newest(tmp_path)["training"]["codec_steps"] == newest
    rotate(tmp_path, 3)
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
    keep, module = CheckpointManager(tmp_path), TinyTraining(1)
    keep.save_if_best(module)
    keep.save_last(module)
    again = CheckpointManager(tmp_path)
    again.restore(TinyTraining(), find_newest(tmp_path))
    worse = TinyTraining(2)
    worse.validation_loss = 1.5
    again.save_if_best(worse)
    assert steps_in(tmp_path)["best.ckpt"] == 1


def test_weights_to_keep_are_what_is_exported(tmp_path: Path):
    """Catches a checkpoint that exports raw weights where their average was validated."""
    module = TinyTraining(1)
    module.kept = {name: value + 1 for name, value in module.codec.state_dict().items()}
    CheckpointManager(tmp_path).save_last(module)
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
    monkeypatch.setattr(CheckpointManager, "save", lambda *args: pytest.fail("tried again"))
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
    half.is_consistent = False
    keep.on_exception(TRAINER, half, KeyboardInterrupt())
    assert steps_in(tmp_path)["last.ckpt"] == 1
    keep.on_exception(TRAINER, TinyTraining(3), KeyboardInterrupt())
    keep.on_exception(TRAINER, TinyTraining(3), KeyboardInterrupt())
    assert steps_in(tmp_path) == {"last.ckpt": 3, "last-1.ckpt": 1}


def shaken(*overrides: str) -> VideoCodec:
    """A codec with other weights than `build` gives."""
    codec = build(*overrides)
    with torch.no_grad():
        for value in codec.parameters():
            value += 0.25
    return codec


def test_the_same_codec_is_taken_whole(tmp_path: Path):
    """Catches a tensor that is left as it was without a word."""
    other, codec = shaken(), build()
    save_checkpoint(tmp_path / "a.ckpt", other)
    count = len(codec.state_dict())
    assert (
        init_from(codec, str(tmp_path / "a.ckpt"))
        == f"init_from={tmp_path / 'a.ckpt'}: {count} of {count} tensors taken"
    )
    assert all(
        torch.equal(value, codec.state_dict()[name]) for name, value in other.state_dict().items()
    )


def test_what_does_not_match_is_named_by_module(tmp_path: Path):
    """Catches a network that stays untrained in silence, and a list of hundreds of names that
    nobody reads.
    """
    other, codec = shaken(), build("motion=implicit", "residual_depth=3")
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    save_checkpoint(tmp_path / "a.ckpt", other)
    said = init_from(codec, str(tmp_path / "a.ckpt"))
    taken = 0
    for name, value in codec.state_dict().items():
        came = other.state_dict().get(name)
        matches = came is not None and came.shape == value.shape
        assert torch.equal(value, came if matches else before[name])
        taken += matches
    assert f"{taken} of {len(before)} tensors taken" in said
    assert (
        "not there, left as they are: " in said
        and "there but not in this codec, not used: motion" in said
    )
    assert all(line.count(";") < 14 for line in said.splitlines())


def test_other_shapes_are_shown():
    """Catches a width that was changed and is found out after days."""
    from codec.training.checkpointing import _modules

    ours, theirs = nn.Linear(2, 3).state_dict(), nn.Linear(4, 3).state_dict()
    assert _modules(["weight"], ours, theirs) == ["weight (3, 2), there (3, 4)"]
    deep = {"a.b.c": ours["bias"], "a.b.d": ours["bias"], "a.e": ours["bias"]}
    assert _modules(["a.b.c", "a.b.d"], deep) == ["a.b.* (2 tensors, as a.b.c (3,))"]


def test_nothing_to_take_and_bad_numbers_are_errors(tmp_path: Path):
    """Catches a run that starts from scratch, or from NaN, although weights were given."""
    codec = build()
    save_checkpoint(tmp_path / "none.ckpt", codec, weights={"other.weight": torch.zeros(3)})
    with pytest.raises(
        CodecError, match="none of its 1 tensors has a name and shape of this codec"
    ):
        init_from(codec, str(tmp_path / "none.ckpt"))
    bad = {name: value * float("nan") for name, value in codec.state_dict().items()}
    save_checkpoint(tmp_path / "bad.ckpt", codec, weights=bad)
    with pytest.raises(CodecError, match="non-finite"):
        init_from(codec, str(tmp_path / "bad.ckpt"))
