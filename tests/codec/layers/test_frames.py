import pytest
import torch
from torch import Tensor

from codec.errors import CodecError
from codec.layers.frames import (
    check_size,
    pad_frames,
    rgb_to_levels,
    rgb_to_ycc,
    ycc_to_levels,
    ycc_to_rgb,
)


def test_grey_has_no_colour_and_the_way_back_is_exact():
    """Catches wrong weights: mid-grey is zero, and RGB comes back."""
    torch.testing.assert_close(
        rgb_to_ycc(torch.full((3, 2, 2), 0.5)), torch.zeros(3, 2, 2), atol=1e-6, rtol=0
    )
    rgb = torch.rand(2, 3, 5, 7)
    torch.testing.assert_close(ycc_to_rgb(rgb_to_ycc(rgb)), rgb, atol=1e-6, rtol=0)


def test_pure_colours_stay_in_range():
    """Catches colour differences that are not scaled to -0.5..0.5."""
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)[:, :, None, None]
    ycc = rgb_to_ycc(corners)
    assert ycc.abs().max() <= 0.5 + 1e-6
    torch.testing.assert_close(ycc.amax((0, 2, 3)), torch.full((3,), 0.5))


def test_levels_are_those_of_the_rgb_picture():
    """Catches a kernel that rounds otherwise than tensor operations do, or forgets to clamp, crop
    or cover a row.
    """
    ycc = torch.rand(2, 3, 67, 131) * 1.2 - 0.6
    grey = torch.zeros(1, 3, 64, 64)
    grey[:, 0] = torch.linspace(-0.6, 0.6, 64 * 64).view(64, 64)
    for frames in (
        ycc,
        ycc[..., :50, :120],
        grey,
        rgb_to_ycc(torch.arange(256).view(1, 1, 16, 16).expand(1, 3, 16, 16) / 255),
    ):
        assert torch.equal(ycc_to_levels(frames), rgb_to_levels(ycc_to_rgb(frames)))
    assert torch.equal(ycc_to_levels(ycc.requires_grad_()), ycc_to_levels(ycc.detach()))


def test_padding_repeats_the_border():
    """Catches zero padding, which costs bits at the border."""
    padded = pad_frames(torch.arange(6.0).view(1, 1, 2, 3), 4)
    assert padded.shape == (1, 1, 4, 4)
    assert padded[0, 0, 3].tolist() == [3, 4, 5, 5]


def test_small_frames_are_refused():
    """Catches an 8×8 frame that fails deep inside a network instead of here."""
    with pytest.raises(CodecError, match="8×8 given; the smallest that can be coded is 16×16"):
        check_size(8, 8)


def test_the_kernel_to_rgb_equals_tensor_operations(monkeypatch: pytest.MonkeyPatch):
    """Catches components swapped, and a gradient that leaves out what green takes from
    the others.
    """
    start, given = torch.rand(2, 2, 3, 5, 7) - 0.5, torch.randn(2, 2, 3, 5, 7)

    def converted() -> list[Tensor]:
        ycc = start.clone().requires_grad_()
        rgb = ycc_to_rgb(ycc)
        rgb.backward(given)
        return [rgb, ycc.grad]

    found = converted()
    monkeypatch.setattr("codec.layers.frames.trains_on_cpu", lambda *tensors: False)
    for one, other in zip(found, converted(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
