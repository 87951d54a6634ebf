from typing import Any

import pytest

from codec.training import throughput as clock_module
from codec.training.throughput import PartClock, part_of


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> PartClock:
    """A clock whose seconds pass where the test says."""
    now = [0.0]
    monkeypatch.setattr(clock_module.time, "perf_counter", lambda: now[0])
    made = PartClock()

    def wait(seconds: float) -> None:
        now[0] += seconds

    made.wait = wait
    return made


def test_all_time_is_counted_once(clock: Any):
    """Catches time that two parts claim, such as a checkpoint within a validation's callback, and
    time that none has.
    """
    clock.start("run_training_epoch")
    clock.start("[_TrainingEpochLoop].train_dataloader_next")
    clock.wait(1)
    clock.stop("[_TrainingEpochLoop].train_dataloader_next")
    clock.wait(2)
    with (
        clock.profile("run_training_batch"),
        clock.profile("[LightningModule]CodecTraining.training_step"),
    ):
        clock.wait(4)
        with clock.profile("logging"):
            clock.wait(8)
    with clock.profile("[Callback]Validation.on_train_batch_end"):
        clock.wait(16)
        with clock.profile("validation"):
            clock.wait(32)
    with clock.profile("[Callback]KeepCheckpoints.on_train_batch_end"):
        clock.wait(64)
    expected = {
        "data": 1,
        "other": 2,
        "step": 4,
        "logging": 8,
        "Validation": 16,
        "validation": 32,
        "checkpoints": 64,
    }
    assert clock.seconds() == expected
    clock.restart()
    assert not any(clock.seconds().values())


def test_a_part_that_fails_is_left(clock: Any):
    """Catches all later time on the account of a step that raised."""
    with pytest.raises(KeyError), clock.profile("run_training_batch"):
        raise KeyError
    clock.wait(1)
    assert clock.seconds()["other"] == 1


def test_lightning_still_calls_the_parts_so():
    """Catches a Lightning that renames what it marks: all shares would be zero."""
    import inspect

    from pytorch_lightning.loops import training_epoch_loop
    from pytorch_lightning.trainer import call

    source = inspect.getsource(training_epoch_loop) + inspect.getsource(call)
    for words in (
        ".train_dataloader_next",
        '"run_training_batch"',
        'f"[Callback]{callback.state_key}.{hook_name}"',
    ):
        assert words in source
    assert part_of("[Callback]KeepCheckpoints{'every': 3}.on_train_end") == "checkpoints"
