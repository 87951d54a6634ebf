from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from small_codec import CONF, composed

from codec.losses.rate_distortion import RateDistortionLoss
from codec.training.schedule import Schedule
from codec.video import VideoCodec

GROUPS = ["codec", "intra", "motion", "residual", "entropy", "loss", "schedule", "data", "trainer", "experiment"]


def choices(group: str) -> list[str]:
    """The files of a group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("choice", [f"{group}={name}" for group in GROUPS for name in choices(group)])
def test_every_choice_composes_and_builds(choice: str, tmp_path: Path):
    """Catches a config that names a class, field or file that is not there."""
    config = composed(choice, f"data.root={tmp_path}" if choice == "data=folder" else "wandb=disabled")
    assert isinstance(instantiate(config["codec"]), VideoCodec)
    assert isinstance(instantiate(config["loss"]), RateDistortionLoss)
    assert Schedule(config["schedule"]["stages"]).steps > 0
    instantiate(config["data"])


def test_no_group_is_forgotten():
    """Catches a new group that this file does not test; anchors have their own tests."""
    assert {path.name for path in CONF.iterdir() if path.is_dir()} == {*GROUPS, "anchor"}


def test_experiments_start_with_their_command_and_result():
    """Catches an experiment that nobody can repeat or compare with."""
    for name in choices("experiment"):
        text = (CONF / "experiment" / f"{name}.yaml").read_text()
        assert "python train.py experiment=" in text and "# Result: " in text and "not measured" not in text, name


def test_eval_config_is_valid_yaml():
    """Catches a typing error in the one config that only eval.py reads."""
    assert OmegaConf.load(CONF / "eval.yaml").metrics
