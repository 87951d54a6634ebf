import pytest
import torch
from compressai.models.video import ScaleSpaceFlow

from codec.motion.scale_space import scale_space_warp


def test_it_is_compressais_prediction():
    """Catches levels in another order, a half-pixel offset, and borders that are not repeated."""
    torch.manual_seed(0)
    peer = ScaleSpaceFlow()
    frame, flow = torch.rand(2, 3, 32, 48), torch.randn(2, 3, 32, 48) * 0.7
    torch.testing.assert_close(
        scale_space_warp(frame, flow), peer.forward_prediction(frame, flow), atol=1e-6, rtol=0
    )


def test_its_gradients_are_compressais():
    """Catches a blend that teaches the flow, the scale or the reference something else."""
    torch.manual_seed(0)
    peer, gradients = ScaleSpaceFlow(), []
    start = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16) - 0.5
    for predict in (scale_space_warp, peer.forward_prediction):
        frame, flow = (value.clone().requires_grad_() for value in start)
        predict(frame, flow).square().sum().backward()
        gradients.append((frame.grad, flow.grad))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)


def test_sharpest_without_displacement_is_the_frame():
    """Catches -1 taken for the most blurred."""
    frame = torch.rand(1, 3, 16, 16)
    still = torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    torch.testing.assert_close(scale_space_warp(frame, still), frame, atol=1e-5, rtol=0)


def test_half_precision_is_refused():
    """Catches flow in bfloat16, which loses whole pixels."""
    with pytest.raises(ValueError, match="float32 expected"):
        scale_space_warp(torch.rand(1, 3, 16, 16), torch.zeros(1, 3, 16, 16, dtype=torch.bfloat16))
