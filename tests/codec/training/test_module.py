import copy

import pytest
import torch
from literature import SMALL_CODECS
from small_codec import build, moving_clip
from torch import Tensor, nn
from training_module import STAGE, clip, module

from codec.entropy.models.integer_layers import Exact
from codec.errors import CodecError
from codec.losses.rate_distortion import RateDistortionLoss
from codec.training.loop import warn_of_sums
from codec.training.module import CodecTraining, compile_networks
from codec.training.schedule import Schedule
from codec.video import VideoCodec


@pytest.mark.parametrize("networks", [(), *SMALL_CODECS.values()], ids=["corvid", *SMALL_CODECS])
def test_every_parameter_is_in_one_named_group(networks: tuple[str, ...]):
    """Catches parameters that nobody trains (CompressAI #16), or that are stepped twice, and groups
    that cannot be named.
    """
    made = module(*networks)
    groups = {group["name"]: group["params"] for group in made.optimizer.param_groups}
    held = [id(p) for params in groups.values() for p in params]
    assert sorted(held) == sorted(id(p) for p in made.codec.parameters())
    assert set(groups) <= {"intra", "motion", "residual", "entropy"} and len(groups) == len(
        made.optimizer.param_groups
    )


def test_a_stage_slows_a_part_down():
    """Catches factors that reach the wrong part or none, and misspelt ones."""
    made = module(lr_of={"motion": 0.1})
    made.training_step(clip(), 0)
    rates = {group["name"]: group["lr"] for group in made.optimizer.param_groups}
    assert (
        rates["motion"] == pytest.approx(0.1 * rates["residual"])
        and rates["intra"] == rates["residual"]
    )
    with pytest.raises(CodecError, match="lr_of names .'motoin'"):
        module(lr_of={"motoin": 0.1})


def test_steps_lower_the_loss():
    """Catches a gradient with the wrong sign or a step that does not reach the weights."""
    made = module(lr=2e-3, lr_end=2e-3)
    losses = []
    made._log_training = lambda terms: losses.append(float(terms["loss"]))
    for _ in range(10):
        made.training_step(clip(), 0)
        made.global_step = made.samples = 0  # the same qualities and noise
    assert losses[-1] < losses[0]


def test_a_step_depends_on_nothing_but_its_number():
    """Catches randomness that a resumed run would not have."""
    first, second = module(), module()
    torch.rand(7)
    first.training_step(clip(), 0)
    torch.rand(3)
    second.training_step(clip(), 5)
    for a, b in zip(first.codec.parameters(), second.codec.parameters(), strict=True):
        assert torch.equal(a, b)


def test_non_finite_steps_are_skipped_counted_and_finally_fatal(capsys: pytest.CaptureFixture):
    """Catches a NaN that reaches the weights, silent skipping, and a run that skips for ever."""
    made = module()
    before = [p.clone() for p in made.codec.parameters()]
    bad = clip()
    bad.frames = bad.frames.float()
    bad.frames[1, 1, 0, 5, 5] = float("nan")
    made.training_step(bad, 0)
    made.training_step(bad, 1)
    assert made.skipped == 2 and all(
        torch.equal(a, b) for a, b in zip(before, made.codec.parameters(), strict=True)
    )
    assert "step 0: loss not finite, skipped (1 so far): one, two" in capsys.readouterr().out
    with pytest.raises(CodecError, match="3 updates in a row .* one, two"):
        made.training_step(bad, 2)


def test_an_exploding_gradient_is_skipped_and_the_next_step_is_taken(capsys: pytest.CaptureFixture):
    """Catches an infinite gradient behind a finite loss, and a counter that is never set back."""
    made = module()
    before = [p.clone() for p in made.codec.parameters()]
    kept = made.manual_backward

    def explode(loss: torch.Tensor) -> None:
        kept(loss)
        next(made.codec.parameters()).grad.fill_(float("inf"))

    made.manual_backward = explode
    made.training_step(clip(), 0)
    assert all(torch.equal(a, b) for a, b in zip(before, made.codec.parameters(), strict=True))
    assert "gradient not finite" in capsys.readouterr().out and made.skipped_in_a_row == 1
    made.manual_backward = kept
    made.training_step(clip(), 1)
    assert (made.skipped, made.skipped_in_a_row) == (1, 0)
    assert not all(torch.equal(a, b) for a, b in zip(before, made.codec.parameters(), strict=True))


def test_a_large_gradient_is_clipped():
    """Catches clipping that is configured and not done."""
    made = module()
    norms = []

    def look() -> None:
        given = [p.grad.flatten() for p in made.codec.parameters() if p.grad is not None]
        norms.append(float(torch.cat(given).norm()))

    made.optimizer.step = look
    kept = made.manual_backward
    made.manual_backward = lambda loss: kept(1e6 * loss)
    made.training_step(clip(), 0)
    assert norms[0] == pytest.approx(1.0, rel=1e-3)


def test_frozen_parts_stay_as_they_are():
    """Catches a stage that trains what it should not, and a misspelt part."""
    made = module(frozen=["intra", "motion.entropy"])
    before = {name: p.clone() for name, p in made.codec.named_parameters()}
    made.training_step(clip(), 0)
    for name, parameter in made.codec.named_parameters():
        if name.startswith(("intra.", "motion.entropy.")):
            assert torch.equal(parameter, before[name])
    assert not torch.equal(
        made.codec.residual.analysis.head.weight, before["residual.analysis.head.weight"]
    )
    with pytest.raises(CodecError, match="frozen names 'motoin'"):
        module(frozen=["motoin"])


def test_what_a_codec_holds_frozen_stays_so():
    """Catches a stage that thaws an image model whose config says frozen."""
    codec = build()
    codec.intra.requires_grad_(False)
    made = CodecTraining(
        codec, RateDistortionLoss(), Schedule([STAGE, STAGE | {"name": "b", "frozen": ["motion"]}])
    )
    made.begin_stage(1)
    made.begin_stage(0)
    assert not any(p.requires_grad for p in made.codec.intra.parameters())
    assert all(p.requires_grad for p in made.codec.motion.parameters())


def test_validation_in_between_changes_nothing():
    """Catches densities that are solved for where a run happens to be validated: a resumed run
    would go on otherwise.
    """
    results = []
    for validated in (False, True):
        made = module(*SMALL_CODECS["ssf"])
        for _ in range(3):
            made.training_step(clip(), 0)
            if validated:
                made.eval(), made.train()
        results.append({name: value.clone() for name, value in made.codec.state_dict().items()})
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_densities_are_solved_for_at_the_last_step():
    """Catches checkpoints whose tables end where the first weights' tails began."""
    made = module(*SMALL_CODECS["ssf"], steps=2, lr=1e-2)
    start = made.codec.entropy.density.quantiles.clone()
    made.training_step(clip(), 0)
    assert torch.equal(made.codec.entropy.density.quantiles, start)
    made.training_step(clip(), 0)
    assert not torch.equal(made.codec.entropy.density.quantiles, start)


def test_a_stage_says_whether_exact_networks_round():
    """Catches a schedule whose `rounding` reaches no network."""
    for rounding in (True, False):
        exact = [m for m in module(rounding=rounding).codec.modules() if isinstance(m, Exact)]
        assert exact and all(m.rounding is rounding for m in exact)


def test_weights_that_cannot_code_are_named_at_the_end_of_a_stage(capsys: pytest.CaptureFixture):
    """Catches days of training that end in a checkpoint no stream can be coded with, without a
    word.
    """
    codec = build("entropy=checkerboard")
    warn_of_sums(codec)
    assert capsys.readouterr().out == ""
    with torch.no_grad():
        codec.entropy.first.blocks[0].project.weight.fill_(30.0)
    warn_of_sums(codec)
    assert (
        "cannot code streams: entropy.first.blocks.0.project: sums of up to"
        in capsys.readouterr().out
    )


class OneWeight(nn.Module):
    """A loss as the documentation has one: its only weight comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float | None] = []

    def set_weights(self, weight: float | None = None) -> None:
        self.seen.append(weight)


def test_a_loss_gets_what_a_stage_says_by_name():
    """Catches `frame_weights` that a loss of one's own takes for its first weight."""
    loss, codec = OneWeight(), build().train()
    CodecTraining(codec, loss, Schedule([STAGE, STAGE | {"name": "b", "loss": {"weight": 3.0}}]))
    assert loss.seen == [3.0, None]
    for told in ({"frame_weights": [1.0, 2.0]}, {"loss": {"mse": 1.0}}):
        with pytest.raises(
            CodecError, match="stage 'a': loss OneWeight: .*unexpected keyword.*leave it out"
        ):
            CodecTraining(codec, loss, Schedule([STAGE | told]))


def step(codec: VideoCodec) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradients of two small clips."""
    frames, quality = (
        moving_clip(2, 64, 64)[None].repeat(2, 1, 1, 1, 1).float() / 255,
        torch.tensor([20, 50]),
    )
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16):
        loss = RateDistortionLoss()(frames, codec(frames, quality), quality).loss
    loss.backward()
    return loss.detach(), [p.grad for p in codec.parameters() if p.grad is not None]


def test_compiled_networks_learn_the_same():
    """Catches a compiled network that computes something else, loses gradients, or renames what
    checkpoints hold.
    """
    codec = build().train()
    compiled = copy.deepcopy(codec)
    names = compile_networks(compiled, "aot_eager")
    assert "residual.analysis" in names and not any("entropy" in name for name in names)
    (loss, gradients), (other, others) = step(codec), step(compiled)
    torch.testing.assert_close(loss, other)
    assert len(gradients) == len(others)
    for one, two in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-2, atol=1e-2 * float(one.abs().max()) + 1e-8)
    assert codec.state_dict().keys() == compiled.state_dict().keys()


def test_a_codec_without_networks_to_compile_says_so():
    """Catches a switch that silently does nothing."""
    with pytest.raises(CodecError, match="training.compile=true: no part"):
        compile_networks(build(*SMALL_CODECS["ssf"]))
