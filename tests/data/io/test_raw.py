"""Raw YUV and Y4M."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import DataError
from data.io.color import ColorSpace, planes_to_rgb
from data.io.raw import RawReader
from data.io.readers import open_reader
from data.io.yuv_names import YuvName, exact_rate, read_name
from data.sequences import PIXEL_FORMATS, RawFormat, Sequence

PICTURES = ["-f", "lavfi", "-i", "testsrc2=size=50x34:rate=25:duration=0.2"]  # 5 frames
GUESSED = ColorSpace("bt601", False, "guessed")


def raw_file(folder: Path, ffmpeg, pixels: str = "yuv420p", size: str = "50x34") -> Path:
    path = folder / f"clip_{size}_25_{pixels}.yuv"
    ffmpeg(
        *PICTURES,
        "-vf",
        f"crop={size.replace('x', ':')}:0:0:exact=1,format={pixels}",
        "-f",
        "rawvideo",
        path,
    )
    return path


@pytest.mark.parametrize("pixels", PIXEL_FORMATS)
def test_frames_are_those_of_a_video_of_the_same_samples(tmp_path: Path, ffmpeg, pixels: str):
    """Catches planes cut at the wrong byte, wrong byte order, and a frame off, in any order of
    frames.
    """
    path = raw_file(tmp_path, ffmpeg, pixels, "49x33")
    stream = ["-f", "rawvideo", "-pix_fmt", pixels, "-s", "49x33", "-r", "25", "-i", path]
    ffmpeg(*stream, "-c:v", "ffv1", tmp_path / "clip.mkv")
    ffmpeg(*stream, "-strict", "-1", tmp_path / "clip.y4m")
    expected = open_reader(Sequence(tmp_path / "clip.mkv")).read([4, 0, 2, 2])
    for source in (path, tmp_path / "clip.y4m"):
        reader = RawReader(Sequence(source))
        assert (reader.frames, reader.fps, reader.width, reader.height, reader.matrix) == (
            5,
            25.0,
            49,
            33,
            "bt601",
        )
        assert torch.equal(reader.read([4, 0, 2, 2]), expected)
        assert torch.equal(reader.read([4, 0, 2, 2], (3, 5, 20, 30)), expected[..., 3:23, 5:35])
        assert torch.equal(
            open_reader(Sequence(source, first=1, frames=3)).read([1]), expected[2:3]
        )
    planes = RawReader(Sequence(path)).planes(range(5))
    assert torch.equal(
        planes_to_rgb(*planes, GUESSED, 10 if "10" in pixels else 8)[[4, 0, 2, 2]], expected
    )


def test_a_sequence_states_format_and_rate_of_a_file_or_of_a_part(tmp_path: Path, ffmpeg):
    """Catches a name that wins over what is stated, and offsets into a shard that are not
    counted.
    """
    whole = raw_file(tmp_path, ffmpeg)
    form = RawFormat(50, 34, "yuv420p")
    named = tmp_path / "other_352x288_30.yuv"
    named.write_bytes(whole.read_bytes())
    shard = tmp_path / "shard.tar"
    shard.write_bytes(b"x" * 513 + whole.read_bytes() + b"y" * 99)
    expected = RawReader(Sequence(whole)).read([1, 3])
    for path, part in ((named, None), (shard, (513, whole.stat().st_size))):
        reader = RawReader(Sequence(path, fps=Fraction(50), raw=form, byte_range=part))
        assert (reader.frames, reader.rate) == (5, 50) and torch.equal(
            reader.read([1, 3]), expected
        )


@pytest.mark.parametrize(("name", "told"), [
    ("Beauty_1920x1080_120fps_420_8bit_YUV", YuvName(1920, 1080, Fraction(120), "yuv420p")),
    ("BasketballPass_416x240_50", YuvName(416, 240, Fraction(50), "yuv420p")),
    ("foo_352x288_30_yuv420p10le", YuvName(352, 288, Fraction(30), "yuv420p10le")),
    ("CityAlley_1920x1080_50fps_420_10bit_YUV", YuvName(1920, 1080, Fraction(50), "yuv420p10le")),
    ("DucksAndLegs_1920x1080_30_10bit_444", YuvName(1920, 1080, Fraction(30), "yuv444p10le")),
    ("vidyo3_1280x720p_59.94fps", YuvName(1280, 720, Fraction(60000, 1001), "yuv420p")),
    ("DrivingPOV_1280x720p30_420", YuvName(1280, 720, Fraction(30), "yuv420p")),
    ("Kimono_1920x1080_240", YuvName(1920, 1080, None, "yuv420p")),  # counts frames
    ("a_422_64x48_25", YuvName(64, 48, Fraction(25), "yuv422p")),
    ("a_64x48_25_yuv420p10le_8bit", YuvName(64, 48, Fraction(25), None)),
    ("take_50_final", YuvName(None, None, None, "yuv420p")),
])  # fmt: skip
def test_names_tell_the_format(name: str, told: YuvName):
    """Catches numbers taken for what they are not: frames for a rate, a take for a rate, 10 bits
    for 8.
    """
    assert read_name(name) == told


@pytest.mark.parametrize(("text", "rate"), [
    ("25", Fraction(25)),
    ("24", Fraction(24)),
    ("12.5", Fraction(25, 2)),
    ("23.976", Fraction(24000, 1001)),
    ("30000:1001", Fraction(30000, 1001)),
    (29.97002997002997, Fraction(30000, 1001)),
])  # fmt: skip
def test_rates_are_exact(text: str | float, rate: Fraction):
    """Catches 29.97 kept as a decimal, and 24 taken for 23.976."""
    assert exact_rate(text) == rate


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("clip.yuv", "size and frame rate; name it like .*manifest.*uvg:FOLDER"),
        ("clip_64x48.yuv", "says its frame rate;"),
        ("clip_64x48_25_422.yuv", "cannot read 64x48 yuv422p; pixel formats are yuv420p, "),
        ("clip_64x48_25_420_444.yuv", "64x48 of contradicting names"),
        (
            "clip_64x46_25.yuv",
            r"9216 bytes are 2\.09 frames of 64x46 yuv420p \(4416 bytes each\), not a whole number",
        ),
        ("clip_64x48_25_444p10.yuv", r"0\.50 frames of 64x48 yuv444p10le .* not a whole number"),
    ],
)
def test_unknown_or_wrong_formats_are_refused(tmp_path: Path, name: str, said: str):
    """Catches a guess where nothing is known, and frames that drift through the file for a wrong
    size.
    """
    path = tmp_path / name
    path.write_bytes(bytes(2 * 64 * 48 * 3 // 2))
    with pytest.raises(DataError, match=said):
        RawReader(Sequence(path))


def test_samples_beyond_10_bits_are_refused(tmp_path: Path):
    """Catches 16-bit or big-endian samples read as 10-bit ones."""
    path = tmp_path / "clip_16x10_25_420_10bit.yuv"
    np.full(240, 1024, "<u2").tofile(path)
    with pytest.raises(DataError, match="frame 0 holds a sample of 1024"):
        RawReader(Sequence(path)).read([0])


def test_a_file_that_shrinks_while_in_use_is_an_error(tmp_path: Path, ffmpeg):
    """Catches a process killed by a memory map of a file cut short, and frames of zeros."""
    path = raw_file(tmp_path, ffmpeg)
    reader = RawReader(Sequence(path))
    path.write_bytes(path.read_bytes()[:-1])
    assert reader.read([3]).any()
    with pytest.raises(DataError, match="ends within frame 4"):
        reader.read([4])
    with pytest.raises(DataError, match=r"holds 0\.\.4"):
        reader.read([5])


def y4m(words: str, frames: int = 2, marker: str = "FRAME\n", size: int = 24) -> bytes:
    return f"YUV4MPEG2 {words}\n".encode() + (marker.encode() + bytes(range(size))) * frames


def test_y4m_headers_are_heeded(tmp_path: Path):
    """Catches a default that is no default, ignored range and rate, and words in another order."""
    path = tmp_path / "clip.y4m"
    path.write_bytes(y4m("F30000:1001 H4 W4 Ip A1:1 XYSCSS=420 XCOLORRANGE=FULL"))
    reader = RawReader(Sequence(path))
    assert (reader.frames, reader.rate, reader.pixel_format, reader.color_space.full_range) == (
        2,
        Fraction(30000, 1001),
        "yuv420p",
        True,
    )
    path.write_bytes(y4m("W4 H4 F0:0 C420paldv"))
    assert RawReader(Sequence(path, fps=Fraction(30))).rate == 30


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (y4m("W4 H4 F25:1 C422"), "cannot read Y4M of W4 H4 F25:1 C422"),
        (y4m("W4 H4 F25:1 Cmono"), "C may be 420,"),
        (y4m("W4 F25:1"), "no good width, height or rate"),
        (y4m("W4 Hx F25:1"), "no good width, height or rate"),
        (y4m("W4 H4 F25:0"), "no good width, height or rate"),
        (y4m("W4 H4"), "no frame rate; state fps"),
        (y4m("W4 H4 F25:1", marker="FRAME Ip\n"), "do not start with FRAME alone"),
        (y4m("W4 H4 F25:1")[:-1], "not a whole number"),
        (y4m("W4 H4 F25:1", frames=0), "not a whole number"),
        (
            y4m("W4 H4 F25:1").replace(b"FRAME", b"frame").replace(b"frame", b"FRAME", 1),
            "frame 1 does not start with FRAME",
        ),
        (b"YUV4MPEG2 W4 H4 F25:1", "cannot read Y4M"),
        (b"RIFF" + bytes(100), "no Y4M file"),
        (b"", "empty"),
    ],
)
def test_bad_y4m_is_refused(tmp_path: Path, content: bytes, said: str):
    """Catches files read as what they are not, and frames found at wrong places."""
    path = tmp_path / "clip.y4m"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"clip.y4m: .*{said}"):
        RawReader(Sequence(path)).read([0, 1])
