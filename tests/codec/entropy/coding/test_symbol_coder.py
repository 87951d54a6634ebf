import pytest
import torch

from codec.entropy.coding.laplace import LaplaceModel
from codec.entropy.coding.symbol_coder import (
    RateEstimator,
    SymbolCounter,
    SymbolDecoder,
    SymbolEncoder,
)
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
    writer = SymbolEncoder()
    sent = [writer.code("a", latent, model), writer.code("b", -latent, model)]
    reader = SymbolDecoder(writer.finish_frame())
    received = [reader.code("a", None, model), reader.code("b", None, model)]
    for ours, theirs in zip(sent, received, strict=True):
        assert torch.equal(ours, theirs)


def test_hard_estimate_equals_the_payload():
    """Catches bits that no file ever has, escapes included."""
    latent, model = example()
    estimate, writer = RateEstimator(hard=True), SymbolEncoder()
    assert torch.equal(estimate.code("a", latent, model), writer.code("a", latent, model))
    assert abs(8 * len(writer.finish_frame()) - float(estimate.take_bits()["a"])) < 96


def test_values_pass_their_gradient_through_the_rounding():
    """Catches a plain rounding: distortion would then teach the analysis nothing, while rates still
    had a gradient.
    """
    latent, model = example()
    latent.requires_grad_()
    RateEstimator().code("a", latent, model).sum().backward()
    assert torch.equal(latent.grad, torch.ones_like(latent))


def test_the_training_proxy_is_differentiable_and_near_the_truth():
    """Catches a rounding without gradient, and noise of the wrong width."""
    torch.manual_seed(0)
    scale_index = torch.full((1, 1, 100, 100), 30.0)
    latent = torch.distributions.Laplace(0, 2.82).sample((1, 1, 100, 100)).requires_grad_()
    model = LaplaceModel(torch.zeros_like(latent), scale_index)
    soft, hard = RateEstimator(), RateEstimator(hard=True)
    (soft.code("a", latent, model).sum() + soft.bits["a"].sum()).backward()
    hard.code("a", latent.detach(), model)
    assert latent.grad.abs().min() > 0
    assert abs(soft.bits["a"] - hard.bits["a"]) < 0.02 * hard.bits["a"]


@pytest.mark.parametrize("value", [3e9, -(2.0**31) - 1024, float("inf"), float("nan")])
def test_symbols_beyond_int32_are_refused(value: float):
    """Catches values that wrap: the receiver would go on with others than the sender."""
    writer = SymbolEncoder()
    writer.code(
        "a",
        torch.full((1, 2, 3, 3), value),
        LaplaceModel(torch.zeros(1, 2, 3, 3), torch.full((1, 2, 3, 3), 30.0)),
    )
    with pytest.raises(CodecError, match="outside int32"):
        writer.finish_frame()


def test_a_counted_coder_does_what_it_did():
    """Catches counting that changes what is sent, and symbols that are not counted or counted under
    another name.
    """
    latent = 3 * torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    model = LaplaceModel(torch.zeros_like(latent), torch.full_like(latent, 20.0))
    writer = SymbolEncoder()
    sending = SymbolCounter(writer)
    sent = sending.code("residual", latent, model)
    sending.code(
        "motion", latent[:, :2], LaplaceModel(model.means[:, :2], model.scale_index[:, :2])
    )
    receiving = SymbolCounter(SymbolDecoder(writer.finish_frame()))
    assert sending.encodes and not receiving.encodes
    assert torch.equal(receiving.code("residual", None, model), sent)
    assert sending.coded == {"residual": 120, "motion": 60} and receiving.coded == {"residual": 120}
    assert sum(sending.skipped.values()) == 0


def test_estimates_are_counted_too():
    """Catches a wrapper that only fits real bits."""
    latent = torch.ones(2, 3, 4, 4)
    inner = RateEstimator(hard=True)
    symbol_coder = SymbolCounter(inner)
    symbol_coder.code(
        "intra", latent, LaplaceModel(torch.zeros_like(latent), torch.full_like(latent, 20.0))
    )
    assert symbol_coder.coded["intra"] == 96 and inner.take_bits()["intra"].shape == (2,)
    assert symbol_coder.skipped["intra"] == 0
