import pytest
import torch
from small_codec import moving_clip

from codec.errors import CodecError
from codec.layers.warping import block_warp, dense, warp
from codec.motion import block_motion_estimation
from codec.motion.block_motion_estimation import TensorMatching, block_search


def picture(height: int = 96, width: int = 128) -> torch.Tensor:
    """Smooth random luma `(1, 1, H, W)`."""
    torch.manual_seed(0)
    small = torch.rand(1, 1, height // 4, width // 4)
    return torch.nn.functional.interpolate(
        small, size=(height, width), mode="bicubic", align_corners=False
    )


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
    both = block_search(
        current.repeat(2, 1, 1, 1), reference.repeat(2, 1, 1, 1), 16, torch.tensor([0.0, 5.0])
    )
    assert both[0].abs().sum() > both[1].abs().sum()


def clip(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two lumas that follow one another, twice, the second time turned round."""
    first, second = moving_clip(2, height, width)[:, :1].float() / 255
    return torch.stack([second, second.flip(-1)]), torch.stack([first, first.flip(-1)])


@pytest.mark.parametrize(("block", "reach"), [(16, 32), (8, 12), (4, 4)])
def test_kernels_find_what_tensors_find(block: int, reach: int, monkeypatch: pytest.MonkeyPatch):
    """Catches kernels that stop too early, miss candidates, mix up a batch, or weigh motion
    otherwise than on a GPU.
    """
    current, reference = clip(96, 144)
    penalty = torch.tensor([0.02, 0.2])
    found = block_search(current, reference, block, penalty, reach)
    monkeypatch.setattr(block_motion_estimation, "KernelMatching", TensorMatching)
    expected = block_search(current, reference, block, penalty, reach)
    assert (found == expected).all(1).float().mean() > 0.97
    errors = [
        (current - block_warp(reference, field, block)).abs().mean() for field in (found, expected)
    ]
    assert errors[0] < 1.01 * errors[1]


def test_bands_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    """Catches rows of blocks that no thread searches, or two do."""
    current, reference = clip(96, 144)
    alone = block_search(current, reference, 8, torch.tensor([0.02, 0.2]))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(block_search(current, reference, 8, torch.tensor([0.02, 0.2])), alone)


def test_a_picture_smaller_than_the_reach():
    """Catches margins too narrow for the longest vector: values from beside the picture."""
    torch.manual_seed(2)
    current, reference = torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16)
    assert block_search(current, reference, 16, torch.tensor([0.0])).abs().max() < 36


def test_pictures_that_are_not_numbers_give_some_field():
    """Catches a crash, or a vector from uninitialised memory, where training has diverged."""
    lost = torch.full((1, 1, 32, 32), float("nan"))
    assert block_search(lost, lost, 16, torch.tensor([0.1])).abs().max() < 36


@pytest.mark.parametrize(("height", "width", "block"), [(32, 40, 16), (24, 32, 16), (32, 32, 2)])
def test_parts_of_blocks_are_refused(height: int, width: int, block: int):
    """Catches kernels that read past the picture's end."""
    still = torch.zeros(1, 1, height, width)
    with pytest.raises(CodecError, match="whole blocks"):
        block_search(still, still, block, torch.tensor([0.1]))
