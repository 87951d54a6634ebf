import numpy as np
import pytest
import torch
from torch import Tensor

from codec.blocks.intra_blocks import (
    BlockPriceTables,
    IntraBlocks,
    search_blocks,
    to_frame,
    to_pixels,
)
from codec.blocks.rebuild import rebuild, rebuild_by_tensors
from codec.blocks.rebuild_kernels import luma_neighbours, predict_block
from codec.blocks.tables import (
    CELL,
    CHANNELS,
    CHROMA_CLASSES,
    MODES,
    UNIT,
    channel_places,
    directions,
    float_dct,
    integer_dct,
    step_table,
)
from codec.layers.dct import kept_coefficients

SIZES = [(1, 1, 1), (2, 1, 5), (1, 5, 1), (2, 4, 6)]
QUALITY = torch.tensor([5, 50])
STEPS = torch.from_numpy(np.stack([step_table(100, 6, 64), step_table(50, 3, 64)], 1))


def random_blocks(batch: int, tall: int, wide: int, largest: int = 40) -> IntraBlocks:
    """Any symbols, as a damaged stream may hold them."""
    torch.manual_seed(batch + tall + wide)
    shape = batch, CHANNELS, tall, wide
    levels = torch.randint(-largest, largest, shape) * (torch.rand(shape) < 0.1)
    return IntraBlocks(
        levels=levels,
        split=torch.randint(0, 2, (batch, 1, tall, wide)),
        modes=torch.randint(0, MODES, (batch, 1, 2 * tall, 2 * wide)),
        kinds=torch.randint(0, CHROMA_CLASSES, (batch, 1, tall, wide)),
    )


def smooth_frames(batch: int, tall: int, wide: int) -> Tensor:
    """Frames with edges and gradients, in -0.5..0.5."""
    torch.manual_seed(3)
    small = torch.randn(batch, 3, tall + 3, wide + 3)
    return 0.4 * torch.nn.functional.interpolate(
        small, (tall * UNIT, wide * UNIT), mode="bilinear"
    ).clamp(-1, 1)


def searched(frames: Tensor, tries: tuple[int, int, int] = (2, 2, 6)):
    """Blocks, rebuilt planes and estimated bits for two frames at two qualities."""
    prices = BlockPriceTables(torch.linspace(100, 6, 9), 0.5).search_prices(QUALITY)
    bits = torch.tensor([[16000.0, 4000.0], [100.0, 25.0]])
    return search_blocks(*to_pixels(frames), STEPS[QUALITY], bits, prices, tries)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("largest", [40, 100000])
def test_tensors_rebuild_what_the_kernel_rebuilds(size: tuple[int, int, int], largest: int):
    """Catches a neighbour, a mode, a rounding or an overflow that two devices see differently."""
    blocks, steps = random_blocks(*size, largest), STEPS[QUALITY][: size[0]]
    for kernel, tensors in zip(
        rebuild(blocks, steps), rebuild_by_tensors(blocks, steps), strict=True
    ):
        assert kernel.dtype == tensors.dtype == torch.int32
        assert torch.equal(kernel, tensors)
        assert kernel.min() >= 0 and kernel.max() <= 1023


@pytest.mark.parametrize("size", [(2, 1, 1), (2, 3, 5)])
def test_the_encoder_sees_what_the_decoder_rebuilds(size: tuple[int, int, int]):
    """Catches blocks predicted from other pixels than the decoder has, and levels put elsewhere."""
    blocks, planes, spent = searched(smooth_frames(*size))
    for seen, made in zip(planes, rebuild(blocks, STEPS[QUALITY]), strict=True):
        assert torch.equal(seen, made)
    assert (spent >= 0).all()


def test_threads_decide_and_rebuild_alike():
    """Catches rows that begin before what they are predicted from is there."""
    frames, count = smooth_frames(2, 6, 7), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            blocks, planes, _ = searched(frames)
            found.append((blocks, planes, rebuild(blocks, STEPS[QUALITY])))
    finally:
        torch.set_num_threads(count)
    for blocks, planes, made in found[1:]:
        assert all(
            torch.equal(getattr(blocks, name), getattr(found[0][0], name)) for name in vars(blocks)
        )
        assert all(
            torch.equal(one, other)
            for one, other in zip((*planes, *made), (*found[0][1], *found[0][2]), strict=True)
        )


def test_blocks_come_near_the_frame_and_nearer_at_higher_quality():
    """Catches a sign, a scale or a transposition in transforms and prediction."""
    frames = smooth_frames(2, 4, 6)
    _, planes, spent = searched(frames)
    error = (to_frame(*planes) - frames).square().mean((1, 2, 3))
    assert error[0] < 0.06**2 and error[1] < 0.012**2
    assert spent[0].sum() < spent[1].sum()


def test_a_gradient_is_predicted_in_its_direction():
    """Catches horizontal for vertical, and modes numbered differently from HEVC's."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    for pattern, mode in ((x, 26), (y, 10), (x + y, 34), (x - y, 18)):
        luma = ((pattern * 37) % 97 * 8).to(torch.int32)[None].contiguous()
        chroma = torch.full((1, 2, 32, 32), 512, dtype=torch.int32)
        prices = BlockPriceTables(torch.linspace(100, 6, 9), 0.5).search_prices(QUALITY[1:])
        blocks, _, _ = search_blocks(
            luma, chroma, STEPS[QUALITY[1:]], torch.tensor([[100.0, 100.0]]), prices
        )
        inner = blocks.modes[0, 0, 2:6, 2:6]
        assert (inner == mode).float().mean() > 0.7, (mode, inner)


def test_modes_are_those_of_the_standard():
    """Catches an angle or a rounding of one mode: values by hand from ITU-T H.265, 8.4.4.2.4 to
    8.4.4.2.6.
    """
    plane = (torch.arange(32 * 32, dtype=torch.int32).view(32, 32) * 7 % 1000).numpy()
    found, made = np.empty(130, np.int32), np.empty(256, np.int32)
    luma_neighbours(plane, 16, 16, CELL, 0, found)
    left, above, corner = plane[16:32, 15], plane[15, 16:32], plane[15, 15]
    for mode in range(2, MODES):
        predict_block(found, CELL, mode, True, directions(CELL, True), made)
        values = made[:64].reshape(8, 8)
        if mode == 2:
            smooth = (left[:-2] + 2 * left[1:-1] + left[2:] + 2) >> 2
            assert values[0, 0] == smooth[0] and values[3, 2] == smooth[5]
        elif mode == 30:  # 13 / 32 of a pixel a row
            assert values[0, 0] == (19 * above[0] + 13 * above[1] + 16) >> 5
            assert values[4, 2] == ((32 - 65 % 32) * above[4] + 65 % 32 * above[5] + 16) >> 5
        elif mode == 26:
            assert values[3, 0] == min(max(above[0] + ((left[3] - corner) >> 1), 0), 1023)
            assert (values[3, 1:] == above[1:8]).all()
        elif (
            mode == 22
        ):  # -13 / 32 of a pixel a row, at last into the left column, projected by -630 / 256
            assert values[0, 1] == (13 * above[0] + 19 * above[1] + 16) >> 5
            assert values[7, 0] == (8 * left[6] + 24 * left[4] + 16) >> 5


@pytest.mark.parametrize("side", [8, 16])
def test_integer_transforms_are_nearly_orthonormal(side: int):
    """Catches a wrong entry of the matrices."""
    matrix = integer_dct(side).astype(float)
    product = matrix @ matrix.T / (64**2 * side)
    assert np.abs(product - np.eye(side)).max() < 0.012
    assert np.abs(float_dct(side) @ float_dct(side).T - np.eye(side)).max() < 0.012
    assert (matrix[0] == 64).all() and matrix[1, 0] == (89 if side == 8 else 90)


def test_a_channel_is_one_frequency_of_any_size():
    """Catches coefficients of small blocks spread over the wrong channels, or two in one place."""
    whole, cells, chroma = channel_places()
    kept = kept_coefficients(16, 16, 8)
    assert (
        sorted([*whole, *chroma.flatten()])
        == list(range(CHANNELS))
        == sorted([*cells.flatten(), *chroma.flatten()])
    )
    for part in range(4):
        for p in range(64):
            component, row, column = kept[cells[part, p]]
            assert (component, row // 2, column // 2) == (0, p // 8, p % 8)
            assert (row % 2, column % 2) == (part // 2, part % 2)


def test_steps_are_the_same_integers_everywhere():
    """Catches a table that follows the C library's exponential. From `step_table(100, 6, 64)`."""
    steps = step_table(100, 6, 64)
    assert (steps[0], steps[-1]) == (6400, 384) and (np.diff(steps) < 0).all()


def test_pixels_return():
    """Catches a scale or an offset between frames and integers, and chroma half a pixel off."""
    frames = smooth_frames(1, 3, 4)
    assert (to_frame(*to_pixels(frames)) - frames).abs().mean() < 0.004
