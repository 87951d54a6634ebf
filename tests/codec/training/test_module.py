import pytest
import torch
from literature import SMALL_CODECS
from small_codec import build, moving_clip

from codec.entropy.exact import Exact
from codec.errors import CodecError
from codec.losses.rate_distortion import RateDistortionLoss
from codec.training.fit import warn_of_sums
from codec.training.module import CodecTraining
from codec.training.schedule import Schedule
from data.clip import Clip

STAGE = {"name": "a", "steps": 10, "frames": 2, "crop": 64, "batch": 2, "lr": 1e-3, "lr_end": 1e-4}


def module(*overrides: str, **stage: object) -> CodecTraining:
    """A module that can step without a trainer."""
    made = CodecTraining(build(*overrides).train(), RateDistortionLoss(), Schedule([STAGE | stage]), most_skipped=3)
    made.manual_backward = lambda loss: loss.backward()
    made.optimizers = lambda: made.optimizer
    made.log_dict = lambda *args, **kwargs: None
    made._write = lambda metrics: None
    made.print = lambda *args: None
    return made


def clip() -> Clip:
    """Two samples of two frames."""
    return Clip(moving_clip(2, 64, 64)[None].repeat(2, 1, 1, 1, 1), ["one", "two"], [25.0, 25.0])


def test_every_parameter_is_in_the_optimizer_once():
    """Catches parameters that nobody trains (CompressAI #16) or that are stepped twice."""
    made = module()
    held = [id(p) for group in made.optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in made.codec.parameters())


def test_steps_lower_the_loss():
    """Catches a gradient with the wrong sign or a step that does not reach the weights."""
    made = module(lr=2e-3, lr_end=2e-3)
    losses = []
    made._log_training = lambda terms: losses.append(float(terms["loss"]))
    for _ in range(10):
        made.training_step(clip(), 0)
        made.codec_steps = 0  # the same qualities and noise
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


def test_non_finite_steps_are_skipped_counted_and_finally_fatal():
    """Catches a NaN that reaches the weights, silent skipping, and a run that skips for ever."""
    made = module()
    before = [p.clone() for p in made.codec.parameters()]
    bad = torch.tensor(float("nan"), requires_grad=True)
    made._update(bad, ["a.mp4"])
    made._update(bad, ["a.mp4"])
    assert made.skipped == 2 and all(torch.equal(a, b) for a, b in zip(before, made.codec.parameters(), strict=True))
    with pytest.raises(CodecError, match="3 steps in a row .* a.mp4"):
        made._update(bad, ["a.mp4"])


def test_frozen_parts_stay_as_they_are():
    """Catches a stage that trains what it should not, and a misspelt part."""
    made = module(frozen=["intra", "motion.entropy"])
    before = {name: p.clone() for name, p in made.codec.named_parameters()}
    made.training_step(clip(), 0)
    for name, parameter in made.codec.named_parameters():
        if name.startswith(("intra.", "motion.entropy.")):
            assert torch.equal(parameter, before[name])
    assert not torch.equal(made.codec.residual.analysis.head.weight, before["residual.analysis.head.weight"])
    with pytest.raises(CodecError, match="frozen names 'motoin'"):
        module(frozen=["motoin"])


def test_what_a_codec_holds_frozen_stays_so():
    """Catches a stage that thaws an image model whose config says frozen."""
    codec = build()
    codec.intra.requires_grad_(False)
    made = CodecTraining(codec, RateDistortionLoss(), Schedule([STAGE, STAGE | {"name": "b", "frozen": ["motion"]}]))
    made.begin_stage(1)
    made.begin_stage(0)
    assert not any(p.requires_grad for p in made.codec.intra.parameters())
    assert all(p.requires_grad for p in made.codec.motion.parameters())


def test_validation_in_between_changes_nothing():
    """Catches densities that are solved for where a run happens to be validated: a resumed run would go on otherwise."""
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
    """Catches days of training that end in a checkpoint no stream can be coded with, without a word."""
    codec = build("entropy=two_step")
    warn_of_sums(codec)
    assert capsys.readouterr().out == ""
    with torch.no_grad():
        codec.entropy.first.blocks[0].project.weight.fill_(30.0)
    warn_of_sums(codec)
    assert "cannot code streams: entropy.first.blocks.0.project: sums of up to" in capsys.readouterr().out
