"""Indexes made again: what is kept, and what is scanned once more."""

import errno
import json
import os
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from index_files import kept, left_out

from data.errors import DataError
from data.index import build
from data.index.build import build_index
from data.index.options import IndexOptions, ScanOptions
from data.index.source_files import content_of

PLAIN = IndexOptions()
ZOOMS = ["sub/zoom_copy.mp4", "zoom.mp4", "zoom_small.mkv"]


def test_unchanged_files_are_not_scanned_again(
    own: Path, tmp_path: Path, scans: list[str], caplog: pytest.LogCaptureFixture
):
    """Catches rejected files forgotten, changes missed, what is gone kept, and copies that do not
    come back.
    """
    build_index(own, tmp_path / "index.parquet", PLAIN)
    assert sorted(scans) == ["bad.mp4", "cut.mp4", *ZOOMS]
    scans.clear()
    first = build_index(own, tmp_path / "index.parquet", PLAIN)
    assert scans == []
    (own / "sub" / "zoom_copy.mp4").unlink()
    os.utime(own / "cut.mp4", (1, 1))
    shutil.copy(own / "zoom_small.mkv", own / "new.mkv")
    again = build_index(own, tmp_path / "index.parquet", PLAIN)
    assert (
        sorted(scans) == ["cut.mp4", "new.mkv"] and "1 files of the index are gone" in caplog.text
    )
    assert kept(again) == [*kept(first)[:3], ("zoom.mp4", 0)]
    assert [path for path, reason in left_out(again) if "duplicate" in reason] == [
        "new.mkv",
        "zoom_small.mkv",
    ]


@pytest.mark.parametrize("part", [None, (1, 1)])
def test_an_interrupted_run_goes_on(
    part: tuple[int, int] | None,
    own: Path,
    tmp_path: Path,
    scans: list[str],
    monkeypatch: pytest.MonkeyPatch,
):
    """Catches work that is lost with the process, of a part too, and a torn last line that ends or
    poisons the next run.
    """
    output, journal = tmp_path / "index.parquet", tmp_path / "index.journal"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            build_index(own, output, PLAIN, part)
    lines = journal.read_text().splitlines(keepends=True)
    assert len(lines) == 6 and not output.exists()
    journal.write_text("".join(lines[:4]) + lines[4][:50])
    done = [json.loads(line)["name"] for line in lines[1:4]]
    scans.clear()
    resumed = build_index(own, output, PLAIN, part)
    assert sorted([*scans, *done]) == ["bad.mp4", "cut.mp4", *ZOOMS] and not journal.exists()
    assert resumed.rows.equals(build_index(own, tmp_path / "other.parquet", PLAIN).rows)
    journal.write_text("".join(lines[:3]))
    scans.clear()
    os.rename(output, tmp_path / "old.parquet")
    build_index(own, output, replace(PLAIN, scan=ScanOptions(min_frames=9)), part)
    assert len(scans) == 5  # the journal was of other options


@pytest.mark.parametrize("cause", [OSError(errno.EIO, "Input/output error"), MemoryError(), None])
@pytest.mark.parametrize("interrupted", [False, True])
def test_what_may_pass_is_scanned_again(
    own: Path,
    tmp_path: Path,
    scans: list[str],
    monkeypatch: pytest.MonkeyPatch,
    cause: Exception | None,
    interrupted: bool,
):
    """Catches files left out for ever for an hour's trouble of the storage, and files at fault
    decoded in every run.
    """
    output = tmp_path / "index.parquet"

    def fail(path: Path) -> None:
        if path.name == "zoom.mp4":
            raise DataError(f"{path}: does not do; check the disk") from cause

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("data.index.scan.check_clusters", fail)
        if interrupted:
            patch.setattr(build, "finish", stop)
        with pytest.raises(KeyboardInterrupt) if interrupted else nullcontext():
            build_index(own, output, PLAIN)
    scans.clear()
    again = build_index(own, output, PLAIN)
    assert scans == ([] if cause is None else ["zoom.mp4"])
    assert ("zoom.mp4", "unreadable" if cause is None else "duplicate") in left_out(again)


def test_trouble_of_the_storage_that_ffmpeg_hides_may_pass(
    own: Path, tmp_path: Path, scans: list[str], monkeypatch: pytest.MonkeyPatch
):
    """Catches a file that cannot be read to its end taken for one that was cut short."""

    def fail(path: Path) -> str:
        if path.name == "bad.mp4":
            raise DataError(f"{path}: cannot be read; check the disk")
        return content_of(path)

    with monkeypatch.context() as patch:
        patch.setattr("data.index.scan.content_of", fail)
        build_index(own, tmp_path / "index.parquet", PLAIN)
    for expected in (["bad.mp4"], []):
        scans.clear()
        build_index(own, tmp_path / "index.parquet", PLAIN)
        assert scans == expected


def test_a_file_that_cannot_be_looked_at_is_rejected(own: Path, tmp_path: Path, scans: list[str]):
    """Catches a dangling link that vanishes without a word, at first, when it is new, or for ever
    when its target is back.
    """
    output = tmp_path / "index.parquet"
    (own / "first.mp4").symlink_to(tmp_path / "gone.mp4")
    build_index(own, output, PLAIN)
    (own / "new.mp4").symlink_to(tmp_path / "gone.mp4")
    stored = build_index(own, output, PLAIN)
    details = dict(
        zip(stored.dropped["path"].to_pylist(), stored.dropped["detail"].to_pylist(), strict=True)
    )
    for name in ("first.mp4", "new.mp4"):
        assert (name, "unreadable") in left_out(stored) and "No such file" in details[name]
    shutil.copy(own / "cut.mp4", tmp_path / "gone.mp4")
    assert ("new.mp4", "unreadable") not in left_out(build_index(own, output, PLAIN))
