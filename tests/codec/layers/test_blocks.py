import pytest
import torch
from torch import Tensor

from codec.layers import blocks
from codec.layers.blocks import GatedBlock


def with_gradients(block: GatedBlock, x: Tensor, given: Tensor) -> list[Tensor]:
    """What a block makes, and the gradients of its input and its parameters."""
    block.zero_grad()
    x = x.detach().requires_grad_()
    made = block(x)
    made.backward(given)
    return [made, x.grad, *(parameter.grad for parameter in block.parameters())]


@pytest.mark.parametrize("memory", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 3), (20, 20)])
def test_the_kernels_of_a_gated_block_equal_tensor_operations(
    size: tuple[int, int],
    memory: torch.memory_format,
    monkeypatch: pytest.MonkeyPatch,
):
    """Catches a filter or its gradient mirrored or cut at a border, a slope of the wrong side of
    gate or rectifier, and gradients of biases that leave samples out.
    """
    block = GatedBlock(6).to(memory_format=memory)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.mul_(4)  # some gates are shut, some wide open
    x = torch.randn(3, 6, *size).to(memory_format=memory)
    found = with_gradients(block, x, given := torch.randn(3, 6, *size))
    monkeypatch.setattr(blocks, "trains_on_cpu", lambda *tensors: False)
    for one, other in zip(found, with_gradients(block, x, given), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_gated_block_trains_in_half_precision_too():
    """Catches a kernel for float32 that is given what autocast makes."""
    block, x = GatedBlock(4), torch.randn(1, 4, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        made = block(x)
    made.sum().backward()
    torch.testing.assert_close(made.float(), block(x), rtol=0.05, atol=0.05)
