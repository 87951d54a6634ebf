"""Whole clips, read exactly."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from data.colour import Colour, planes_to_rgb
from data.errors import DataError
from data.source import read_source


@pytest.mark.parametrize("name", ["h264.mp4", "hevc_open.mp4", "odd.mkv", "mpeg2.mpg"])
def test_planes_equal_a_raw_dump(videos: Path, name: str, ffmpeg):
    """Catches line padding left in, swapped U and V, odd sizes rounded down, lost or reordered frames."""
    source = read_source(videos / name)
    dump = ffmpeg("-i", videos / name, "-fps_mode", "passthrough", "-f", "rawvideo", "-")
    frames = zip(*(plane.flatten(1).numpy() for plane in source.planes), strict=True)
    assert np.concatenate([np.concatenate(planes) for planes in frames]).tobytes() == dump


def test_odd_size_and_rate_are_exact(videos: Path):
    """Catches rates rounded to floats and chroma of odd sizes."""
    source = read_source(videos / "odd.mkv")
    assert (source.name, source.width, source.height, source.frames) == ("odd", 45, 33, 9)
    assert source.fps == Fraction(30000, 1001)
    assert [tuple(plane.shape) for plane in source.planes] == [(9, 33, 45), (9, 17, 23), (9, 17, 23)]
    assert torch.equal(source.rgb, planes_to_rgb(*source.planes, source.colour))


def test_start_and_max_frames_cut_the_clip(videos: Path):
    """Catches off-by-one cuts and repeats at the end."""
    whole, part = read_source(videos / "hevc.mp4"), read_source(videos / "hevc.mp4", max_frames=5, start=13)
    assert torch.equal(part.rgb, whole.rgb[13:18])
    assert read_source(videos / "hevc.mp4", max_frames=5, start=38).frames == 2


@pytest.mark.parametrize("cut", [{"start": 40}, {"start": -1}, {"max_frames": 0}])
def test_impossible_cuts_are_refused(videos: Path, cut: dict[str, int]):
    """Catches empty clips."""
    with pytest.raises(DataError, match=r"hevc\.mp4.*start"):
        read_source(videos / "hevc.mp4", **cut)


@pytest.mark.parametrize(("tags", "colour"), [
    ("colorspace=bt709", Colour("bt709", False, "tagged")),
    ("colorspace=smpte170m:range=pc", Colour("bt601", True, "tagged")),
    ("range=tv", Colour("bt601", False, "guessed")),
])  # fmt: skip
def test_colour_comes_from_the_tags(tmp_path: Path, ffmpeg, tags: str, colour: Colour):
    """Catches tags that are ignored."""
    source = f"testsrc2=size=64x48:rate=5:duration=0.4,format=yuv420p,setparams={tags}"
    ffmpeg("-f", "lavfi", "-i", source, "-c:v", "libx264", tmp_path / "tagged.mkv")
    assert read_source(tmp_path / "tagged.mkv").colour == colour


def test_other_formats_have_no_planes(tmp_path: Path, ffmpeg):
    """Catches 4:4:4 or 10-bit samples read as if they were 8-bit 4:2:0."""
    for pixels in ("yuv444p", "yuv420p10le"):
        path = tmp_path / f"{pixels}.mkv"
        source = f"testsrc2=size=64x48:rate=5:duration=0.4,format={pixels}"
        ffmpeg("-f", "lavfi", "-i", source, "-c:v", "ffv1", path)
        clip = read_source(path)
        assert clip.planes is None and tuple(clip.rgb.shape) == (2, 3, 48, 64)
