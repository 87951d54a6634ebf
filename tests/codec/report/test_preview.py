"""The visual comparison: matched points, decoded again, coded visually lossless."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from report_results import CLIPS, FRAMES, FlatFrames, result
from small_codec import moving_clip

from codec.anchors import ffmpeg
from codec.anchors.planes import pad_to_even, rgb_to_planes, to_bytes
from codec.checkpoint import load_codec
from codec.errors import CodecError
from codec.evaluation import Point, RDResult
from codec.metrics import psnr
from codec.report import DecodedFrames, make_preview
from codec.report.preview import BASE64, fit_videos, matched_levels, rate_gap
from codec.report.vp9_preview import decode_vp9, encode_vp9
from codec.stream import compress, decompress
from data.io.color import ColorSpace
from data.sequences import Sequence


@pytest.mark.parametrize("size", [(48, 64), (37, 51)])
def test_packing_costs_less_than_can_be_seen(size: tuple[int, int]):
    """Catches chroma thrown away, a wrong matrix, odd sizes cropped, frames out of order, and a
    loss that is misstated.
    """
    frames = moving_clip(5, *size)
    video = encode_vp9(frames, 25)
    assert len(video.packets) == 5 and min(video.decibels) > 42
    np.testing.assert_allclose(psnr(frames, decode_vp9(video.packets)).numpy(), video.decibels)


def test_a_pack_can_be_cut_anywhere():
    """Catches packets that need a later one."""
    video = encode_vp9(moving_clip(5, 48, 64), 25)
    assert torch.equal(decode_vp9(video.truncated(3).packets), decode_vp9(video.packets)[:3])


def test_levels_are_nearly_equal_rates_in_the_viewing_tune():
    """Catches a pair that is far apart where a nearer one exists, and pictures tuned for PSNR."""
    levels = matched_levels(result(), CLIPS[0], ["ours", "x265"])
    assert [(level["ours"].quality, level["x265"].quality) for level in levels] == [
        (0, 0),
        (1, 1),
        (2, 2),
    ]
    for level in levels:
        assert (
            level["x265"].tune == "default"
            and 1 / 1.5 < level["ours"].bpp / level["x265"].bpp < 1.5
        )


def rates(codec: str, *bytes_: int) -> list[Point]:
    """Points of a codec at rates."""
    return [point("f", codec=codec, quality=size, bytes=size) for size in bytes_]


def test_levels_match_as_well_as_the_points_allow():
    """Catches levels that start from the first codec's points where another's match better, and a
    point shown twice.
    """
    made = RDResult(
        {}, rates("a", 100, 300, 900, 2700) + rates("b", 5, 205, 290, 910, 1700) + rates("c", 1, 2)
    )
    levels = matched_levels(made, "clip", ["a", "b"])
    assert [(level["a"].bytes, level["b"].bytes) for level in levels] == [
        (100, 205),
        (300, 290),
        (900, 910),
    ]
    assert rate_gap(levels[1]) == pytest.approx(300 / 290 - 1)
    assert [
        (level["a"].bytes, level["c"].bytes) for level in matched_levels(made, "clip", ["a", "c"])
    ] == [(100, 2)]
    assert (
        len(matched_levels(made, "clip", ["a"])) == 3
        and matched_levels(made, "clip", ["nobody"]) == []
    )


def test_pictures_share_the_room_and_say_what_is_missing():
    """Catches a page that grows beyond its limit, room of small clips left unused, and a failure
    that nobody is told of.
    """

    class Broken(FlatFrames):
        def source_of(self, clip: str, frames: int) -> torch.Tensor:
            raise CodecError("the source is gone")

    found = make_preview(result(), Broken(), ["ours", "x265"])
    assert found.missing == [
        "source:clip <0> & co and 1 more: the source is gone"
    ] and found.frames == (FRAMES, FRAMES)
    small, large = (
        {f"{name}{n}": encode_vp9(moving_clip(6, *size), 25) for n in "ab"}
        for name, size in (("s", (16, 16)), ("l", (96, 128)))
    )
    need = [
        sum(video.bytes for video in videos.values()) * BASE64 / 1e6 for videos in (large, small)
    ]
    cut = fit_videos([large, small], 0.8 * sum(need))
    assert list(cut) == ["la", "lb", "sa", "sb"]
    assert len(cut["sa"].packets) == 6 and 1 <= len(cut["la"].packets) < 6
    assert sum(video.bytes for video in cut.values()) * BASE64 / 1e6 <= 0.8 * sum(need)
    with pytest.raises(CodecError, match="fewer codecs or clips"):
        fit_videos([large, small], 0.001)


@pytest.fixture(scope="module")
def streams(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path
) -> tuple[Path, torch.Tensor]:
    """A clip as the file of a learned codec, of x265, and as lossless video."""
    folder = tmp_path_factory.mktemp("streams")
    frames = moving_clip(3, 48, 64)
    compress(load_codec(checkpoint), frames, Fraction(25), 32, folder / "a.cvd")
    planes = to_bytes(pad_to_even(rgb_to_planes(frames, ColorSpace("bt601", False, "guessed"))))
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "64x48", "-r", "25", "-i", "-"]
    ffmpeg.run(
        [*raw, "-c:v", "libx265", "-qp", "10", "-f", "hevc", str(folder / "a.hevc")], stdin=planes
    )
    ffmpeg.run([*raw, "-c:v", "ffv1", str(folder / "clip.mkv")], stdin=planes)
    return folder, frames


def point(file: str, **fields: object) -> Point:
    """Of the clip of `streams`."""
    size = {"frames": 3, "width": 64, "height": 48, "fps": 25.0, "bytes": 10}
    return replace(
        Point(
            "codec", "clip", 32, **size, metrics={}, encode_seconds=0, decode_seconds=0, file=file
        ),
        **fields,
    )


def test_files_decode_to_what_was_scored(streams: tuple[Path, torch.Tensor], checkpoint: Path):
    """Catches the colours of another matrix, frames that are not of this file, and a codec that is
    not the file's.
    """
    folder, frames = streams
    conditions = {"clips": {"clip": {"colour": "bt601 limited range, guessed", "size": "64x48"}}}
    decoded = DecodedFrames(
        RDResult(conditions, []), [folder], [checkpoint], [Sequence(folder / "clip.mkv")]
    )
    assert torch.equal(
        decoded.frames_of(point("a.cvd"), 2),
        decompress(folder / "a.cvd", load_codec(checkpoint)).frames[:2],
    )
    assert decoded.frames_of(point("a.hevc"), 3).shape == frames.shape
    assert psnr(decoded.source_of("clip", 3), decoded.frames_of(point("a.hevc"), 3)).min() > 38


def test_what_cannot_be_decoded_says_why(
    streams: tuple[Path, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches the frames of a changed file shown as those that were scored, and errors without a
    remedy.
    """
    monkeypatch.setenv("CORVID_HOME", str(tmp_path))  # no weights are kept here
    folder, _ = streams
    conditions = {"clips": {"clip": {"colour": "bt601 limited range, guessed", "size": "32x32"}}}
    decoded = DecodedFrames(RDResult(conditions, []), [folder], [], [folder / "clip.mkv"])
    for asked, said in (
        (point("b.hevc"), "is not there"),
        (point("a.hevc", sha256="0" * 64), "has changed"),
        (point("a.cvd"), "checkpoint"),
    ):
        with pytest.raises(CodecError, match=said):
            decoded.frames_of(asked, 3)
    with pytest.raises(CodecError, match="the source is 64x48, the result was made on 32x32"):
        decoded.source_of("clip", 3)
    with pytest.raises(CodecError, match="--clips"):
        decoded.source_of("other", 3)
