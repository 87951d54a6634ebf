import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from codec.errors import CodecError
from codec.layers.assemble import add_gated_patches, add_patches, planar


def patches_for(frame: Tensor, side: int, kind: torch.dtype, channels_last: bool) -> Tensor:
    batch, _, height, width = frame.shape
    patches = torch.randn(batch, 3 * side**2, height // side, width // side).to(kind)
    return patches.contiguous(memory_format=torch.channels_last) if channels_last else patches


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("side", "kind"), [(8, torch.bfloat16), (16, torch.float32), (16, torch.float16)]
)
def test_the_kernels_equal_tensor_operations(side: int, kind: torch.dtype, channels_last: bool):
    """Catches a wrong order in a patch, bfloat16 read wrongly, a gain or gate of another sample,
    bands that leave rows out.
    """
    frame, kept, gain, gate = (
        torch.rand(2, 3, 48, 80),
        torch.rand(2, 3, 48, 80),
        torch.rand(2, 1, 1, 1),
        torch.rand(2, 1, 3, 5),
    )
    patches = patches_for(frame, side, kind, channels_last)
    whole = F.pixel_shuffle(patches.contiguous(), side).float()
    assert torch.equal(add_patches(frame, patches), frame + whole)
    made = frame + whole * gain
    assert torch.equal(add_patches(frame, patches, gain), made)
    opened = gate.repeat_interleave(16, 2).repeat_interleave(16, 3)
    assert torch.equal(
        add_gated_patches(frame, patches, gain, kept, gate), kept + opened * (made - kept)
    )
    assert torch.equal(
        add_gated_patches(frame.requires_grad_(), patches, gain, kept, gate),
        kept + opened * (made - kept),
    )


def test_an_open_gate_lets_through_and_a_closed_one_keeps():
    """Catches a gate upside down, and frames given back that share memory with what they were made
    from.
    """
    frame, kept = torch.rand(1, 3, 16, 32), torch.rand(1, 3, 16, 32)
    patches, gain = torch.zeros(1, 192, 2, 4), torch.ones(1, 1, 1, 1)
    made = add_gated_patches(frame, patches, gain, kept, torch.tensor([0.0, 1.0]).view(1, 1, 1, 2))
    assert torch.equal(made[..., :16], kept[..., :16])
    torch.testing.assert_close(made[..., 16:], frame[..., 16:])
    assert add_patches(frame, patches).data_ptr() != frame.data_ptr()


def test_planar_is_a_pixel_shuffle():
    """Catches rows and columns of a patch, or components, swapped."""
    patches = torch.randn(2, 48, 3, 5)
    assert torch.equal(planar(patches, 4), F.pixel_shuffle(patches, 4))


def test_gradients_reach_patches_and_gain():
    """Catches training that goes through a kernel, which has no gradient."""
    patches, gain = (
        torch.randn(1, 192, 2, 2, requires_grad=True),
        torch.ones(1, 1, 1, 1, requires_grad=True),
    )
    add_patches(torch.zeros(1, 3, 16, 16), patches, gain).sum().backward()
    assert torch.equal(patches.grad, torch.ones_like(patches))
    torch.testing.assert_close(gain.grad.sum(), patches.sum())


@pytest.mark.parametrize("shape", [(1, 192, 3, 2), (2, 192, 2, 2), (1, 190, 2, 2)])
def test_patches_that_do_not_fit_are_refused(shape: tuple[int, ...]):
    """Catches a kernel that reads or writes beyond its arrays."""
    with pytest.raises(CodecError, match="do not fit frame"):
        add_patches(torch.zeros(1, 3, 16, 16), torch.zeros(shape))


def test_a_gain_for_another_batch_is_refused():
    """Catches a kernel that reads gains that are not there."""
    with pytest.raises(CodecError, match=r"gain \(1, 1, 1, 1\) given"):
        add_patches(torch.zeros(2, 3, 16, 16), torch.zeros(2, 192, 2, 2), torch.ones(1, 1, 1, 1))


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("side", [8, 16])
def test_the_kernels_pass_back_what_tensor_operations_do(
    side: int,
    gated: bool,
    monkeypatch: pytest.MonkeyPatch,
):
    """Catches gradients of another patch, sample or cell, and a gate's without what it keeps."""
    shapes = (2, 3, 48, 80), (2, 3 * side**2, 48 // side, 80 // side), (2, 1, 1, 1)
    shapes = *shapes, (2, 3, 48, 80), (2, 1, 3, 5)
    start, given = [torch.rand(shape) for shape in shapes], torch.randn(shapes[0])

    def gradients() -> list[Tensor]:
        tensors = [tensor.clone().requires_grad_() for tensor in start]
        made = add_gated_patches(*tensors) if gated else add_patches(*tensors[:3])
        made.backward(given)
        return [made, *(tensor.grad for tensor in tensors if tensor.grad is not None)]

    found = gradients()
    assert len(found) == (6 if gated else 4)
    monkeypatch.setattr("codec.layers.assemble.trains_on_cpu", lambda *tensors: False)
    for one, other in zip(found, gradients(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)
