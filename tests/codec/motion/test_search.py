import pytest
import torch

from codec.layers.warp import warp
from codec.motion.search import block_search, dense


def picture(height: int = 96, width: int = 128) -> torch.Tensor:
    """Smooth random luma `(1, 1, H, W)`."""
    torch.manual_seed(0)
    small = torch.rand(1, 1, height // 4, width // 4)
    return torch.nn.functional.interpolate(small, size=(height, width), mode="bicubic", align_corners=False)


@pytest.mark.parametrize("vector", [(5.0, -3.0), (-17.0, 9.0), (0.25, 2.75)])
def test_a_shift_is_found(vector: tuple[float, float]):
    """Catches x/y or the sign swapped, a lost quarter pixel, and too small a reach."""
    reference = picture()
    field = torch.tensor(vector).view(1, 2, 1, 1).expand(1, 2, 6, 8).contiguous()
    current = warp(reference, dense(field, 16))
    found = block_search(current, reference, 16, torch.tensor([0.01]))
    inside = found[:, :, 1:-1, 2:-2]
    assert (inside == field[:, :, 1:-1, 2:-2]).float().mean() > 0.9


def test_a_still_picture_has_no_motion():
    """Catches vectors that cost bits without need."""
    still = picture()
    assert not block_search(still, still, 16, torch.tensor([0.1])).any()


def test_dearer_bits_give_a_smoother_field():
    """Catches a penalty that is not used, or of which a batch sees only one."""
    torch.manual_seed(1)
    current, reference = picture() + 0.1 * torch.randn(1, 1, 96, 128), picture()
    both = block_search(current.repeat(2, 1, 1, 1), reference.repeat(2, 1, 1, 1), 16, torch.tensor([0.0, 5.0]))
    assert both[0].abs().sum() > both[1].abs().sum()
