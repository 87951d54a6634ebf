"""Whole clips, read exactly."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from data.errors import DataError
from data.io.color import ColorSpace, planes_to_rgb
from data.io.source_clip import read_source
from data.io.video import frames_to_rgb
from data.io.writer import write_video
from data.sequences import Sequence


@pytest.mark.parametrize("name", ["h264.mp4", "hevc_open.mp4", "odd.mkv", "mpeg2.mpg"])
def test_planes_equal_a_raw_dump(videos: Path, name: str, ffmpeg):
    """Catches line padding left in, swapped U and V, odd sizes rounded down, lost or reordered
    frames.
    """
    source = read_source(videos / name)
    dump = ffmpeg("-i", videos / name, "-fps_mode", "passthrough", "-f", "rawvideo", "-")
    frames = zip(*(plane.flatten(1).numpy() for plane in source.planes), strict=True)
    assert np.concatenate([np.concatenate(planes) for planes in frames]).tobytes() == dump


def test_odd_size_and_rate_are_exact(videos: Path):
    """Catches rates rounded to floats and chroma of odd sizes."""
    source = read_source(videos / "odd.mkv")
    assert (source.name, source.width, source.height, source.frames) == ("odd", 45, 33, 9)
    assert source.fps == Fraction(30000, 1001)
    assert [tuple(plane.shape) for plane in source.planes] == [
        (9, 33, 45),
        (9, 17, 23),
        (9, 17, 23),
    ]
    assert torch.equal(source.rgb, planes_to_rgb(*source.planes, source.color_space))


def test_start_and_max_frames_cut_the_clip(videos: Path):
    """Catches off-by-one cuts and repeats at the end."""
    whole, part = (
        read_source(videos / "hevc.mp4"),
        read_source(videos / "hevc.mp4", max_frames=5, start=13),
    )
    assert torch.equal(part.rgb, whole.rgb[13:18])
    assert read_source(videos / "hevc.mp4", max_frames=5, start=38).frames == 2


@pytest.mark.parametrize("cut", [{"start": 40}, {"start": -1}, {"max_frames": 0}])
def test_impossible_cuts_are_refused(videos: Path, cut: dict[str, int]):
    """Catches empty clips."""
    with pytest.raises(DataError, match=r"hevc\.mp4.*start"):
        read_source(videos / "hevc.mp4", **cut)


@pytest.mark.parametrize(("tags", "color_space"), [
    ("colorspace=bt709", ColorSpace("bt709", False, "tagged")),
    ("colorspace=smpte170m:range=pc", ColorSpace("bt601", True, "tagged")),
    ("range=tv", ColorSpace("bt601", False, "guessed")),
])  # fmt: skip
def test_colour_comes_from_the_tags(tmp_path: Path, ffmpeg, tags: str, color_space: ColorSpace):
    """Catches tags that are ignored."""
    source = f"testsrc2=size=64x48:rate=5:duration=0.4,format=yuv420p,setparams={tags}"
    ffmpeg("-f", "lavfi", "-i", source, "-c:v", "libx264", tmp_path / "tagged.mkv")
    assert read_source(tmp_path / "tagged.mkv").color_space == color_space


def test_other_formats_have_no_planes(tmp_path: Path, ffmpeg):
    """Catches 4:4:4 samples read as if they were 4:2:0, or left to another converter."""
    for pixels, dtype in (("yuv444p", np.uint8), ("yuv444p10le", "<u2")):
        path = tmp_path / f"{pixels}.mkv"
        source = f"testsrc2=size=62x46:rate=5:duration=0.4,format={pixels}"
        ffmpeg("-f", "lavfi", "-i", source, "-c:v", "ffv1", path)
        clip = read_source(path)
        assert clip.planes is None and clip.bits == 8 and tuple(clip.rgb.shape) == (2, 3, 46, 62)
        samples = (
            np.frombuffer(ffmpeg("-i", path, "-f", "rawvideo", "-"), dtype)
            .astype(np.dtype(dtype).type)
            .reshape(2, -1)
        )
        planes = [
            torch.from_numpy(plane.reshape(2, 46, 62).copy())
            for plane in np.split(samples, 3, axis=1)
        ]
        assert torch.equal(
            clip.rgb, planes_to_rgb(*planes, clip.color_space, 10 if "10" in pixels else 8)
        )


@pytest.mark.parametrize("name", ["clip_45x33_25_420_10bit.yuv", "clip.y4m", "clip.mkv"])
def test_10_bits_keep_their_own_planes(tmp_path: Path, ffmpeg, name: str):
    """Catches planes lost, so that anchors are fed and scored on planes made from RGB; cut bits,
    1020 and more as 0, padding.
    """
    samples = np.random.default_rng(0).integers(0, 1024, (2, 33 * 45 + 2 * 17 * 23), np.uint16)
    samples[:, :1024] = np.arange(1024)
    raw = tmp_path / "clip_45x33_25_420_10bit.yuv"
    raw.write_bytes(samples.astype("<u2").tobytes())
    if name != raw.name:
        stream = ["-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-s", "45x33", "-r", "25", "-i", raw]
        ffmpeg(
            *stream,
            *(["-strict", "-1"] if name.endswith("y4m") else ["-c:v", "ffv1"]),
            tmp_path / name,
        )
    clip = read_source(tmp_path / name)
    expected = np.minimum(np.floor(samples / 4 + 0.5), 255).astype(np.uint8)
    assert clip.bits == 10 and torch.equal(clip.rgb, planes_to_rgb(*clip.planes, clip.color_space))
    assert [tuple(plane.shape) for plane in clip.planes] == [(2, 33, 45), (2, 17, 23), (2, 17, 23)]
    assert np.array_equal(
        np.concatenate([plane.flatten(1).numpy() for plane in clip.planes], axis=1), expected
    )


def test_a_window_of_frames_is_a_cut_of_all(videos: Path, tmp_path: Path, ffmpeg):
    """Catches windows of formats that ffmpeg converts, and of padded lines, that are others than
    cut frames.
    """
    ffmpeg("-i", videos / "odd.mkv", "-pix_fmt", "yuv422p", "-c:v", "ffv1", tmp_path / "odd422.mkv")
    for path in (videos / "odd.mkv", tmp_path / "odd422.mkv"):
        with av.open(str(path)) as container:
            frames = list(container.decode(video=0))[:2]
        color_space = ColorSpace("bt601", False, "guessed")
        assert torch.equal(
            frames_to_rgb(frames, color_space, (5, 7, 20, 31)),
            frames_to_rgb(frames, color_space)[..., 5:25, 7:38],
        )


def test_raw_y4m_and_pictures_are_read_like_the_video(videos: Path, tmp_path: Path, ffmpeg):
    """Catches sources of other kinds that compression and evaluation cannot take, or read as other
    pixels.
    """
    video = read_source(videos / "h264.mp4", max_frames=6)
    raw, y4m, folder = (
        tmp_path / "h264_96x64_25.yuv",
        tmp_path / "h264.y4m",
        tmp_path / "pictures.1",
    )
    ffmpeg("-i", videos / "h264.mp4", "-frames:v", "6", "-f", "rawvideo", raw)
    ffmpeg("-i", videos / "h264.mp4", "-frames:v", "6", y4m)
    write_video(video.rgb, video.fps, f"{folder}/")
    for path in (raw, y4m):
        clip = read_source(path)
        assert all(map(torch.equal, clip.planes, video.planes)) and torch.equal(clip.rgb, video.rgb)
        assert (clip.fps, clip.frames, clip.width, clip.height) == (25, 6, 96, 64)
    pictures = read_source(folder, max_frames=3, start=2)
    assert (
        pictures.planes is None
        and torch.equal(pictures.rgb, video.rgb[2:5])
        and pictures.name == "pictures.1"
    )


def test_a_sequence_bounds_what_is_read(videos: Path):
    """Catches frames outside a listed sequence, and fewer than it says."""
    whole = read_source(videos / "hevc.mp4")
    assert torch.equal(
        read_source(Sequence(videos / "hevc.mp4", 10, 5), start=2).rgb, whole.rgb[12:15]
    )
    assert torch.equal(read_source(Sequence(videos / "hevc.mp4", 10, 5), 2).rgb, whole.rgb[10:12])
    for wrong, said in (
        (Sequence(videos / "hevc.mp4", 38, 5), "2 frames from frame 38"),
        (Sequence(videos / "hevc.mp4", 40), "start"),
    ):
        with pytest.raises(DataError, match=said):
            read_source(wrong)
