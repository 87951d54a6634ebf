"""Bad files: one clear error each, from every way of reading."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data.errors import DataError
from data.io.readers import open_reader
from data.io.source_clip import read_source

WRONG = {
    "missing.mp4": "no such file",
    "empty.mp4": "empty",
    "text.mp4": "no video",
    "truncated.mp4": "cut short, .* of 40",
    "header_only.mp4": "cut short|no picture",
    "truncated.mkv": "cut short",
    "no_index.mp4": "no video",
    "audio_only.mp4": "no video stream",
}
WAYS = {
    "decord": lambda path: open_reader(path, "decord"),
    "pyav": lambda path: open_reader(path, "pyav"),
    "source": read_source,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", WRONG)
def test_bad_file_gives_one_clear_error(bad_videos: Path, name: str, way: Callable[[Path], object]):
    """Catches crashes, hangs and half-read clips; the message names the file, what is wrong and
    what to do.
    """
    with pytest.raises(DataError, match=WRONG[name]) as error:
        way(bad_videos / name)
    assert name in str(error.value)
    assert any(remedy in str(error.value) for remedy in ("again", "check the path", "give a file"))


def test_damaged_frames_are_refused_in_evaluation(tmp_path: Path, videos: Path):
    """Catches frames that the decoder patched up being measured as if they were the source."""
    whole = bytearray((videos / "h264.mp4").read_bytes())
    middle = whole.index(b"mdat") + (len(whole) - whole.index(b"mdat")) // 2
    whole[middle : middle + 200] = bytes(200)
    (tmp_path / "damaged.mp4").write_bytes(whole)
    with pytest.raises(DataError, match=r"damaged\.mp4.*(damaged|decoded)"):
        read_source(tmp_path / "damaged.mp4")


def test_unknown_colour_matrix_is_refused(tmp_path: Path, ffmpeg):
    """Catches BT.2020 shown as BT.709."""
    path = tmp_path / "wide.mkv"
    source = "testsrc2=size=64x48:rate=5:duration=0.4,format=yuv420p,setparams=colorspace=bt2020nc"
    ffmpeg("-f", "lavfi", "-i", source, "-c:v", "libx264", path)
    with pytest.raises(DataError, match=r"wide\.mkv.*matrix 9.*convert"):
        read_source(path)
