from typing import Any

import pytest

import codec.training.loop as ours
from codec.errors import CodecError
from codec.training.schedule import Stage

STAGE = Stage("a", 1, 2, 64, 1, 1e-3, 1e-3)


@pytest.mark.parametrize(
    "given, gpus, said",
    [
        (
            {"accelerator": "gpu"},
            0,
            "trainer.accelerator=gpu: torch can use no GPU here .*trainer.accelerator=auto",
        ),
        ({"accelerator": "warp"}, 1, "trainer.accelerator: warp given; choose from auto, cpu"),
        ({"devices": 4}, 2, "trainer.devices=4: torch can use 2 GPU here; give trainer.devices=2"),
        ({"devices": [0, 2]}, 2, r"trainer.devices=\[0, 2\]"),
        ({"devices": "all"}, 1, "trainer.devices=all.*or auto"),
        (
            {"precision": "bf17"},
            0,
            "trainer.precision: bf17 given; choose from auto, bf16-mixed, 32-true",
        ),
        ({"max_epochs": 3}, 0, "trainer.max_epochs: not a field to give"),
        ({"presicion": "32-true"}, 0, "trainer.presicion: not a field to give"),
    ],
)
def test_what_cannot_be_had_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], gpus: int, said: str
):
    """Catches Lightning's traceback, minutes later, for a word on the command line."""
    monkeypatch.setattr(ours, "accelerators", lambda: ["GPU"] * gpus)
    with pytest.raises(CodecError, match=said):
        ours.check_trainer(given)


def test_what_can_be_had_is_taken(monkeypatch: pytest.MonkeyPatch):
    """Catches a check that refuses processes on a CPU, or fields that are Lightning's own."""
    monkeypatch.setattr(ours, "accelerators", lambda: ["GPU"])
    whole = {"max_time": {"hours": 1}, "precision": "32-true"}
    for given in (
        {},
        {"devices": "auto"},
        {"accelerator": "cpu", "devices": 4},
        {"devices": [0]},
        whole,
    ):
        ours.check_trainer(given)


def test_what_lightning_refuses_is_one_line():
    """Catches a traceback for the fields that are not looked at."""
    with pytest.raises(CodecError, match="trainer: .*gradient_clip_algorithm.*correct trainer"):
        ours.make_trainer(STAGE, 1, [], [], {"gradient_clip_algorithm": "none of them"}, 1)
