"""Progress in a log, with a clock of our own."""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from common import progress as module
from common.progress import Progress, amount, duration, progress_over, rate_text


class Clock:
    """Seconds as the test says."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """No thread looks at it: the test calls `tick`."""
    monkeypatch.setattr(Progress, "_watch", lambda self: None)
    return Clock()


def test_a_log_gets_a_line_every_half_minute(clock: Clock):
    """Catches a log without a sign of life, one with a line a step, and control characters of a
    bar.
    """
    log = io.StringIO()
    with Progress("compress", 300, stream=log, clock=clock, note=lambda: "loss 0.5") as shown:
        for _ in range(100):
            clock.now += 1
            shown.update()
            shown.tick()
    assert log.getvalue().splitlines() == [
        "compress: 30 of 300 frames, 1.0 frames/s, about 4 min left; loss 0.5",
        "compress: 60 of 300 frames, 1.0 frames/s, about 4 min left; loss 0.5",
        "compress: 90 of 300 frames, 1.0 frames/s, about 4 min left; loss 0.5",
        "compress: 100 of 300 frames in 2 min",
    ]


def test_a_step_that_takes_long_is_told_while_it_lasts(clock: Clock):
    """Catches twenty minutes of silence before the first point, and its time counted for all
    others.
    """
    log = io.StringIO()
    with Progress("evaluate", 4, "point", stream=log, clock=clock) as shown:
        for seconds, finished in ((36, 0), (36, 0), (600, 1), (60, 1)):
            clock.now += seconds
            shown.update(finished) if finished else shown.tick()
    assert log.getvalue().splitlines()[:4] == [
        "evaluate: 0 of 4 points, 36 s so far",
        "evaluate: 0 of 4 points, 72 s so far",
        "evaluate: 1 of 4 points, 5.4 points/h, about 34 min left",
        "evaluate: 2 of 4 points, 1.0 points/min, about 2 min left",
    ]


def test_short_work_says_nothing(clock: Clock):
    """Catches lines about what is over at once."""
    log = io.StringIO()
    assert list(progress_over([1, 2, 3], "validation", "batch", stream=log, clock=clock)) == [
        1,
        2,
        3,
    ]
    assert log.getvalue() == ""


def test_only_the_innermost_speaks(clock: Clock):
    """Catches two lines a half minute where a stage validates, a line right after another, and
    second processes that speak.
    """
    log = io.StringIO()
    how = {"stream": log, "clock": clock}
    with (
        Progress("stage", 10, "step", **how) as outer,
        Progress("other", 10, "step", shown=False, **how) as silent,
    ):
        clock.now += 40
        silent.update()
        outer.tick()
    assert log.getvalue() == ""
    with Progress("stage", 10, "step", **how) as outer:
        with Progress("validation", 8, "clip", **how) as inner:
            clock.now += 40
            outer.tick()
            inner.update(2)
            clock.now += 10
        clock.now += 10
        outer.update()
        assert log.getvalue().splitlines()[:1] == [
            "validation: 2 of 8 clips, 3.0 clips/min, about 2 min left"
        ]
        assert len(log.getvalue().splitlines()) == 2 and "in 50 s" in log.getvalue()


def test_what_a_run_had_done_before_does_not_count_for_its_rate(clock: Clock):
    """Catches a resumed stage that says it is done in a moment."""
    shown = Progress("stage", 400, "step", done=300, stream=io.StringIO(), clock=clock)
    clock.now += 10
    shown.update()
    clock.now += 98
    shown.update(49)
    assert (
        shown.rate() == 0.5 and shown.seconds_left() == 100 and "350 of 400 steps" in shown.line()
    )


def test_a_terminal_has_its_bar(clock: Clock):
    """Catches a bar that is gone where somebody watches, and lines between its refreshes."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    with Progress("compress", 3, stream=terminal, clock=clock) as shown:
        clock.now += 100
        shown.update()
        shown.tick()
    assert "compress:   0%" in terminal.getvalue() and "about" not in terminal.getvalue()


def test_an_error_ends_the_thread_and_promises_nothing(monkeypatch: pytest.MonkeyPatch):
    """Catches a thread that writes on behind an error, and work that failed and is called done."""
    monkeypatch.setattr(module, "EVERY", 0.0)
    log = io.StringIO()
    with pytest.raises(KeyError), Progress("pack", 2, "clip", stream=log) as shown:
        watching = [thread for thread in threading.enumerate() if thread.name == "progress"]
        shown.update()
        raise KeyError
    watching[-1].join(10)
    assert not watching[-1].is_alive() and " in " not in log.getvalue() and not Progress._open


def test_numbers_are_for_people():
    """Catches seconds where days are meant, and rates of 0.0."""
    assert [duration(s) for s in (4.4, 89, 150, 5400, 50_000, 400_000)] == [
        "4 s",
        "89 s",
        "2 min",
        "1.5 h",
        "14 h",
        "4.6 days",
    ]
    assert [rate_text(r, "step") for r in (31.4, 3.14, 0.25, 0.001)] == [
        "31 steps/s",
        "3.1 steps/s",
        "15 steps/min",
        "3.6 steps/h",
    ]
    assert rate_text(41e6, "B") == "41 MB/s" and amount(2_500_000_000, "B") == "2,500 MB"
    assert (amount(1, "batch"), amount(2, "batch"), amount(1200, "point")) == (
        "1 batch",
        "2 batches",
        "1,200 points",
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize(
    "command", [["-m", "codec.cli", "compress", "--help"], ["train.py", "--help"]]
)
def test_any_terminal_will_do(encoding: str, command: list[str]):
    """Catches a traceback for a character that a terminal lacks."""
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, *command], cwd=root, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0 and len(done.stdout) > 500 and b"Traceback" not in done.stderr
