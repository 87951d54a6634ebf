"""The frames that are packed: the right ones, untouched where they can be."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from data.errors import DataError
from data.io.color import planes_to_rgb
from data.io.raw import RawReader
from data.io.source_clip import read_source
from data.sequences import RawFormat, Sequence
from data.shards.frames import PackSource, pack_source

FILES = ["h264.mp4", "h264_open.mkv", "hevc.mp4", "hevc_open.mp4", "mpeg2.mpg", "edited.mp4"]


def stacked(source: PackSource) -> list[np.ndarray]:
    pictures = [[plane.copy() for plane in picture] for picture in source.frames()]
    return [np.stack(planes) for planes in zip(*pictures, strict=True)]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("first", [0, 13])
def test_planes_are_the_sources_own(videos: Path, name: str, first: int):
    """Catches frames off by one, after a seek too, and any scaling or color conversion of 8-bit
    4:2:0.
    """
    source = pack_source(Sequence(videos / name, first, 7))
    expected = read_source(videos / name, 7, first).planes
    for packed, plane in zip(stacked(source), expected, strict=True):
        np.testing.assert_array_equal(packed, plane.numpy())


def test_odd_sizes_lose_a_line_and_a_column(videos: Path):
    """Catches odd sizes, which x264 refuses in 4:2:0, and planes shifted by the cut."""
    source = pack_source(Sequence(videos / "odd.mkv", 0, 3))
    y, u, v = stacked(source)
    expected = read_source(videos / "odd.mkv", 3).planes
    assert (source.width, source.height, y.shape, v.shape) == (44, 32, (3, 32, 44), (3, 16, 22))
    np.testing.assert_array_equal(y, expected[0].numpy()[:, :32, :44])
    np.testing.assert_array_equal(u, expected[1].numpy()[:, :16, :22])


def test_scaling_keeps_the_shape_and_is_even(videos: Path):
    """Catches stretched pictures, odd sizes, and pictures scaled up."""
    source = pack_source(Sequence(videos / "h264.mp4", 0, 2), short_side=36)
    assert (source.width, source.height, source.untouched) == (54, 36, False)
    assert stacked(source)[1].shape == (2, 18, 27)
    assert pack_source(Sequence(videos / "h264.mp4", 0, 2), short_side=128).untouched


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "yuv444p", "yuv444p10le"])
def test_raw_video_of_every_format(tmp_path: Path, ffmpeg, pixel_format: str):
    """Catches 10 bits taken for 8, 4:4:4 for 4:2:0, and ranges stretched on the way."""
    scene = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=0.2"]
    ffmpeg(*scene, "-pix_fmt", pixel_format, "-f", "rawvideo", tmp_path / "a.yuv")
    sequence = Sequence(tmp_path / "a.yuv", 1, 3, Fraction(25), RawFormat(64, 48, pixel_format))
    y, u, v = RawReader(sequence).planes(range(1, 4))
    scale, depth = (2 if "444" in pixel_format else 1), (4 if pixel_format.endswith("10le") else 1)
    expected = [
        y.float() / depth,
        *(functional.avg_pool2d(plane.float(), scale) / depth for plane in (u, v)),
    ]
    for packed, plane, most in zip(
        stacked(pack_source(sequence)), expected, (0.6, 2, 2), strict=True
    ):
        assert np.abs(packed - plane.numpy()).mean() < (most if scale * depth > 1 else 0.001)


def test_pictures_keep_their_colours(tmp_path: Path):
    """Catches a folder of pictures packed with another matrix or range than it is tagged with."""
    gradient = np.mgrid[0:64, 0:48].astype(np.uint8)
    rgb = np.stack([gradient[0] * 3, gradient[1] * 5, 255 - gradient[0] * 2], -1)
    for number in range(4):
        Image.fromarray(np.roll(rgb, number, 0)).save(tmp_path / f"{number:03d}.png")
    source = pack_source(Sequence(tmp_path, 1, 2, Fraction(25)))
    picture = next(source.frames())
    back = (
        planes_to_rgb(
            *(torch.from_numpy(plane.copy())[None] for plane in picture), source.color_space
        )[0]
        .permute(1, 2, 0)
        .numpy()
    )
    assert np.abs(back.astype(int) - np.roll(rgb, 1, 0))[8:-8, 8:-8].mean() < 3


def test_missing_and_damaged_frames_are_refused(tmp_path: Path, videos: Path):
    """Catches members that are shorter than the index says, and decoders' repairs packed as if they
    were good.
    """
    with pytest.raises(DataError, match=r"h264\.mp4: frames 35\.\.44 asked for, it holds 40"):
        pack_source(Sequence(videos / "h264.mp4", 35, 10))
    whole = bytearray((videos / "h264.mp4").read_bytes())
    middle = whole.index(b"mdat") + (len(whole) - whole.index(b"mdat")) // 2
    whole[middle : middle + 300] = bytes(300)
    (tmp_path / "damaged.mp4").write_bytes(whole)
    with pytest.raises(DataError, match=r"damaged\.mp4.*(missing|damaged|decoded)"):
        list(pack_source(Sequence(tmp_path / "damaged.mp4", 0, 40)).frames())
