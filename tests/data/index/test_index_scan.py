"""What one file gives."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from index_files import CELLS_AT, CUT, STILL_AT, scanned, source_of

from data.errors import DataError
from data.index.options import IndexOptions, ScanOptions
from data.index.scan import Scan, scan
from data.index.small_frames import check_clusters
from data.index.source_files import find_sources, in_part
from data.index.store import DROPPED, StoredIndex, table_of, write_index
from data.index.table import IndexedSequences
from data.io.readers import open_reader
from data.io.source_clip import read_source


def reasons(found: Scan) -> list[tuple[int, int, str]]:
    return [(row["first"], row["frames"], row["reason"]) for row in found.dropped]


def test_sequences_end_at_cuts_without_black_and_still(collection: Path):
    """Catches frames counted wrongly between decoder, detector and rows."""
    found = scanned(collection / "cut.mp4")
    assert [(row["first"], row["frames"]) for row in found.rows] == [
        (0, 30),
        (30, 30),
        (CELLS_AT, 30),
    ]
    assert reasons(found) == [(CUT[1], 30, "black"), (STILL_AT, 30, "near-static")]
    assert all("lower --" in row["remedy"] and row["detail"] for row in found.dropped)
    assert all(
        row["motion"] > 0.3 and row["luma"] > 20 and len(row["hashes"]) == 8 for row in found.rows
    )


@pytest.mark.parametrize(
    "name", ["h264.mp4", "h264_open.mkv", "hevc.mp4", "hevc_open.mp4", "mpeg2.mpg", "edited.mp4"]
)
def test_rows_read_the_frames_that_were_decoded(videos: Path, tmp_path: Path, name: str):
    """Catches wrong times, keyframes or numbers in a row: training would get other frames, or
    none.
    """
    found = scanned(videos / name, static=0.0, black=0.0)
    stored = StoredIndex(
        str(videos), IndexOptions(), None, "here", table_of(found.rows), table_of([], DROPPED)
    )
    write_index(tmp_path / "index.parquet", stored, {})
    whole = read_source(videos / name).rgb
    sequences = IndexedSequences(tmp_path / "index.parquet")
    assert len(sequences) == 1 and sequences[0].frames == len(whole)
    assert sequences[0].timing is not None
    picks = [len(whole) - 1, 0, len(whole) // 2]
    assert torch.equal(open_reader(sequences[0], "pyav").read(picks), whole[picks])


@pytest.mark.parametrize(
    "name",
    ["missing.mp4", "empty.mp4", "text.mp4", "truncated.mp4", "truncated.mkv", "audio_only.mp4"],
)
def test_bad_files_are_rejected_with_reason_and_remedy(bad_videos: Path, name: str):
    """Catches a bad file that ends the run, or goes without a word."""
    source = source_of(bad_videos / "text.mp4")
    found = scan(type(source)(name, type(source.sequence)(bad_videos / name)), ScanOptions())
    (row,) = found.dropped
    assert not found.rows and (row["reason"], row["frames"], row["path"]) == ("unreadable", 0, name)
    assert row["detail"] and row["remedy"] and name not in row["detail"]


@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mp4"])
def test_flipped_bytes_are_noticed(tmp_path: Path, ffmpeg: Callable[..., bytes], name: str):
    """Catches pictures that a decoder made up from damaged bits; HEVC's decoder does not say so
    itself.
    """
    codec = (
        ["-c:v", "libx264"]
        if name == "h264.mp4"
        else ["-c:v", "libx265", "-x265-params", "log-level=error"]
    )
    noisy = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=256x256:rate=25,noise=alls=30:allf=t",
        "-frames:v",
        "20",
    ]
    ffmpeg(*noisy, *codec, "-preset", "ultrafast", "-pix_fmt", "yuv420p", tmp_path / name)
    assert scanned(tmp_path / name).rows
    whole = np.fromfile(tmp_path / name, np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(3):
        flipped, first = whole.copy(), int(rng.integers(len(whole) // 4, len(whole) // 2))
        flipped[first : first + 300] ^= rng.integers(1, 256, 300).astype(np.uint8)
        flipped.tofile(tmp_path / f"flipped_{name}")
        assert not scanned(tmp_path / f"flipped_{name}").rows


def test_a_flipped_bit_is_noticed_by_the_checksum_of_matroska(tmp_path: Path, videos: Path):
    """Catches checksums that are there and not looked at, and ones that are reckoned wrongly."""
    check_clusters(videos / "h264_open.mkv")
    check_clusters(videos / "h264.mp4")
    whole = bytearray((videos / "h264_open.mkv").read_bytes())
    whole[len(whole) // 2] ^= 1
    (tmp_path / "flipped.mkv").write_bytes(whole)
    with pytest.raises(DataError, match=r"flipped\.mkv.*checksum.*again"):
        check_clusters(tmp_path / "flipped.mkv")


def test_raw_video_and_pictures(tmp_path: Path, ffmpeg: Callable[..., bytes]):
    """Catches kinds that only video files have columns for."""
    source = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=64x48:rate=25,noise=alls=20:allf=t",
        "-frames:v",
        "20",
    ]
    (tmp_path / "pictures").mkdir()
    ffmpeg(*source, tmp_path / "pictures" / "%03d.png")
    ffmpeg(*source, "-pix_fmt", "yuv420p", tmp_path / "a.y4m")
    ffmpeg(*source, "-pix_fmt", "yuv420p", tmp_path / "b_64x48_25fps.yuv")
    rows = [scan(one, ScanOptions()).rows[0] for one in find_sources(tmp_path)[1]]
    rows.sort(key=lambda row: row["path"])
    assert [(row["path"], row["kind"], row["pixel_format"]) for row in rows] == [
        ("a.y4m", "raw", "yuv420p"),
        ("b_64x48_25fps.yuv", "raw", "yuv420p"),
        ("pictures", "images", "rgb24"),
    ]
    assert {(row["frames"], row["width"], row["height"], row["fps_num"]) for row in rows} == {
        (20, 64, 48, 25)
    }
    stored = StoredIndex(
        str(tmp_path), IndexOptions(), None, "here", table_of(rows), table_of([], DROPPED)
    )
    write_index(tmp_path / "index.parquet", stored, {})
    assert [
        open_reader(one).read([19]).shape for one in IndexedSequences(tmp_path / "index.parquet")
    ] == [(1, 3, 48, 64)] * 3


def test_variable_rate_is_kept_and_marked(tmp_path: Path, ffmpeg: Callable[..., bytes]):
    """Catches times reckoned from a rate that does not hold."""
    uneven = ["-vf", "select='not(mod(n\\,3))+not(mod(n\\,7))'", "-fps_mode", "vfr"]
    pictures = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=2"]
    ffmpeg(*pictures, *uneven, "-pix_fmt", "yuv420p", tmp_path / "uneven.mp4")
    (row,) = scanned(tmp_path / "uneven.mp4").rows
    assert (row["pts_step"], row["frames"], row["key_frames"]) == (0, 22, [])


def test_spans_of_a_manifest(collection: Path, tmp_path: Path):
    """Catches frames taken that the manifest does not list, and a licence that gets lost."""
    listing = collection.parent / "list.csv"
    listing.write_text(
        "path,first,frames,licence\nvideos/cut.mp4,5,20,CC0\nvideos/cut.mp4,20,40,CC0\n"
    )
    root, (source,) = find_sources(listing)
    found = scan(source, ScanOptions(licence="other"))
    assert root == collection.parent and source.name == "videos/cut.mp4"
    assert [(row["first"], row["frames"], row["licence"]) for row in found.rows] == [
        (5, 20, "CC0"),
        (30, 30, "CC0"),
    ]
    assert reasons(found) == [(20, 10, "short")]
    listing.write_text("path,first,frames\nvideos/cut.mp4,100,90\n")
    (row,) = scan(find_sources(listing)[1][0], ScanOptions()).dropped
    assert "100..189" in row["detail"] and row["remedy"] == "correct the manifest"
    listing.write_text(
        "path,first,frames,licence\nvideos/cut.mp4,0,20,CC0\nvideos/cut.mp4,20,20,BSD\n"
    )
    with pytest.raises(DataError, match=r"cut\.mp4 differ.*same"):
        find_sources(listing)


def test_names_that_are_no_text_are_rejected(tmp_path: Path, videos: Path):
    """Catches a name that Parquet cannot hold ending a run of days."""
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.mp4")
    with open(path, "wb") as file:
        file.write((videos / "h264.mp4").read_bytes())
    (source,) = find_sources(tmp_path)[1]
    (row,) = scan(source, ScanOptions()).dropped
    assert row["path"] == "caf\\xe9.mp4" and row["remedy"] == "rename it"
    table_of([row], DROPPED)


def test_parts_are_disjoint_whole_and_stable():
    """Catches files in two parts or in none, and a division that other files change."""
    names = [f"a/{number}.mp4" for number in range(1000)]
    parts = [[name for name in names if in_part(name, (number, 8))] for number in range(1, 9)]
    assert (
        sorted(sum(parts, [])) == sorted(names)
        and 90 < min(map(len, parts)) < max(map(len, parts)) < 160
    )
    assert (
        in_part("a/0.mp4", (1, 1))
        and [in_part("a/0.mp4", (number, 4)) for number in range(1, 5)].count(True) == 1
    )
