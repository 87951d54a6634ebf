from pathlib import Path

import pytest
import torch
from literature import SMALL_CODECS
from omegaconf import OmegaConf
from small_codec import CONF, build, composed
from training_module import clip, without_trainer

from codec.checkpoint import build_codec
from codec.losses.rate_distortion import RateDistortionLoss
from codec.registry import build as build_named
from codec.training.module import CodecTraining
from codec.training.schedule import Schedule
from codec.video import VideoCodec
from data.loading.datamodule import ClipDataModule

NEED_VIDEOS = ("data=folder", "experiment=ablate_prediction", "experiment=ablate_intra")
GO_WITH = {
    "residual=block_transform": "entropy=levels",
    "entropy=levels": "residual=block_transform",
}
GROUPS = [
    "codec",
    "intra",
    "motion",
    "residual",
    "entropy",
    "loss",
    "schedule",
    "data",
    "trainer",
    "experiment",
    "logger",
    "debug",
]


def choices(group: str) -> list[str]:
    """The files of a group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize(
    "choice", [f"{group}={name}" for group in GROUPS for name in choices(group)]
)
def test_every_choice_composes_and_builds(choice: str, tmp_path: Path):
    """Catches a config that names a class, field or file that is not there."""
    beside = [GO_WITH[choice]] if choice in GO_WITH else []
    config = composed(
        choice, *beside, f"data.root={tmp_path}" if choice in NEED_VIDEOS else "wandb=disabled"
    )
    assert isinstance(build_codec(config["codec"]), VideoCodec)
    assert isinstance(build_named("loss", config["loss"], "loss"), RateDistortionLoss)
    assert Schedule(config["schedule"]["stages"], config["schedule"]["scale"]).steps > 0
    build_named("data", config["data"], "data")


@pytest.mark.parametrize(
    "schedule, networks",
    [("cascade", ()), ("dvc", SMALL_CODECS["dvc"]), ("ssf", SMALL_CODECS["ssf"])],
)
def test_every_stage_of_a_recipe_takes_a_step(schedule: str, networks: tuple[str, ...]):
    """Catches a late stage that freezes what is not there, weighs what the codec does not give, or
    does not run at all.
    """
    stages = [
        stage | {"crop": 64, "batch": 1}
        for stage in composed(f"schedule={schedule}")["schedule"]["stages"]
    ]
    frames = {"cascade_16": 9, "cascade_24": 9, "cascade_32": 9}
    made = without_trainer(
        CodecTraining(build(*networks).train(), RateDistortionLoss(), Schedule(stages))
    )
    for index, stage in enumerate(made.schedule.stages):
        made.global_step = made.schedule.start_of(index)
        made.begin_stage(index)
        before = [p.clone() for p in made._trained]
        made.training_step(clip(1, frames.get(stage.name, stage.frames)), 0)
        assert made.skipped == 0
        assert any(not torch.equal(a, b) for a, b in zip(before, made._trained, strict=True)), (
            stage.name
        )


def test_a_stored_config_names_the_data_module_by_its_old_path(tmp_path: Path):
    """Catches a run of before the data package was divided that cannot be resumed."""
    config = composed("data=folder", f"data.root={tmp_path}")["data"]
    del config["type"]
    (tmp_path / "config.yaml").write_text(
        OmegaConf.to_yaml({"_target_": "data.module.ClipDataModule", **config})
    )
    stored = OmegaConf.to_container(OmegaConf.load(tmp_path / "config.yaml"))
    assert isinstance(build_named("data", stored, "data"), ClipDataModule)


@pytest.mark.parametrize("group", ["entropy", "entropy@motion_entropy", "entropy@intra_entropy"])
def test_the_old_name_of_a_choice_is_the_same_choice(group: str):
    """Catches commands and experiments of before a renaming that build something else."""
    assert composed(f"{group}=two_step") == composed(f"{group}=checkerboard")


def test_ranges_of_bits_can_be_given_on_the_command_line():
    """Catches a documented setting that Hydra refuses."""
    assert composed("training.bits_range={motion: [0, 0.3]}")["training"]["bits_range"] == {
        "motion": [0, 0.3]
    }


def test_the_cascade_grows_as_its_source_says():
    """Catches frames, crops or rates of the recipe that were changed by mistake."""
    stages = Schedule(composed("schedule=cascade")["schedule"]["stages"]).stages
    assert [stage.frames for stage in stages] == [2, 3, 6, 8, 16, 24, 32]
    assert [stage.update for stage in stages] == ["frame"] * 3 + ["clip"] * 4
    assert all(stage.checkpointing for stage in stages if stage.frames > 8)
    levels = [[0.52, 1.33, 0.83][level] for level in (0, 1, 0, 2, 0, 2, 0, 2)]
    assert all(stage.frame_weights == (levels if stage.frames >= 8 else None) for stage in stages)


@pytest.mark.parametrize("name", ["demo", "corvid_s", "corvid_m", "corvid_l"])
def test_our_codecs_compute_in_what_is_fast(name: str):
    """Catches a config that makes a newcomer's machine emulate bfloat16, an hour for the demo."""
    config = composed(f"codec={name}")
    assert config["codec"]["precision"] == config["trainer"]["precision"] == "auto"


def test_no_group_is_forgotten():
    """Catches a new group that this file does not test; anchors have their own tests."""
    assert {path.name for path in CONF.iterdir() if path.is_dir()} == {*GROUPS, "anchor"}


def test_experiments_start_with_their_command_and_result():
    """Catches an experiment that nobody can repeat or compare with."""
    for name in choices("experiment"):
        text = (CONF / "experiment" / f"{name}.yaml").read_text()
        assert (
            "python train.py experiment=" in text
            and "# Result: " in text
            and "not measured" not in text
        ), name


def test_eval_config_is_valid_yaml():
    """Catches a typing error in the one config that only eval.py reads."""
    assert OmegaConf.load(CONF / "eval.yaml").metrics
