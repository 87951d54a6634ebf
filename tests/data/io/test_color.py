"""4:2:0 planes to RGB."""

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from data.io.color import WEIGHTS, ColorSpace, color_space_of, planes_to_rgb

BT601, BT709 = ColorSpace("bt601", False, "tagged"), ColorSpace("bt709", False, "tagged")
FULL = ColorSpace("bt601", True, "tagged")


def flat(y: int, u: int, v: int) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(
        torch.full((1, size, size), value, dtype=torch.uint8)
        for size, value in ((4, y), (2, u), (2, v))
    )


@pytest.mark.parametrize(("yuv", "color_space", "rgb"), [
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
def test_known_colours(
    yuv: tuple[int, int, int], color_space: ColorSpace, rgb: tuple[int, int, int]
):
    """Catches exchanged matrices, ranges, chroma planes, wrong rounding and overflow."""
    got = planes_to_rgb(*flat(*yuv), color_space)
    assert got.dtype == torch.uint8 and tuple(got.shape) == (1, 3, 4, 4)
    assert (got[0].int() - torch.tensor(rgb).view(3, 1, 1)).abs().max() <= 1


def test_grey_levels_are_exact():
    """Catches a rounding bias: luma alone must be the nearest of (Y - 16) * 255 / 219."""
    levels = torch.arange(16, 236, dtype=torch.uint8).view(1, 1, -1).expand(1, 2, -1)
    middle = torch.full((1, 1, 110), 128, dtype=torch.uint8)
    expected = torch.round((levels.double() - 16) * 255 / 219).to(torch.uint8)
    assert torch.equal(
        planes_to_rgb(levels, middle, middle, BT709), expected[:, None].expand(1, 3, 2, 220)
    )


def test_chroma_is_sited_left_and_between_lines():
    """Catches another siting: a step in chroma is halfway one pixel right of its sample, and 3:1
    between lines.
    """
    y = torch.full((1, 4, 4), 100, dtype=torch.uint8)
    grey = torch.full((1, 2, 2), 128, dtype=torch.uint8)
    across = torch.tensor([[[128, 192], [128, 192]]], dtype=torch.uint8)
    shift = planes_to_rgb(y, grey, across, FULL)[0, 0].int() - 100
    assert shift[0].tolist() == [0, 45, 90, 90]
    assert (
        planes_to_rgb(y, grey, across.transpose(1, 2), FULL)[0, 0, :, 0].int() - 100
    ).tolist() == [0, 22, 67, 90]


@pytest.mark.parametrize("color_space", [BT601, BT709, FULL])
def test_swscale_agrees_on_smooth_pictures(color_space: ColorSpace):
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
    options = {"src_colorspace": "ITU709" if color_space.matrix == "bt709" else "ITU601"}
    options["src_color_range"] = "JPEG" if color_space.full_range else "MPEG"
    theirs = frame.to_ndarray(format="rgb24", interpolation="BICUBIC", **options).astype(int)
    planes = (torch.from_numpy(values)[None] for values in (luma, blue, red))
    ours = planes_to_rgb(*planes, color_space)[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(ours - theirs).max() <= 2


def noise(
    height: int, width: int, half: bool = True, top: int = 256, frames: int = 2
) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = [(height, width)] + [(-(-height // 2), -(-width // 2)) if half else (height, width)] * 2
    return [
        rng.integers(top, size=(frames, *size), dtype=np.uint16 if top > 256 else np.uint8)
        for size in sizes
    ]


def tensors(planes: list[np.ndarray]) -> list[Tensor]:
    return [torch.from_numpy(plane) for plane in planes]


def reference(y: np.ndarray, u: np.ndarray, v: np.ndarray, color_space: ColorSpace) -> np.ndarray:
    """One 8-bit 4:2:0 picture in plain numpy: the first version of `planes_to_rgb`, kept for its
    integers.
    """

    def fixed(value: float) -> np.int32:
        return np.int32(round(value * (1 << 16)))

    def upsampled(chroma: np.ndarray) -> np.ndarray:
        c = np.pad(chroma.astype(np.int32) - 128, ((1, 1), (0, 1)), mode="edge")
        wide = np.empty((c.shape[0], 2 * chroma.shape[1]), np.int32)
        wide[:, 0::2], wide[:, 1::2] = 2 * c[:, :-1], c[:, :-1] + c[:, 1:]
        full = np.empty((2 * chroma.shape[0], wide.shape[1]), np.int32)
        full[0::2], full[1::2] = 3 * wide[1:-1] + wide[:-2], 3 * wide[1:-1] + wide[2:]
        return full[: y.shape[0], : y.shape[1]]

    kr, kb = WEIGHTS[color_space.matrix]
    kg = 1 - kr - kb
    luma_scale, black, chroma_scale = (
        (1.0, 0, 1.0) if color_space.full_range else (255 / 219, 16, 255 / 224)
    )
    red, blue = 2 * (1 - kr) * chroma_scale, 2 * (1 - kb) * chroma_scale
    luma = (y.astype(np.int32) - black) * (8 * fixed(luma_scale)) + (1 << 18)
    u, v = upsampled(u), upsampled(v)
    sums = (
        luma + v * fixed(red),
        luma - u * fixed(blue * kb / kg) - v * fixed(red * kr / kg),
        luma + u * fixed(blue),
    )
    return np.stack([np.clip(total >> 19, 0, 255) for total in sums]).astype(np.uint8)


@pytest.mark.parametrize("color_space", [BT601, BT709, FULL])
@pytest.mark.parametrize("size", [(16, 32), (33, 45), (1, 1), (2, 3), (5, 2)])
def test_integers_are_those_of_plain_numpy(size: tuple[int, int], color_space: ColorSpace):
    """Catches another rounding, borders and odd sizes in the kernel: results of earlier versions
    would not be repeated.
    """
    planes = noise(*size)
    expected = np.stack([reference(*picture, color_space) for picture in zip(*planes, strict=True)])
    assert np.array_equal(planes_to_rgb(*tensors(planes), color_space).numpy(), expected)


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize(
    "window",
    [(0, 0, 9, 11), (3, 5, 4, 6), (2, 4, 1, 1), (0, 1, 9, 10), (8, 10, 1, 1), (1, 0, 5, 3)],
)
def test_window_is_a_cut_of_the_whole(window: tuple[int, int, int, int], half: bool):
    """Catches chroma interpolated over the window's border instead of the picture's, and a shift at
    odd corners.
    """
    planes = tensors(noise(9, 11, half))
    top, left, height, width = window
    whole = planes_to_rgb(*planes, BT709)[..., top : top + height, left : left + width]
    assert torch.equal(planes_to_rgb(*planes, BT709, window=window), whole)


@pytest.mark.parametrize("color_space", [BT601, BT709])
def test_ten_bits_of_eight_bit_values_are_the_same(color_space: ColorSpace):
    """Catches black, neutral or scales of another depth: in limited range a 10-bit sample is four
    times the 8-bit one.
    """
    planes = noise(12, 18)
    fine = [plane.astype(np.uint16) * 4 for plane in planes]
    assert torch.equal(
        planes_to_rgb(*tensors(fine), color_space, bits=10),
        planes_to_rgb(*tensors(planes), color_space),
    )


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("color_space", [BT601, BT709, FULL])
def test_444_is_the_nearest_of_the_exact_value(bits: int, color_space: ColorSpace):
    """Catches overflow, and more than one rounding, in any range and depth; chroma of 4:4:4 that is
    interpolated.
    """
    planes = noise(64, 64, half=False, top=1 << bits)
    more = 1 << (bits - 8)
    kr, kb = WEIGHTS[color_space.matrix]
    peak = 256 * more - 1
    y, u, v = (plane.astype(float) for plane in planes)
    y = y / peak if color_space.full_range else (y - 16 * more) / (219 * more)
    u, v = (
        (plane - 128 * more) / (peak if color_space.full_range else 224 * more) for plane in (u, v)
    )
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    exact = 255 * np.stack([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue], axis=1)
    got = planes_to_rgb(*tensors(planes), color_space, bits).numpy()
    assert np.abs(got - np.clip(exact, 0, 255)).max() < 0.51


def test_smooth_10_bit_chroma_agrees_with_8_bit():
    """Catches 10-bit 4:2:0 chroma at another siting."""
    planes = noise(20, 30, top=1024)
    down = [((plane + 2) // 4).clip(0, 255).astype(np.uint8) for plane in planes]
    fine, coarse = (
        planes_to_rgb(*tensors(planes), BT709, 10).int(),
        planes_to_rgb(*tensors(down), BT709).int(),
    )
    assert (fine - coarse).abs().max() <= 4


@pytest.mark.parametrize(("bits", "window", "said"), [
    (10, None, "10 bits"),
    (9, None, "9 bits"),
    (8, (0, 0, 5, 4), "leaves 4x4"),
    (8, (-1, 0, 2, 2), "leaves"),
    (8, (0, 0, 0, 1), "leaves"),
])  # fmt: skip
def test_wrong_depths_and_windows_are_refused(
    bits: int, window: tuple[int, int, int, int] | None, said: str
):
    """Catches 8-bit samples taken for 10-bit ones and reads outside the planes."""
    with pytest.raises(ValueError, match=said):
        planes_to_rgb(*flat(1, 2, 3), BT601, bits, window)


def test_planes_of_wrong_size_are_refused():
    """Catches chroma rounded down for odd sizes."""
    y, c = torch.zeros(1, 5, 5, dtype=torch.uint8), torch.zeros(1, 2, 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"\(1, 3, 3\)"):
        planes_to_rgb(y, c, c, BT601)


def test_untagged_colour_is_guessed_by_height():
    """Catches a guess that is not marked as one, and its limit."""
    assert color_space_of("clip", "yuv420p", 2, 0, 719) == ColorSpace("bt601", False, "guessed")
    assert color_space_of("clip", "yuvj420p", 2, 0, 720) == ColorSpace("bt709", True, "guessed")
