"""4:2:0 planes to RGB."""

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from data.colour import Colour, colour_of, planes_to_rgb

BT601, BT709 = Colour("bt601", False, "tagged"), Colour("bt709", False, "tagged")
FULL = Colour("bt601", True, "tagged")


def flat(y: int, u: int, v: int) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(torch.full((1, size, size), value, dtype=torch.uint8) for size, value in ((4, y), (2, u), (2, v)))


@pytest.mark.parametrize(("yuv", "colour", "rgb"), [
    ((16, 128, 128), BT601, (0, 0, 0)),
    ((235, 128, 128), BT709, (255, 255, 255)),
    ((126, 128, 128), BT709, (128, 128, 128)),
    ((81, 90, 240), BT601, (254, 0, 0)),  # 75 % .. 100 % bars of BT.601: red, green, blue
    ((145, 54, 34), BT601, (0, 255, 1)),
    ((41, 240, 110), BT601, (0, 0, 255)),
    ((63, 102, 240), BT709, (255, 1, 0)),  # the same of BT.709
    ((173, 42, 26), BT709, (0, 255, 1)),
    ((32, 240, 118), BT709, (1, 0, 255)),
    ((76, 85, 255), FULL, (254, 0, 0)),  # JPEG's red
    ((0, 128, 128), BT601, (0, 0, 0)),  # below black, above white
    ((255, 128, 128), BT601, (255, 255, 255)),
])  # fmt: skip
def test_known_colours(yuv: tuple[int, int, int], colour: Colour, rgb: tuple[int, int, int]):
    """Catches exchanged matrices, ranges, chroma planes, wrong rounding and overflow."""
    got = planes_to_rgb(*flat(*yuv), colour)
    assert got.dtype == torch.uint8 and tuple(got.shape) == (1, 3, 4, 4)
    assert (got[0].int() - torch.tensor(rgb).view(3, 1, 1)).abs().max() <= 1


def test_grey_levels_are_exact():
    """Catches a rounding bias: luma alone must be the nearest of (Y - 16) * 255 / 219."""
    levels = torch.arange(16, 236, dtype=torch.uint8).view(1, 1, -1).expand(1, 2, -1)
    middle = torch.full((1, 1, 110), 128, dtype=torch.uint8)
    expected = torch.round((levels.double() - 16) * 255 / 219).to(torch.uint8)
    assert torch.equal(planes_to_rgb(levels, middle, middle, BT709), expected[:, None].expand(1, 3, 2, 220))


def test_chroma_is_sited_left_and_between_lines():
    """Catches another siting: a step in chroma is halfway one pixel right of its sample, and 3:1 between lines."""
    y = torch.full((1, 4, 4), 100, dtype=torch.uint8)
    grey = torch.full((1, 2, 2), 128, dtype=torch.uint8)
    across = torch.tensor([[[128, 192], [128, 192]]], dtype=torch.uint8)
    shift = planes_to_rgb(y, grey, across, FULL)[0, 0].int() - 100
    assert shift[0].tolist() == [0, 45, 90, 90]
    assert (planes_to_rgb(y, grey, across.transpose(1, 2), FULL)[0, 0, :, 0].int() - 100).tolist() == [0, 22, 67, 90]


@pytest.mark.parametrize("colour", [BT601, BT709, FULL])
def test_swscale_agrees_on_smooth_pictures(colour: Colour):
    """Catches any error above rounding, against ffmpeg's own conversion, at an odd size."""
    down, across = np.mgrid[0:61, 0:83]
    luma = (60 + across + down).astype(np.uint8)
    blue = (100 + across[::2, ::2] // 2).astype(np.uint8)
    red = (160 - down[::2, ::2]).astype(np.uint8)
    frame = av.VideoFrame(83, 61, "yuv420p")
    for plane, values in zip(frame.planes, (luma, blue, red), strict=True):
        lines = np.zeros((plane.height, plane.line_size), np.uint8)
        lines[:, : plane.width] = values
        plane.update(lines.tobytes())
    options = {"src_colorspace": "ITU709" if colour.matrix == "bt709" else "ITU601"}
    options["src_color_range"] = "JPEG" if colour.full_range else "MPEG"
    theirs = frame.to_ndarray(format="rgb24", interpolation="BICUBIC", **options).astype(int)
    planes = (torch.from_numpy(values)[None] for values in (luma, blue, red))
    ours = planes_to_rgb(*planes, colour)[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(ours - theirs).max() <= 2


def test_planes_of_wrong_size_are_refused():
    """Catches chroma rounded down for odd sizes."""
    y, c = torch.zeros(1, 5, 5, dtype=torch.uint8), torch.zeros(1, 2, 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"\(1, 3, 3\)"):
        planes_to_rgb(y, c, c, BT601)


def test_untagged_colour_is_guessed_by_height():
    """Catches a guess that is not marked as one, and its limit."""
    assert colour_of("clip", "yuv420p", 2, 0, 719) == Colour("bt601", False, "guessed")
    assert colour_of("clip", "yuvj420p", 2, 0, 720) == Colour("bt709", True, "guessed")
