import pytest
import torch
from literature import SMALL_CODECS
from training_module import clip, module

from codec.entropy.network import EntropyNetwork
from codec.errors import CodecError
from codec.training.tasks import TASKS, task_named
from codec.training.validation import validate


def changed(task: str, *networks: str, **stage: object) -> tuple[set[str], object]:
    """Names of the parameters that three steps of a task change, and the module."""
    made = module(*networks, settings={"task": task}, **stage)
    before = {name: p.clone() for name, p in made.codec.named_parameters()}
    for _ in range(2):
        made.training_step(clip(2, 2), 0)
    return {name for name, p in made.codec.named_parameters() if not torch.equal(p, before[name])}, made


@pytest.mark.parametrize("task", ["motion", "residual"])
def test_a_network_alone(task: str):
    """Catches a task that trains another network too, or not its own."""
    names, made = changed(task)
    assert names and {name.split(".")[0] for name in names} == {task}
    assert {name for name, p in made.codec.named_parameters() if p.requires_grad} == made.task.trains(made.codec)


def test_entropy_networks_alone():
    """Catches transforms that move while only their entropy networks should, and networks of motion or intra coder left out."""
    names, made = changed("entropy", "entropy=two_step")
    networks = [name for name, part in made.codec.named_modules() if isinstance(part, EntropyNetwork)]
    assert all(any(name.startswith(network + ".") for network in networks) for name in names)
    assert {name.split(".")[0] for name in names} == {"entropy", "motion", "intra"}


def test_entropy_networks_learn_to_spend_less_and_pictures_stay():
    """Catches a task whose own metric does not move, or moves what it must not."""
    made = module(settings={"task": "entropy"}, lr=3e-3, lr_end=3e-3)
    first = validate(made, [clip(2, 3)])
    for _ in range(10):
        made.training_step(clip(2, 3), 0)
    last = validate(made, [clip(2, 3)])
    assert last["val/bpp"] < first["val/bpp"] and last["val/psnr"] == pytest.approx(first["val/psnr"], abs=0.3)


def test_motion_is_judged_by_what_it_predicts():
    """Catches a warp that is compared with the wrong frame, and the figure of another task."""
    made = module(settings={"task": "motion", "val_qualities": (60,)})
    for parameter in made.codec.motion.context.correction.parameters():
        parameter.data.zero_()  # what is left is the moved picture
    other = clip(1, 3)
    other.frames[:, 1] = 255 - other.frames[:, 1]
    found = [validate(made, [some]) for some in (clip(1, 3), other)]
    assert found[0]["val/warp_psnr"] > found[1]["val/warp_psnr"] + 10
    assert set(found[0]) == {"val/loss", "val/warp_psnr", "val/bpp_motion", "val/warp_psnr_q60", "val/bpp_motion_q60"}


@pytest.mark.parametrize("name", SMALL_CODECS)
def test_networks_from_the_literature_are_trained_alone_too(name: str):
    """Catches a task that only knows our own networks."""
    for task in TASKS:
        names, _ = changed(task, *SMALL_CODECS[name])
        assert names, task


def test_what_cannot_be_trained_is_said():
    """Catches a task without parameters, clips too short for it, and unknown tasks."""
    with pytest.raises(CodecError, match="task=motion: this codec's motion network has nothing to train"):
        module("motion=none", settings={"task": "motion"})
    with pytest.raises(CodecError, match="clips of 1 frame"):
        module(settings={"task": "motion"}).training_step(clip(1, 1), 0)
    with pytest.raises(CodecError, match="task: 'colour' given; choose from codec, motion, residual, entropy"):
        task_named("colour")
