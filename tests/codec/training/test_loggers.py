import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from codec.errors import CodecError
from codec.training.logging import JsonLinesLogger, WandbLogger, forget_after, wandb_logger


@pytest.fixture
def clean_wandb() -> Iterator[None]:
    """wandb reads its environment once a process."""
    wandb.teardown()
    yield
    wandb.teardown()


class Recorded:
    """A wandb run that keeps what it is told, until it fails."""

    def __init__(self) -> None:
        self.rows, self.axes, self.fails = [], [], False

    def define_metric(self, name: str, **settings: Any) -> None:
        self.axes.append((name, settings.get("step_metric")))

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


def test_wandb_counts_codec_steps_and_takes_repeated_ones():
    """Catches an axis of Lightning's steps, and values that wandb drops because a resumed run
    repeats their steps.
    """
    run = Recorded()
    logger = WandbLogger(run)
    for step in (1, 2, 2):
        logger.log_metrics({"loss": 0.5}, step)
    assert run.axes == [("codec_step", None), ("*", "codec_step")]
    assert run.rows == [{"loss": 0.5, "codec_step": step} for step in (1, 2, 2)]


def test_a_failing_wandb_does_not_stop_training(caplog: pytest.LogCaptureFixture):
    """Catches a run of weeks that ends, or warns at every step, because a tracking process died."""
    run = Recorded()
    logger = WandbLogger(run)
    run.fails = True
    for step in (1, 2):
        logger.log_metrics({"loss": 0.5}, step)
    logger.finish(failed=False)
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
        ids.append(logger.run.id)
        logger.log_metrics({"loss": 0.5}, step)
        logger.finish(failed=False)
    assert ids[0] == ids[1] == (tmp_path / "wandb_id.txt").read_text().strip()
    runs = list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    end = (
        time.monotonic() + 60
    )  # wandb's own process writes, on a busy machine after finish() has come back
    while (
        not (there := all(b"codec_step" in path.read_bytes() for path in runs))
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
    logger.finish(failed=False)
    assert any(name.startswith("offline-run-") for name in os.listdir(tmp_path / "wandb"))
