from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import LambdaCallback
from small_codec import moving_clip
from training_module import STAGE, module

from codec.training import throughput
from codec.training.logging import Events
from codec.training.throughput import Stopwatch, ThroughputMeter
from data.loading.clip import Clip


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets seconds pass, where the test says and nowhere else."""
    now = [0.0]
    monkeypatch.setattr(throughput, "perf_counter", lambda: now[0])

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    return pass_by


def test_all_time_is_counted_once(wait: Any):
    """Catches time that two parts claim, such as a checkpoint within a validation's callback, and
    time that none has.
    """
    watch = Stopwatch()
    watch.switch("data")
    wait(1)
    watch.switch("other")
    wait(2)
    watch.switch("step")
    wait(4)
    with watch.timed("logging"):
        wait(8)
    wait(4)
    watch.switch("other")
    with watch.timed("validation"):
        wait(32)
        with watch.timed("checkpoints"):
            wait(64)
    expected = {
        "data": 1,
        "other": 2,
        "step": 8,
        "logging": 8,
        "validation": 32,
        "checkpoints": 64,
    }
    assert watch.seconds() == expected
    watch.restart()
    assert not any(watch.seconds().values())


def test_a_part_that_fails_is_left(wait: Any):
    """Catches all later time on the account of a validation that raised."""
    watch = Stopwatch()
    with pytest.raises(KeyError), watch.timed("validation"):
        raise KeyError
    wait(1)
    assert watch.seconds() == {"other": 1, "validation": 0}


def test_parts_are_where_lightning_does_them(wait: Any, tmp_path: Path):
    """Catches a Lightning that calls hooks in another order: time of a step that counts as a wait
    for data, or the other way round.
    """
    made = module(steps=2, settings={"events": Events(tmp_path / "events.jsonl")})
    for name in ("manual_backward", "optimizers", "log_dict", "write"):
        delattr(made, name)  # as it is with a trainer
    made.log_every = 100
    plain = made.training_step

    def step(*arguments: Any) -> None:
        wait(4)
        plain(*arguments)

    made.training_step = step

    class Batches:
        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Iterator[Clip]:
            for _ in range(2):
                wait(1)
                frames = moving_clip(2, 64, 64)[None].repeat(2, 1, 1, 1, 1)
                yield Clip(frames, ["one", "two"], [25.0, 25.0])

    found: list[dict[str, float]] = []
    between = LambdaCallback(on_train_batch_end=lambda *_: wait(16))
    last = LambdaCallback(on_fit_end=lambda *_: found.append(made.stopwatch.seconds()))
    callbacks: list[Callback] = [ThroughputMeter(), between, last]
    settings = dict(max_epochs=1, logger=False, enable_checkpointing=False, accelerator="cpu")
    quiet = dict(enable_progress_bar=False, enable_model_summary=False)
    Trainer(callbacks=callbacks, **settings, **quiet).fit(made, Batches())
    assert STAGE["batch"] == 2 and torch.is_grad_enabled()
    assert {part: found[0][part] for part in ("data", "step", "other")} == {
        "data": 2,
        "step": 8,
        "other": 32,
    }
