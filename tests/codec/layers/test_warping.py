import multiprocessing

import pytest
import torch

from codec.errors import CodecError
from codec.layers.warping import block_warp, dense, warp

BOTH = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])


def test_warp_by_whole_pixels_is_a_shift():
    """Catches x/y swapped, a half-pixel offset, and motion in normalised units."""
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    right = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 3, 4)
    torch.testing.assert_close(warp(image, right)[..., :-1], image[..., 1:])


def test_warp_refuses_bfloat16_motion():
    """Catches motion that autocast has rounded to whole pixels."""
    with pytest.raises(ValueError, match="float32"):
        warp(torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, 4, 4, dtype=torch.bfloat16))


def picture(layout: torch.memory_format, channels: int = 3) -> torch.Tensor:
    """Random `(2, C, 32, 48)` float32."""
    torch.manual_seed(0)
    return torch.rand(2, channels, 32, 48).contiguous(memory_format=layout)


def vectors(block: int, spread: float) -> torch.Tensor:
    """Random vectors for `picture`, one a block, in pixels."""
    torch.manual_seed(1)
    return spread * torch.randn(2, 2, 32 // block, 48 // block)


@BOTH
@pytest.mark.parametrize(("block", "spread"), [(16, 4.0), (8, 100.0), (2, 1.0), (1, 3.0)])
def test_equals_the_dense_warp(layout: torch.memory_format, block: int, spread: float):
    """Catches x/y swapped, wrong weights, borders that are not repeated, and batches that are mixed
    up.
    """
    features, field = picture(layout), vectors(block, spread)
    moved = block_warp(features, field, block)
    torch.testing.assert_close(
        moved, warp(features, dense(field, block)), atol=1e-5, rtol=0
    )  # of which 6e-6 are grid_sample's
    assert moved.stride() == features.stride()


@BOTH
def test_is_exact_where_the_weights_are(layout: torch.memory_format):
    """Catches weights a little off, within 1e-6, against float64."""
    features, field = picture(layout), torch.tensor([0.3, -0.6]).view(1, 2, 1, 1).repeat(2, 1, 2, 3)
    y, x = slice(1, -1), slice(1, -1)
    across = 0.7 * features.double()[..., x] + 0.3 * features.double()[..., 2:]
    expected = 0.4 * across[..., y, :] + 0.6 * across[..., :-2, :]
    moved = block_warp(features, field, 16)[..., y, x].double()
    torch.testing.assert_close(moved, expected, atol=1e-6, rtol=0)


@BOTH
def test_whole_pixels_are_copied(layout: torch.memory_format):
    """Catches rounding where nothing is interpolated, and still blocks that change."""
    features = picture(layout)
    shift = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(2, 2, 2, 3)
    assert torch.equal(block_warp(features, shift, 16)[..., 2:, :-3], features[..., :-2, 3:])
    assert torch.equal(block_warp(features, torch.zeros_like(shift), 16), features)


@BOTH
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 1e10])
def test_hostile_vectors_stay_inside(layout: torch.memory_format, value: float):
    """Catches reads out of bounds: a vector that a damaged stream made must give some
    border pixel.
    """
    features = picture(layout) + 1
    for axis in (0, 1):
        field = torch.zeros(2, 2, 2, 3)
        field[:, axis] = value
        moved = block_warp(features, field, 16)
        assert torch.isin(moved, features).all()


@BOTH
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_type_and_layout_stay(layout: torch.memory_format, kind: torch.dtype):
    """Catches a float32 answer, values rounded twice, and a memory format that costs a
    copy later.
    """
    features, field = picture(layout, 8).to(kind), vectors(8, 4.0)
    moved = block_warp(features, field, 8)
    assert moved.dtype == kind and moved.stride() == features.stride()
    assert torch.equal(moved, block_warp(features.float(), field, 8).to(kind))


def test_gradients_are_the_dense_warps():
    """Catches a kernel that cuts the graph."""
    features, field = (
        picture(torch.contiguous_format).requires_grad_(),
        vectors(8, 2.0).requires_grad_(),
    )
    block_warp(features, field, 8).square().sum().backward()
    ours = features.grad, field.grad
    features.grad = field.grad = None
    warp(features, dense(field, 8)).square().sum().backward()
    torch.testing.assert_close(ours, (features.grad, field.grad))


@BOTH
def test_bands_do_not_matter(layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch):
    """Catches rows that no thread fills, or two do."""
    features, field = picture(layout), vectors(8, 4.0)
    alone = block_warp(features, field, 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(block_warp(features, field, 8), alone)


def test_works_after_a_fork(monkeypatch: pytest.MonkeyPatch):
    """Catches a pool whose threads a forked data worker waits for in vain."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    block_warp(picture(torch.channels_last), vectors(8, 4.0), 8)
    child = multiprocessing.get_context("fork").Process(target=_warp_in_child)
    child.start()
    child.join(20)
    alive = child.is_alive()
    child.kill()
    assert not alive and child.exitcode == 0


def _warp_in_child() -> None:
    block_warp(
        torch.rand(1, 3, 32, 48).contiguous(memory_format=torch.channels_last),
        torch.ones(1, 2, 4, 6),
        8,
    )


@pytest.mark.parametrize(
    "field", [torch.zeros(1, 2, 4, 6), torch.zeros(2, 2, 4, 5), torch.zeros(2, 2, 4, 6).bfloat16()]
)
def test_a_field_that_does_not_fit_is_refused(field: torch.Tensor):
    """Catches kernels that read past a field's end, and vectors that autocast has rounded."""
    with pytest.raises(CodecError, match="block_warp"):
        block_warp(picture(torch.contiguous_format), field, 8)
