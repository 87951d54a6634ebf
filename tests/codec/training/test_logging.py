"""What a training says of itself in a log."""

import csv
import importlib.util
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from training_module import module as made_module

from codec.errors import CodecError
from codec.training import logging as progress
from codec.training.logging import (
    JsonLinesLogger,
    SafeWandbLogger,
    TrainingProgress,
    finish_loggers,
    forget_after,
    make_loggers,
    pixels,
    progress_callback,
    wandb_logger,
)
from common.progress import Progress

AXIS = "trainer/global_step"  # of all of Lightning's numbers in wandb


@pytest.fixture
def clean_wandb() -> Iterator[None]:
    """wandb reads its environment once a process."""
    wandb.teardown()
    yield
    wandb.teardown()


class Recorded:
    """A wandb run that keeps what it is told, until it fails."""

    def __init__(self) -> None:
        self.rows, self.fails = [], False

    def log(self, row: dict[str, float]) -> None:
        if self.fails:
            raise ConnectionError("gone")
        self.rows.append(row)


def test_a_row_says_its_step_and_later_ones_are_forgotten(tmp_path: Path):
    """Catches steps that a resumed run lists twice, and half a line that makes the file
    unreadable.
    """
    path = tmp_path / "metrics.jsonl"
    logger = JsonLinesLogger(path)
    for step in (1, 2, 3):
        logger.log_metrics({"loss": 0.5}, step)
    path.write_text(path.read_text() + '{"step": 2, "lo' + '{"step": 2}\n{"step": 2')
    forget_after(path, 2)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 0.5},
    ]
    forget_after(path, -1)
    assert path.read_text() == ""


def test_wandb_counts_steps_of_the_whole_run_and_takes_repeated_ones():
    """Catches an axis of Lightning's steps, and values that wandb drops because a resumed run
    repeats their steps.
    """
    run = Recorded()
    logger = SafeWandbLogger(experiment=run)
    for step in (1, 2, 2):
        logger.log_metrics({"loss": 0.5}, step)
    assert run.rows == [{"loss": 0.5, AXIS: step} for step in (1, 2, 2)]


def test_a_failing_wandb_does_not_stop_training(caplog: pytest.LogCaptureFixture):
    """Catches a run of weeks that ends, or warns at every step, because a tracking process died."""
    run = Recorded()
    logger = SafeWandbLogger(experiment=run)
    run.fails = True
    for step in (1, 2):
        logger.log_metrics({"loss": 0.5}, step)
    logger.finish(exit_code=0)
    assert caplog.text.count("wandb: failed at step 1 (gone)") == 1


def test_an_unknown_mode_is_refused(tmp_path: Path):
    """Catches a mistyped mode that begins some run, or none, without a word."""
    with pytest.raises(
        CodecError, match="wandb=of-line: choose from auto, online, offline, disabled"
    ):
        wandb_logger(tmp_path, "test", "of-line", {})
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_has_the_same_id(tmp_path: Path, clean_wandb: None):
    """Catches a wandb run for every resume."""
    ids = []
    for step in (5, 4):
        logger = wandb_logger(tmp_path, "test", "offline", {"width": 16})
        ids.append(logger.experiment.id)
        logger.log_metrics({"loss": 0.5}, step)
        logger.finish(exit_code=0)
    assert ids[0] == ids[1] == (tmp_path / "wandb_id.txt").read_text().strip()
    runs = list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    end = (
        time.monotonic() + 60
    )  # wandb's own process writes, on a busy machine after finish() has come back
    while (
        not (there := all(AXIS.encode() in path.read_bytes() for path in runs))
        and time.monotonic() < end
    ):
        time.sleep(0.5)
    assert there and wandb.run is None
    assert wandb_logger(tmp_path, "test", "disabled", {}) is None


def test_an_unreachable_wandb_is_a_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    clean_wandb: None,
):
    """Catches a run that never begins, or never ends, on a node without internet."""
    for name, value in {
        "BASE_URL": "http://127.0.0.1:9",
        "API_KEY": "0123456789" * 4,
        "INIT_TIMEOUT": "1",
    }.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    with caplog.at_level(logging.WARNING):
        logger = wandb_logger(tmp_path, "test", "online", {})
    assert (
        "online run could not begin" in caplog.text
        and "offline instead; later, `wandb sync" in caplog.text
    )
    logger.log_metrics({"loss": 0.5}, 1)
    logger.finish(exit_code=0)
    assert any(name.startswith("offline-run-") for name in os.listdir(tmp_path / "wandb"))


def test_csv_and_metrics_have_the_same_numbers(tmp_path: Path):
    """Catches a logger that is chosen and gets nothing, rows that wait for the end of a run, and
    those of before a resume that are deleted.
    """
    config = {"name": "test", "wandb": "offline", "logger": {"csv": {}}}
    for start in (0, 10):
        loggers = make_loggers(tmp_path, config, start)
        for step in (start + 10, start + 20):
            for logger in loggers:
                logger.log_metrics({"loss": 0.5 / step}, step)
        version = tmp_path / "csv" / f"version_{start // 10}" / "metrics.csv"
        with version.open() as file:
            rows = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]
        assert rows == [(step, 0.5 / step) for step in (start + 10, start + 20)]
        finish_loggers(loggers, failed=False)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4
    assert not (tmp_path / "wandb").exists() and (tmp_path / "csv" / "version_0").is_dir()


def test_runs_of_before_have_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Catches a resumed run that loses its wandb run, and `wandb=disabled` that is not heard."""
    asked: list[str] = []
    monkeypatch.setattr(
        "codec.training.logging.wandb_logger", lambda folder, name, mode, config: asked.append(mode)
    )
    for config in ({"wandb": "offline"}, {"wandb": "disabled", "logger": {"wandb": None}}):
        assert len(make_loggers(tmp_path, config | {"name": "test"})) == 1
    make_loggers(tmp_path, {"name": "test", "wandb": "online", "logger": {}})
    assert asked == ["offline", "disabled"]


@pytest.mark.parametrize(
    "logger, words",
    [
        ({"mlflow": {}}, "logger.mlflow: no logger; choose from wandb, csv, tensorboard"),
        ({"csv": {"save_dir": "/"}}, "logger.csv.save_dir: not a field to give"),
    ],
)
def test_what_no_logger_takes_is_refused(tmp_path: Path, logger: dict[str, Any], words: str):
    """Catches numbers that go nowhere, and a stored config that writes to another place."""
    with pytest.raises(CodecError, match=words):
        make_loggers(tmp_path, {"name": "test", "wandb": "disabled", "logger": logger})


def test_tensorboard_is_lightnings_or_says_what_to_install(tmp_path: Path):
    """Catches a traceback instead of the remedy, and rows that a resumed run shows twice."""
    config = {"name": "test", "wandb": "disabled", "logger": {"tensorboard": {}}}
    if importlib.util.find_spec("tensorboard") or importlib.util.find_spec("tensorboardX"):
        _, logger = make_loggers(tmp_path, config, 3)
        logger.log_metrics({"loss": 0.5}, 4)
        logger.finalize("success")
        assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    else:
        with pytest.raises(CodecError, match="pip install tensorboard"):
            make_loggers(tmp_path, config)


class Clock:
    """Seconds as the test says."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_log_says_the_step_the_rate_and_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    """Catches a log of a bar's refreshes, one without numbers, and time left that forgets the
    stages to come.
    """
    clock = Clock()
    monkeypatch.setattr(Progress, "_watch", lambda self: None)
    monkeypatch.setattr(
        progress, "Progress", lambda *given, **how: Progress(*given, **how, clock=clock)
    )
    trained = made_module(batch=2, frames=2)
    first = trained.schedule.stages[0]
    stages = [
        SimpleNamespace(**vars(first) | {"steps": steps, "frames": frames})
        for steps, frames in ((100, 2), (200, 4))
    ]
    module = SimpleNamespace(
        schedule=SimpleNamespace(stages=stages), stage_index=0, stage=stages[0], step_of_stage=0
    )
    trainer = SimpleNamespace(progress_bar_metrics={"loss": 0.912345, "v_num": 0})
    callback = TrainingProgress()
    callback.on_train_start(trainer, module)
    for _ in range(40):
        clock.now += 1
        callback.on_train_batch_end(trainer, module, None, None, 0)
    callback.on_exception(trainer, module, KeyboardInterrupt())
    assert pixels(stages[1]) == 2 * pixels(stages[0])
    assert capsys.readouterr().out.splitlines() == [
        f"stage 1/2 {first.name}: 30 of 100 steps, 1.0 steps/s, about 70 s left; with later stages "
        "about 8 min; loss 0.9123"
    ]
    assert not Progress._open


def test_a_terminal_has_a_bar_and_a_log_has_lines(monkeypatch: pytest.MonkeyPatch):
    """Catches thousands of refreshes in a file."""
    assert isinstance(progress_callback(), TrainingProgress)  # pytest's output is no terminal
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert not isinstance(progress_callback(), TrainingProgress)
