import pytest
import torch
from literature import SMALL_CODECS
from training_module import clip, module

from codec.entropy.models.base import EntropyNetwork
from codec.errors import CodecError
from codec.losses.rate_distortion import RateDistortionLoss
from codec.training.loop import stage_line
from codec.training.tasks import TASKS, task_named, with_warp
from codec.training.validation import validate
from codec.video import CodedClip


def changed(task: str, *networks: str, **stage: object) -> tuple[set[str], object]:
    """Names of the parameters that three steps of a task change, and the module."""
    made = module(*networks, settings={"task": task}, **stage)
    before = {name: p.clone() for name, p in made.codec.named_parameters()}
    for _ in range(2):
        made.training_step(clip(2, 2), 0)
    return {
        name for name, p in made.codec.named_parameters() if not torch.equal(p, before[name])
    }, made


@pytest.mark.parametrize("task", ["motion", "residual"])
def test_a_network_alone(task: str):
    """Catches a task that trains another network too, or not its own."""
    names, made = changed(task)
    assert names and {name.split(".")[0] for name in names} == {task}
    assert {
        name for name, p in made.codec.named_parameters() if p.requires_grad
    } == made.task.trains(made.codec)


def test_entropy_networks_alone():
    """Catches transforms that move while only their entropy networks should, and networks of motion
    or intra coder left out.
    """
    names, made = changed("entropy", "entropy=checkerboard")
    networks = [
        name for name, part in made.codec.named_modules() if isinstance(part, EntropyNetwork)
    ]
    assert all(any(name.startswith(network + ".") for network in networks) for name in names)
    assert {name.split(".")[0] for name in names} == {"entropy", "motion", "intra"}


def test_entropy_networks_learn_to_spend_less_and_pictures_stay():
    """Catches a task whose own metric does not move, or moves what it must not."""
    made = module(settings={"task": "entropy"}, lr=3e-3, lr_end=3e-3)
    first = validate(made, [clip(2, 3)])
    for _ in range(10):
        made.training_step(clip(2, 3), 0)
    last = validate(made, [clip(2, 3)])
    assert last["val/bpp"] < first["val/bpp"] and last["val/psnr"] == pytest.approx(
        first["val/psnr"], abs=0.3
    )


def test_motion_is_judged_by_what_it_predicts():
    """Catches a warp that is compared with the wrong frame, and the figure of another task."""
    made = module(settings={"task": "motion", "val_qualities": (60,)})
    for parameter in made.codec.motion.context.correction.parameters():
        parameter.data.zero_()  # what is left is the moved picture
    other = clip(1, 3)
    other.frames[:, 1] = 255 - other.frames[:, 1]
    found = [validate(made, [some]) for some in (clip(1, 3), other)]
    assert found[0]["val/warp_psnr"] > found[1]["val/warp_psnr"] + 10
    assert set(found[0]) == {
        "val/loss",
        "val/warp_psnr",
        "val/bpp_motion",
        "val/warp_psnr_q60",
        "val/bpp_motion_q60",
    }


def test_motion_alone_is_computed_again_where_the_stage_says_so():
    """Catches activation checkpointing that the task leaves out, or that draws other noise."""
    found = []
    for checkpointing in (False, True):
        made, calls = (
            module("motion=feature_flow", settings={"task": "motion"}, checkpointing=checkpointing),
            [],
        )
        made.codec.motion.register_forward_pre_hook(lambda *given, calls=calls: calls.append(given))
        made.optimizer.step = lambda: None
        made.optimizer.zero_grad = lambda: None
        made.training_step(clip(2, 2), 0)
        found.append(
            (
                {name: p.grad for name, p in made.codec.named_parameters() if p.grad is not None},
                len(calls),
            )
        )
    (plain, once), (again, twice) = found
    assert (once, twice) == (1, 2) and set(plain) == set(again)
    assert all(torch.equal(value, again[name]) for name, value in plain.items())


@pytest.mark.parametrize(
    "weights, logged",
    [({"mse": 1.0}, False), ({"estimate": 1.0, "mse": 0.0}, True), ({"prediction": 1.0}, True)],
)
def test_how_well_motion_predicts_is_logged_where_the_loss_looks_at_it(
    weights: dict[str, float], logged: bool
):
    """Catches stages that train motion and only tell of pictures that it does not change yet."""
    made, rows = (
        module(
            *SMALL_CODECS["dvc"], settings={"log_every": 1, "val_qualities": (30,)}, loss=weights
        ),
        [],
    )
    made.write = rows.append
    made.training_step(clip(2, 3), 0)
    figures = validate(made, [clip(2, 3)])
    assert ("train/warp_psnr" in rows[0], "val/warp_psnr" in figures) == (logged, logged)
    assert ("PSNR of the prediction" in stage_line("a", figures, figures)) == logged


def test_the_psnr_of_the_prediction_is_of_predicted_frames():
    """Catches intra frames that count as predicted, and the coded motion's prediction where the
    estimate is weighed.
    """
    frames = torch.full((1, 3, 3, 8, 8), 0.5)
    quality, kinds = torch.zeros(len(frames), 3).long(), (True, False, False)
    coded = CodedClip(
        frames, {}, lambda: frames + 0.1, kinds, quality, warped_uncoded=frames + 0.01
    )
    for weights, decibels in (({"prediction": 1.0}, 20.0), ({"estimate": 1.0}, 40.0)):
        assert float(
            with_warp({}, RateDistortionLoss(**weights), frames, coded)["warp_psnr"]
        ) == pytest.approx(decibels, abs=0.01)
    coded.intra = (True, True, True)
    assert with_warp({}, RateDistortionLoss(prediction=1.0), frames, coded) == {}
    assert with_warp({}, torch.nn.Identity(), frames, coded) == {}  # a loss of one's own


@pytest.mark.parametrize("name", SMALL_CODECS)
def test_networks_from_the_literature_are_trained_alone_too(name: str):
    """Catches a task that only knows our own networks."""
    for task in TASKS:
        names, _ = changed(task, *SMALL_CODECS[name])
        assert names, task


def test_what_cannot_be_trained_is_said():
    """Catches a task without parameters, clips too short for it, and unknown tasks."""
    with pytest.raises(
        CodecError, match="task=motion: this codec's motion network has nothing to train"
    ):
        module("motion=none", settings={"task": "motion"})
    with pytest.raises(CodecError, match="clips of 1 frame"):
        module(settings={"task": "motion"}).training_step(clip(1, 1), 0)
    with pytest.raises(
        CodecError, match="task: 'colour' given; choose from codec, motion, residual, entropy"
    ):
        task_named("colour")


def test_motion_bits_are_the_sum_of_their_kinds():
    """Catches clips of two frames, which have no modes, beside longer ones, and figures of motion
    that leave kinds out.
    """
    made = module(settings={"val_qualities": (30,)}, loss={"mse": 1.0, "prediction": 1.0})
    figures = validate(made, [clip(1, 2), clip(3, 3)])
    kinds = [name for name in figures if name.startswith("val/bpp_motion.")]
    assert kinds == [f"val/bpp_motion.{kind}" for kind in ("split", "vector", "mode")]
    assert figures["val/bpp_motion_q30"] == pytest.approx(sum(figures[kind] for kind in kinds))
    parts = [name for name in figures if name.startswith("val/bpp_") and "_q" not in name]
    assert sum(figures[name] for name in parts) == pytest.approx(figures["val/bpp"], rel=1e-4)
    said = stage_line("chains", figures, figures)
    assert said.index("motion.vector") < said.index("motion.mode") < said.index("residual.hyper")
