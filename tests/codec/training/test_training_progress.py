"""What a training says of itself in a log."""

import sys
from types import SimpleNamespace

import pytest
from training_module import module as made_module

from codec.training import logging as progress
from codec.training.logging import TrainingProgress, pixels, progress_callback
from common.progress import Progress


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
