import pytest
import torch

from codec.layers.warp import warp


def test_warp_by_whole_pixels_is_a_shift():
    """Catches x/y swapped, a half-pixel offset, and motion in normalised units."""
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    right = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 3, 4)
    torch.testing.assert_close(warp(image, right)[..., :-1], image[..., 1:])


def test_warp_refuses_bfloat16_motion():
    """Catches motion that autocast has rounded to whole pixels."""
    with pytest.raises(ValueError, match="float32"):
        warp(torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, 4, 4, dtype=torch.bfloat16))
