"""Fixtures that several folders of tests share."""

import os
from pathlib import Path

import pytest
from small_codec import build

from codec.checkpoint import save_checkpoint
from codec.video import VideoCodec

os.environ.setdefault("WANDB_MODE", "offline")
WHOLE_RUNS = ("test_train_and_eval.py", "test_outside.py")  # minutes each


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest files: where processes share the files, the last one should not be
    such.
    """
    items.sort(key=lambda item: item.path.name not in WHOLE_RUNS)


@pytest.fixture(scope="session")
def codec() -> VideoCodec:
    """A small untrained codec with block motion."""
    return build()


@pytest.fixture(scope="session")
def checkpoint(codec: VideoCodec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small codec as a checkpoint file."""
    path = tmp_path_factory.mktemp("checkpoint") / "small.ckpt"
    save_checkpoint(path, codec)
    return path


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the user's model folder."""
    monkeypatch.setenv("CORVID_HOME", str(tmp_path_factory.getbasetemp() / "home"))
