"""Named test sets."""

import os
from fractions import Fraction
from pathlib import Path

import pytest

from data.errors import DataError
from data.io.yuv_names import read_name
from data.sequences import RawFormat
from data.sources import testsets
from data.sources.testsets import TESTSETS, find_testset


def hollow(path: Path, size: int) -> None:
    """A file of so many zeros that takes no space."""
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.truncate(path, size)


@pytest.fixture
def class_d(tmp_path: Path) -> Path:
    """HEVC class D by size, in several spellings, and files that are none of it."""
    frame = 416 * 240 * 3 // 2
    hollow(tmp_path / "BasketballPass_416x240_50.yuv", 500 * frame)
    hollow(tmp_path / "sub" / "blowingbubbles.yuv", 501 * frame)
    hollow(tmp_path / "BQSquare_416x240_60_420_8bit.yuv", 600 * frame)
    hollow(tmp_path / "RaceHorses_416x240_30.yuv", 300 * frame)
    for name in (
        "RaceHorses_832x480_30.yuv",
        "BQSquare_416x240_60_10bit.yuv",
        "BasketballPassed_416x240_50.yuv",
        "notes.txt",
    ):
        hollow(tmp_path / name, 1000)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "sequences", "frames"),
    [
        ("uvg", 7, 3900),
        ("mcl-jcv", 30, 4115),
        ("hevc-b", 5, 2080),
        ("hevc-c", 4, 1900),
        ("hevc-d", 4, 1900),
        ("hevc-e", 3, 1800),
    ],
)
def test_tables_add_up(name: str, sequences: int, frames: int):
    """Catches a slip in a table. The sums are of DCVC's test_cfg/all_yuv420.json."""
    table = TESTSETS[name]
    assert (len(table), sum(one.frames for one in table)) == (sequences, frames)
    for one in table:
        told = read_name(one.stem)
        assert (told.width, told.height, told.fps, told.pixel_format) == (
            one.width,
            one.height,
            one.fps,
            "yuv420p",
        )


def test_all_files_are_found_by_name_and_size(class_d: Path):
    """Catches files of another size, depth or name taken, and the frame too many used."""
    found = find_testset("hevc-d", class_d)
    assert [s.path.name.lower().split("_")[0].split(".")[0] for s in found] == [
        "basketballpass",
        "blowingbubbles",
        "bqsquare",
        "racehorses",
    ]
    assert [s.frames for s in found] == [500, 500, 600, 300]
    assert all(
        s.raw == RawFormat(416, 240, "yuv420p") and s.path.stat().st_size > 10_000 for s in found
    )
    assert found[2].fps == Fraction(60)


def test_everything_missing_or_wrong_is_listed_at_once(class_d: Path):
    """Catches an error that shows one fault a run, and a set evaluated in part."""
    (class_d / "BasketballPass_416x240_50.yuv").unlink()
    (class_d / "sub" / "blowingbubbles.yuv").unlink()
    os.truncate(class_d / "RaceHorses_416x240_30.yuv", 44_928_000 - 1)
    with pytest.raises(DataError) as caught:
        find_testset("hevc-d", class_d)
    head, *lines = str(caught.value).splitlines()
    assert "3 of the 4 sequences of hevc-d" in head
    assert lines[0] == "  missing BasketballPass_416x240_50.yuv (74880000 bytes)"
    assert lines[1].startswith("  missing BlowingBubbles_416x240_50.yuv")
    assert (
        "RaceHorses_416x240_30.yuv holds 44927999 bytes, 44928000 expected (300 frames of 416x240)"
        in lines[2]
    )


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".y4m", []), (".mp4", ["-c:v", "libx264"]), (".mkv", ["-c:v", "ffv1"])]
)
def test_other_containers_are_checked_by_what_they_hold(
    tmp_path: Path, ffmpeg, monkeypatch, suffix: str, codec: list[str]
):
    """Catches copies of another rate, size, length or pixel format, of which only names were
    compared.
    """
    monkeypatch.setitem(testsets.TESTSETS, "tiny", (testsets._row("Tiny", "32x16", 25, 5),))
    path = tmp_path / f"tiny_copy{suffix}"

    def make(
        size: str = "32x16", rate: str = "25", frames: int = 5, pixels: str = "yuv420p"
    ) -> None:
        source = [
            "-f",
            "lavfi",
            "-i",
            f"testsrc2=size={size}:rate={rate}",
            "-frames:v",
            str(frames),
        ]
        ffmpeg(*source, "-pix_fmt", pixels, *codec, path)

    make()
    (found,) = find_testset("tiny", tmp_path)
    assert (found.path, found.frames, found.raw) == (path, 5, None)
    make(rate="25000/1001")
    assert find_testset("tiny", tmp_path)
    for wrong, said in (
        ({"size": "34x16"}, "5 frames of 34x16 yuv420p at 25 fps, 5 of 32x16"),
        ({"rate": "24"}, "at 24 fps"),
        ({"frames": 4}, "holds 4 frames"),
        ({"pixels": "yuv444p"}, "32x16 yuv444p"),
    ):
        make(**wrong)
        with pytest.raises(DataError, match=f"wrong: .*tiny_copy{suffix} .*{said}"):
            find_testset("tiny", tmp_path)
    path.write_bytes(b"text")
    with pytest.raises(DataError, match=f"wrong: .*tiny_copy{suffix}"):
        find_testset("tiny", tmp_path)


def test_unknown_sets_and_folders_are_refused(tmp_path: Path):
    """Catches a bare KeyError, and a mistyped folder reported as files missing."""
    with pytest.raises(DataError, match="'hevc-a' is unknown; choose one of uvg, mcl-jcv"):
        find_testset("hevc-a", tmp_path)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        find_testset("uvg", tmp_path / "nowhere")
