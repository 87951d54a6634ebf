import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from small_codec import composed

from codec import registry
from codec.checkpoint import build_codec
from codec.errors import CodecError
from codec.training.logging import Events
from codec.training.run_dir import (
    EVENTS,
    alone_in,
    check_same_run,
    differences,
    identity,
    is_free,
    moved_to,
    read_config,
    with_precision_of,
    write_config,
    write_record,
)
from codec.video import VideoCodec


def config(**changes: Any) -> dict[str, Any]:
    """A small resolved config; a change names its field with __ for dots."""
    made = {
        "run": "runs/a",
        "seed": 0,
        "wandb": "auto",
        "init_from": None,
        "trainer": {"devices": 1, "precision": "bf16-mixed"},
        "data": {"root": "clips", "workers": 2, "record": "runs/a/set_aside.jsonl"},
        "schedule": {"stages": [{"steps": 3}]},
    }
    for name, value in changes.items():
        *path, last = name.split("__")
        where = made
        for part in path:
            where = where[part]
        where[last] = value
    return made


FREE = {
    "run": "b",
    "wandb": "offline",
    "trainer__devices": 4,
    "data__workers": 0,
    "data__record": None,
    "keep_last": 9,
}
FIXED = {"seed": 1, "data__root": "others", "schedule__stages": [{"steps": 4}], "init_from": "x"}


@pytest.mark.parametrize("name", FREE)
def test_what_changes_no_result_changes_no_folder(name: str):
    """Catches a run that is begun anew because it got more workers or is tracked elsewhere."""
    other = config(**{name: FREE[name]})
    assert (
        identity(other) == identity(config())
        and not differences(config(), other)
        and is_free(name.replace("__", "."))
    )


@pytest.mark.parametrize("name", FIXED)
def test_what_changes_the_result_changes_the_folder(name: str):
    """Catches two runs of a sweep in one folder, and a run that goes on as another."""
    other = config(**{name: FIXED[name]})
    assert identity(other) != identity(config()) and len(differences(config(), other)) == 1


def test_a_precision_names_a_folder_where_it_was_given_and_may_change():
    """Catches jobs of a sweep over precisions in one folder, a folder that depends on the machine,
    and a run that may not go on in another precision.
    """
    auto, given = config(trainer__precision="auto"), config(trainer__precision="32-true")
    assert len({identity(auto), identity(given), identity(config())}) == 3 and not differences(
        auto, given
    )
    assert identity(config(trainer={"devices": 2})) == identity(auto)


def test_a_new_field_without_value_changes_nothing():
    """Catches runs that a later version cannot continue because it knows a field more."""
    assert identity(config(loss=None)) == identity(config()) and len(identity(config())) == 8


def test_another_config_is_named_by_its_fields(tmp_path: Path):
    """Catches a run that goes on with other settings, and a message that leaves one searching for
    them.
    """
    write_config(tmp_path, config())
    assert read_config(tmp_path) == config()
    check_same_run(tmp_path, config(data__workers=7))
    with pytest.raises(
        CodecError,
        match=r"seed was 0, is 3; schedule.stages.0.steps was 3, is 4. .*init_from=.*resume=",
    ):
        check_same_run(tmp_path, config(seed=3, schedule__stages=[{"steps": 4}]))
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(CodecError, match="no config.yaml"):
        check_same_run(tmp_path, config())


def test_a_moved_run_writes_where_it_is(tmp_path: Path):
    """Catches a moved or repeated run that writes into the folder of the first."""
    moved = moved_to(tmp_path, config())
    assert moved["run"] == str(tmp_path) and moved["data"]["record"] == str(
        tmp_path / "set_aside.jsonl"
    )
    assert moved_to(tmp_path, config(data__record="/elsewhere"))["data"]["record"] == "/elsewhere"
    assert moved_to(tmp_path, config(data__record=None))["data"]["record"] is None


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path):
    """Catches checkpoints of two processes that replace each other, and a lock that outlives a
    killed process.
    """
    reading, writing = os.pipe()
    other = os.fork()
    if not other:
        with alone_in(tmp_path):
            os.write(writing, b"alone")
            signal.pause()
    try:
        os.read(reading, 5)
        with (
            pytest.raises(CodecError, match=f"process {other} on .* trains there already"),
            alone_in(tmp_path),
        ):
            pass
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
    (tmp_path / "last.ckpt.7.part").write_text("")
    with alone_in(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_mistake_leaves_no_folder(tmp_path: Path):
    """Catches folders of runs that never were, and one that is removed with what somebody had in it
    or a run had begun.
    """
    old, begun, new = tmp_path / "old", tmp_path / "begun", tmp_path / "runs" / "demo" / "1234"
    old.mkdir()
    for folder in (old, begun, new):
        with pytest.raises(CodecError, match="a mistake"), alone_in(folder):
            write_config(folder, config())
            if folder == begun:
                Events(folder / EVENTS).say("stage", "stage 1/1", 0)
            raise CodecError("a mistake")
    assert {path.name for path in tmp_path.iterdir()} == {"old", "begun"}
    assert (old / "config.yaml").is_file() and (begun / "config.yaml").is_file()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path):
    """Catches a traceback for a mistyped run=."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(CodecError, match="cannot be written to .* another folder with run="),
        alone_in(tmp_path / "file" / "run"),
    ):
        pass


@pytest.mark.parametrize(
    "before, now, taken",
    [("bf16", "auto", "bf16"), ("auto", "auto", "auto"), ("bf16", "fp32", "fp32")],
)
def test_the_command_of_an_older_run_goes_on(before: str, now: str, taken: str, tmp_path: Path):
    """Catches runs of before `codec.precision=auto` that their own command no longer continues, and
    a change unseen.
    """
    older, newer = (config(codec={"width": 16, "precision": name}) for name in (before, now))
    assert with_precision_of(tmp_path, newer) == newer  # a new run
    write_config(tmp_path, older)
    assert with_precision_of(tmp_path, newer)["codec"] == {"width": 16, "precision": taken}
    assert newer["codec"]["precision"] == now
    if taken == before:
        check_same_run(tmp_path, with_precision_of(tmp_path, newer))


def in_names_of_before(config: Any, kind: str = "network") -> Any:
    """A config as it was before names were registered: with import paths."""
    if isinstance(config, list):
        return [in_names_of_before(below, kind) for below in config]
    if not isinstance(config, dict):
        return config
    of = {"loss": "loss", "data": "data"}
    found = {name: in_names_of_before(below, of.get(name, kind)) for name, below in config.items()}
    if isinstance(name := found.pop("type", None), str):
        paths = {short: path for path, short in registry._ALIASES[kind].items() if "." in path}
        found = {"_target_": paths[name], "_convert_": "all"} | found
    return found


def test_a_run_of_before_goes_on(tmp_path: Path):
    """Catches runs begun with import paths in their config that are taken for other runs."""
    now = composed("codec=corvid_s", "wandb=disabled")
    before = in_names_of_before(now)
    assert "codec.video.VideoCodec" in str(before) and "'type'" not in str(before)
    del before["plugins"]
    write_config(tmp_path, before)
    check_same_run(tmp_path, now)
    assert isinstance(build_codec(before["codec"]), VideoCodec)
    for kind in ("loss", "data"):
        made = [type(registry.build(kind, config[kind], kind)) for config in (before, now)]
        assert made[0] is made[1]
    other = in_names_of_before(composed("codec=corvid_s", "motion=implicit", "wandb=disabled"))
    assert "codec.motion.type was 'implicit_motion', is 'block_matching'" in differences(other, now)


def test_what_looks_like_a_date_stays_a_word(tmp_path: Path):
    """Catches a run called after its day that cannot be read again, written by us or by
    OmegaConf.
    """
    write_config(tmp_path, config(name="2026-11-30"))
    assert read_config(tmp_path)["name"] == "2026-11-30"
    (tmp_path / "config.yaml").write_text("name: 2026-11-30\nlr: 1.0e-05\n")
    assert read_config(tmp_path) == {"name": "2026-11-30", "lr": 1e-5}


def test_other_threads_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Catches a resumed run that ends with other weights than it would have, without a word."""
    for threads, warned in ((2, False), (2, False), (3, True)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            write_record(tmp_path, 5)
        assert (
            "started with 2 threads, goes on with 3; weights will not be the same bit by bit"
            in caplog.text
        ) == warned
