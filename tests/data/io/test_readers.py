"""Frames by number equal a sequential decode."""

import logging
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from data.errors import DataError
from data.io.probe import probe
from data.io.readers import open_reader
from data.io.source_clip import read_source
from data.io.video import DecordReader, PyavReader, within
from data.sequences import Sequence, Timing

ALL = [
    "h264.mp4",
    "h264_open.mkv",
    "hevc.mp4",
    "hevc_open.mp4",
    "mpeg2.mpg",
    "edited.mp4",
    "odd.mkv",
    "b_frames.avi",
    "av1.mkv",
]
PICKS = [[0], [3, 4, 5], [23, 11, 12, 11], [30, 2], [39, 38, 12, 13, 24]]


def swscale_frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("name", ALL)
def test_pyav_frames_equal_a_sequential_decode(videos: Path, name: str):
    """Catches off-by-one after a seek, B-frame order, open GOPs, hidden frames of edit lists,
    repeated and reversed indices.
    """
    reader = open_reader(videos / name, "pyav")
    whole = read_source(videos / name).rgb
    assert isinstance(reader, PyavReader) and reader.frames == len(whole)
    for picks in PICKS:
        picks = [pick % reader.frames for pick in picks]
        assert torch.equal(reader.read(picks), whole[picks])


@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mp4"])
def test_decord_frames_equal_a_sequential_decode(videos: Path, name: str):
    """Catches decord's seek giving other frames than counted, and colours other than the recorded
    matrix.
    """
    reader = open_reader(videos / name, "decord")
    whole = swscale_frames(videos / name)
    assert isinstance(reader, DecordReader)
    assert (reader.frames, reader.width, reader.height, reader.fps, reader.matrix) == (
        40,
        96,
        64,
        25.0,
        "bt601",
    )
    for picks in PICKS:
        np.testing.assert_array_equal(reader.read(picks).permute(0, 2, 3, 1).numpy(), whole[picks])


@pytest.mark.parametrize(
    "name",
    [
        "h264_open.mkv",
        "hevc_open.mp4",
        "mpeg2.mpg",
        "edited.mp4",
        "b_frames.avi",
        "av1.mkv",
        "odd.mkv",
    ],
)
def test_files_that_decord_miscounts_are_read_with_pyav(
    videos: Path, name: str, caplog: pytest.LogCaptureFixture
):
    """Catches wrong frames in silence: decord is off after a seek in these, or in color, or cannot
    open them.
    """
    caplog.set_level(logging.INFO)
    assert isinstance(open_reader(videos / name, "decord"), PyavReader)
    assert name in caplog.text and "pyav" in caplog.text


def test_edit_list_hides_frames(videos: Path):
    """Catches counting packets that are never shown."""
    assert 0 < probe(videos / "edited.mp4").frames < 40


@pytest.mark.parametrize("reader", ["decord", "pyav"])
@pytest.mark.parametrize("indices", [[], [-1], [40], [0, 99]])
def test_indices_outside_the_file_are_refused(videos: Path, reader: str, indices: list[int]):
    """Catches decord's negative indexing and its endless wait behind the last frame."""
    with pytest.raises(DataError, match=r"h264\.mp4.*0\.\.39"):
        open_reader(videos / "h264.mp4", reader).read(indices)


def test_unknown_reader_is_refused(videos: Path):
    """Catches a typing error that would silently take the default."""
    with pytest.raises(DataError, match="decord, pyav"):
        open_reader(videos / "h264.mp4", "decrod")


def test_a_read_that_never_ends_is_given_up():
    """Catches a worker that hangs for ever in decord."""
    import threading

    with pytest.raises(DataError, match="clip: decord did not answer"):
        within(0.05, threading.Event().wait, "clip: decord")


def test_untagged_height_decides_the_matrix_of_pyav_but_not_of_decord(tmp_path: Path, ffmpeg):
    """Catches a recorded matrix that is not the one used: swscale takes BT.601 for everything
    untagged.
    """
    path = tmp_path / "tall.mp4"
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=64x720:rate=5:duration=0.4", "-pix_fmt", "yuv420p", path
    )
    assert (open_reader(path, "decord").matrix, open_reader(path, "pyav").matrix) == (
        "bt601",
        "bt709",
    )


@pytest.mark.parametrize("coded", ["h264", "hevc"])
@pytest.mark.parametrize("reader", ["decord", "pyav"])
def test_500_random_accesses_equal_a_sequential_decode(long_videos: Path, coded: str, reader: str):
    """Catches a frame beside the right one, from B-frames, references that were left out, or a
    window off by a pixel.
    """
    path = long_videos / f"{coded}.mp4"
    opened = open_reader(path, reader)
    exact = isinstance(opened, PyavReader)
    whole = (
        read_source(path).rgb
        if exact
        else torch.from_numpy(swscale_frames(path)).permute(0, 3, 1, 2)
    )
    rng = np.random.default_rng(1)
    for _ in range(500):
        count, step = int(rng.integers(1, 6)), int(rng.integers(1, 8))
        numbers = [int(rng.integers(len(whole) - 40)) + k * step for k in range(count)]
        top, left = int(rng.integers(0, 33)), int(rng.integers(0, 49))
        window = (top, left, int(rng.integers(1, 65 - top)), int(rng.integers(1, 97 - left)))
        expected = whole[numbers][..., top : top + window[2], left : left + window[3]]
        assert torch.equal(opened.read(numbers, window), expected), (numbers, window)
    assert exact == (reader == "pyav")
    assert isinstance(open_reader(path), PyavReader)


def test_a_sequence_counts_its_own_frames(videos: Path):
    """Catches frames of the neighbouring scene, and sequences that reach beyond their file."""
    whole = read_source(videos / "h264.mp4").rgb
    part = open_reader(Sequence(videos / "h264.mp4", 10, 20))
    assert part.frames == 20 and torch.equal(part.read([0, 19]), whole[[10, 29]])
    with pytest.raises(DataError, match=r"0\.\.19"):
        part.read([20])
    with pytest.raises(DataError, match=r"h264\.mp4: frames 30\.\.49 asked for, it holds 0\.\.39"):
        open_reader(Sequence(videos / "h264.mp4", 30, 20))


def test_a_part_of_a_file_is_read_as_a_file(tmp_path: Path, videos: Path):
    """Catches reading beyond a member of a shard, and frames of another member."""
    inside = (videos / "h264.mp4").read_bytes()
    shard = tmp_path / "shard.tar"
    shard.write_bytes(b"before" * 100 + inside + b"behind" * 100)
    part = open_reader(Sequence(shard, byte_range=(600, len(inside))))
    assert torch.equal(part.read([39, 3]), open_reader(videos / "h264.mp4").read([39, 3]))
    with pytest.raises(DataError, match=r"shard\.tar: .* bytes, .* when it was indexed"):
        open_reader(Sequence(shard, byte_range=(600, 10**6)))


def test_what_an_index_knows_is_read_without_a_probe(videos: Path, monkeypatch: pytest.MonkeyPatch):
    """Catches files that are scanned again at every opening, and frames off by the first time."""
    found = probe(videos / "h264.mp4")
    step = int(found.pts[1] - found.pts[0])
    keys = tuple(int(pts - found.pts[0]) // step for pts in found.key_pts)
    timing = Timing(
        int(found.pts[0]),
        step,
        keys,
        40,
        found.fps,
        96,
        64,
        "yuv420p",
        "bt601",
        False,
        "guessed",
        True,
        "h264",
    )
    size = (videos / "h264.mp4").stat().st_size
    expected = open_reader(videos / "h264.mp4").read([30, 7])
    monkeypatch.setattr("data.io.probe.probe", lambda *_: pytest.fail("probed"))
    assert torch.equal(
        open_reader(Sequence(videos / "h264.mp4", timing=timing, bytes=size)).read([30, 7]),
        expected,
    )
    with pytest.raises(DataError, match="when it was indexed; index again"):
        open_reader(Sequence(videos / "h264.mp4", timing=timing, bytes=size + 1))
