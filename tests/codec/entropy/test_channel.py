import pytest
import torch

from codec.entropy.channel import EstimateChannel, ReadChannel, WriteChannel
from codec.entropy.laplace import LaplaceModel
from codec.errors import CodecError


def example(spread: float = 3.0) -> tuple[torch.Tensor, LaplaceModel]:
    """A latent and a model for it, with values far outside the tables."""
    torch.manual_seed(0)
    shape = (1, 5, 4, 6)
    latent = torch.randn(shape) * spread
    latent[0, 0, 0, :3] = torch.tensor([5000.0, -5000.0, 123456.0])
    return latent, LaplaceModel(torch.randn(shape), torch.rand(shape) * 63)


def test_what_is_written_is_read():
    """Catches a wrong table, offset or order, and escapes that do not survive."""
    latent, model = example()
    writer = WriteChannel()
    sent = [writer.symbols("a", latent, model), writer.symbols("b", -latent, model)]
    reader = ReadChannel(writer.finish_frame())
    received = [reader.symbols("a", None, model), reader.symbols("b", None, model)]
    for ours, theirs in zip(sent, received, strict=True):
        assert torch.equal(ours, theirs)


def test_hard_estimate_equals_the_payload():
    """Catches bits that no file ever has, escapes included."""
    latent, model = example()
    estimate, writer = EstimateChannel(hard=True), WriteChannel()
    assert torch.equal(estimate.symbols("a", latent, model), writer.symbols("a", latent, model))
    assert abs(8 * len(writer.finish_frame()) - float(estimate.take_bits()["a"])) < 96


def test_values_pass_their_gradient_through_the_rounding():
    """Catches a plain rounding: distortion would then teach the analysis nothing, while rates still
    had a gradient.
    """
    latent, model = example()
    latent.requires_grad_()
    EstimateChannel().symbols("a", latent, model).sum().backward()
    assert torch.equal(latent.grad, torch.ones_like(latent))


def test_the_training_proxy_is_differentiable_and_near_the_truth():
    """Catches a rounding without gradient, and noise of the wrong width."""
    torch.manual_seed(0)
    scale_index = torch.full((1, 1, 100, 100), 30.0)
    latent = torch.distributions.Laplace(0, 2.82).sample((1, 1, 100, 100)).requires_grad_()
    model = LaplaceModel(torch.zeros_like(latent), scale_index)
    soft, hard = EstimateChannel(), EstimateChannel(hard=True)
    (soft.symbols("a", latent, model).sum() + soft.bits["a"].sum()).backward()
    hard.symbols("a", latent.detach(), model)
    assert latent.grad.abs().min() > 0
    assert abs(soft.bits["a"] - hard.bits["a"]) < 0.02 * hard.bits["a"]


@pytest.mark.parametrize("value", [3e9, -(2.0**31) - 1024, float("inf"), float("nan")])
def test_symbols_beyond_int32_are_refused(value: float):
    """Catches values that wrap: the receiver would go on with others than the sender."""
    writer = WriteChannel()
    writer.symbols(
        "a",
        torch.full((1, 2, 3, 3), value),
        LaplaceModel(torch.zeros(1, 2, 3, 3), torch.full((1, 2, 3, 3), 30.0)),
    )
    with pytest.raises(CodecError, match="outside int32"):
        writer.finish_frame()
