"""Whole indexes: what is kept, divided and merged."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from index_files import kept, left_out

from data.errors import DataError
from data.index import pool
from data.index.build import build_index, merge_parts, part_path
from data.index.exclude import hash_test_sets, matches
from data.index.options import IndexOptions, ScanOptions
from data.index.scan import Scan, scan
from data.index.source_files import Source
from data.index.store import dropped_path, read_index
from data.index.table import IndexedSequences

PLAIN = IndexOptions()


def test_index_of_a_collection(own: Path, tmp_path: Path):
    """Catches copies and re-encodes that stay, a kept one that depends on the order of answers, and
    rows that no reader opens.
    """
    stored = build_index(own, tmp_path / "index.parquet", PLAIN, workers=2)
    assert kept(stored) == [
        ("cut.mp4", 0),
        ("cut.mp4", 30),
        ("cut.mp4", 90),
        ("sub/zoom_copy.mp4", 0),
    ]
    assert left_out(stored) == [
        ("bad.mp4", "unreadable"),
        ("cut.mp4", "black"),
        ("cut.mp4", "near-static"),
        ("zoom.mp4", "duplicate"),
        ("zoom_small.mkv", "near duplicate"),
    ]
    details = dict(
        zip(stored.dropped["path"].to_pylist(), stored.dropped["detail"].to_pylist(), strict=True)
    )
    assert (
        details["zoom.mp4"] == "of sub/zoom_copy.mp4 from frame 0"
        and "bits of 64" in details["zoom_small.mkv"]
    )
    assert len(IndexedSequences(tmp_path / "index.parquet")) == 4
    assert read_index(tmp_path / "index.parquet").rows.equals(stored.rows)
    assert not (tmp_path / "index.journal").exists()


def test_other_options_scan_again_and_other_roots_are_refused(
    own: Path, tmp_path: Path, scans: list[str]
):
    """Catches sequences of two kinds in one index, and one collection's index overwritten by
    another's.
    """
    output = tmp_path / "index.parquet"
    build_index(own, output, PLAIN)
    scans.clear()
    loose = build_index(own, output, replace(PLAIN, duplicates=-1))
    assert (
        scans == [] and ("zoom_small.mkv", 0) in kept(loose) and ("zoom.mp4", 0) not in kept(loose)
    )
    build_index(own, output, replace(PLAIN, scan=ScanOptions(black=1.0)))
    assert len(scans) == 5
    with pytest.raises(DataError, match="is an index of .*videos; give another output"):
        build_index(own / "sub", output, PLAIN)


def test_parts_make_the_whole(own: Path, tmp_path: Path, scans: list[str]):
    """Catches duplicates that lie in two parts, parts that are missing or mixed, and options that
    differ.
    """
    whole = build_index(own, tmp_path / "whole.parquet", PLAIN)
    output = tmp_path / "index.parquet"
    parts = [part_path(output, (number, 3)) for number in (1, 2, 3)]
    assert parts[0].name == "index.part-01-of-03.parquet"
    for number, path in enumerate(parts, 1):
        build_index(own, path, PLAIN, (number, 3))
    merged = merge_parts(output, parts[::-1])
    assert merged.rows.equals(whole.rows) and merged.dropped.equals(whole.dropped)
    for given, said in (
        (parts[:2], "parts 3 are missing"),
        ([*parts, parts[0]], "parts 1 are given twice"),
        ([output], "whole"),
    ):
        with pytest.raises(DataError, match=said):
            merge_parts(output, given)
    build_index(own, parts[1], replace(PLAIN, duplicates=-1), (2, 3))
    with pytest.raises(DataError, match=r"part-02-of-03.*options.*same"):
        merge_parts(output, parts)
    dropped_path(parts[1]).unlink()
    with pytest.raises(DataError, match=r"part-02-of-03\.dropped\.parquet.*no such file"):
        merge_parts(output, parts)


def test_excluded_test_set_is_found_whatever_was_done_to_it(
    own: Path, tmp_path: Path, scans: list[str], ffmpeg: Callable[..., bytes]
):
    """Catches training on test pictures that were re-encoded, shrunk, cropped or mirrored, and
    others thrown away with them.
    """
    test = tmp_path / "test.mkv"
    shutil.move(own / "zoom.mp4", test)
    for name in ("zoom_small.mkv", "sub/zoom_copy.mp4"):
        (own / name).unlink()
    for name, graph in {
        "small": "scale=64:36",
        "cropped": "crop=iw*0.94:ih*0.94",
        "mirrored": "hflip",
    }.items():
        even = ",crop=trunc(iw/2)*2:trunc(ih/2)*2"
        ffmpeg(
            "-i",
            test,
            "-vf",
            graph + even,
            "-crf",
            "35",
            "-pix_fmt",
            "yuv420p",
            own / f"{name}.mp4",
        )
    stored = build_index(own, tmp_path / "index.parquet", replace(PLAIN, exclude=(str(test),)))
    gone = {path for path, reason in left_out(stored) if reason == "in a test set"}
    assert gone - {"cut.mp4"} == {"small.mp4", "cropped.mp4", "mirrored.mp4"}
    assert ("cut.mp4", 0) in kept(stored) and ("cut.mp4", 90) in kept(stored)
    with pytest.raises(DataError, match=r"--exclude .*nowhere.*check the path"):
        build_index(own, tmp_path / "index.parquet", replace(PLAIN, exclude=("nowhere",)))


def test_flat_pictures_match_no_test_set(
    tmp_path: Path, ffmpeg: Callable[..., bytes], own: Path, scans: list[str]
):
    """Catches every fade and title card thrown away because a test clip begins black."""
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "color=gray:size=64x48:rate=25",
        "-frames:v",
        "20",
        tmp_path / "grey.mkv",
    )
    tests = hash_test_sets([str(tmp_path / "grey.mkv")])
    stored = build_index(own, tmp_path / "index.parquet", PLAIN)
    assert len(tests.hashes) == 0 and not matches(stored.rows, tests, 8)[0].any()


def faulty_scan(source: Source, options: ScanOptions) -> Scan:
    """Crashes, hangs or runs out of memory with some files."""
    if source.name == "zoom.mp4":
        os._exit(11)
    if source.name == "cut.mp4":
        time.sleep(600)
    if source.name == "bad.mp4":
        raise MemoryError("no room")
    return scan(source, options)


def test_a_crash_or_a_hang_costs_one_file(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches a decoder's crash that ends a run of days, or a hang that never ends it."""
    monkeypatch.setattr(pool, "scan", faulty_scan)
    monkeypatch.setattr(pool, "SECONDS", 4.0)
    monkeypatch.setattr(pool, "SECONDS_PER_MB", 0.0)
    stored = build_index(own, tmp_path / "index.parquet", PLAIN, workers=2)
    details = dict(
        zip(stored.dropped["path"].to_pylist(), stored.dropped["detail"].to_pylist(), strict=True)
    )
    assert (
        "crashed (exit code 11)" in details["zoom.mp4"]
        and "did not finish in 4 s" in details["cut.mp4"]
    )
    assert "MemoryError: no room" in details["bad.mp4"] and kept(stored) == [
        ("sub/zoom_copy.mp4", 0)
    ]
    monkeypatch.setattr(pool, "scan", scan)
    again, whole = (
        build_index(own, tmp_path / name, PLAIN, workers=2)
        for name in ("index.parquet", "whole.parquet")
    )
    assert again.rows.equals(whole.rows) and left_out(again) == left_out(whole)


def test_nothing_left_is_an_index_all_the_same(own: Path, tmp_path: Path):
    """Catches a crash at the end of a run that rejected everything: the reasons would be lost."""
    for path in own.glob("*.m*"):
        if path.name != "bad.mp4":
            path.unlink()
    shutil.rmtree(own / "sub")
    stored = build_index(own, tmp_path / "index.parquet", PLAIN)
    assert len(stored.rows) == 0 and left_out(stored) == [("bad.mp4", "unreadable")]
    assert "bad.mp4" in (tmp_path / "index.report.html").read_text()


def test_options_survive_writing():
    """Catches an option that is lost between parts and merge."""
    options = IndexOptions(ScanOptions(9, 1.0, 0.5, 20.0, "CC0"), 2.0, ("uvg:/x",), 6)
    assert IndexOptions.read(options.text()) == options
    with pytest.raises(DataError, match="make the index again"):
        IndexOptions.read('{"other": 1}')
    with pytest.raises(DataError, match="min_frames=0"):
        ScanOptions(min_frames=0)
