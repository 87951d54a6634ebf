from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from codec.entropy.coding import laplace
from codec.entropy.coding.laplace import limit_index
from codec.entropy.models import hyperprior as hyper
from codec.entropy.models import integer_layers as exact
from codec.entropy.models.hyperprior import DeadZone, HyperAnalysis
from codec.entropy.models.integer_layers import Exact, IntegerConv, set_rounding

SHAPE = 2, 4, 5, 6


def dead_zone() -> Callable[..., Tensor]:
    zone = DeadZone(4)
    return lambda latent, means, width: zone(latent, means, width[:, :, :1, :1].sigmoid())


def analysis() -> Callable[..., Tensor]:
    network = HyperAnalysis(4, 3, 8, 1)
    return lambda latent, *others: network(latent * (latent.abs() > 0.5))


def companded(rounds: bool) -> Callable[..., Tensor]:
    module = type("Module", (Exact, torch.nn.Module), {})()
    module.rounding = rounds
    return lambda values, *others: module.companded(values * 20)


def layer(low: float | None, rounds: bool) -> Callable[..., Tensor]:
    convolution = IntegerConv(4, 6)
    set_rounding(convolution, rounds)
    return lambda values, *others: convolution((values * 90).round(), low)


NETWORKS = {
    "dead zone": dead_zone,
    "analysis": analysis,
    "limit_index": lambda: lambda index, *others: limit_index(index, 40.0),
    "companded": lambda: companded(False),
    "companded, rounded": lambda: companded(True),
    "layer": lambda: layer(None, False),
    "layer, rounded": lambda: layer(None, True),
    "layer, bounded": lambda: layer(0.0, False),
    "layer, rounded and bounded": lambda: layer(-127.0, True),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_kernels_of_training_equal_tensor_operations(name: str, monkeypatch: pytest.MonkeyPatch):
    """Catches slopes beyond a bound, at zero or at a border, and channels or samples exchanged."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    start = [torch.randn(SHAPE) for _ in range(3)]
    given: Tensor | None = None

    def gradients() -> list[Tensor]:
        nonlocal given
        tensors = [tensor.clone().requires_grad_() for tensor in start]
        made = network(*tensors)
        given = torch.randn(made.shape) if given is None else given
        made.backward(given)
        return [made, *(tensor.grad for tensor in tensors if tensor.grad is not None)]

    found = gradients()
    for module in (exact, hyper, laplace):
        monkeypatch.setattr(module, "trains_on_cpu", lambda *tensors: False)
    for one, other in zip(found, gradients(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rounds", [False, True])
def test_kernels_of_a_bounded_block_equal_tensor_operations(
    rounds: bool,
    monkeypatch: pytest.MonkeyPatch,
):
    """Catches gradients through bounds that changed a value, and of weights in other units."""
    torch.manual_seed(0)
    block = exact.BoundedBlock(6)
    set_rounding(block, rounds)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.mul_(2)
    values, given = torch.randint(-127, 128, (3, 6, 5, 4)).float(), torch.randn(3, 6, 5, 4)

    def gradients() -> list[Tensor]:
        block.zero_grad()
        start = values.clone().requires_grad_()
        made = block(start)
        made.backward(given)
        return [made, start.grad, *(parameter.grad for parameter in block.parameters())]

    found = gradients()
    monkeypatch.setattr(exact, "trains_on_cpu", lambda *tensors: False)
    for one, other in zip(found, gradients(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-2)
