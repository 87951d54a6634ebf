"""An index as workers read it."""

import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.errors import CorvidError
from data.errors import DataError
from data.index import table
from data.index.schema import COLUMNS, VERSION
from data.index.table import INDEX_KEY, IndexedSequences

METADATA = {INDEX_KEY: str(VERSION).encode(), b"root": b"videos"}


def row(number: int, **other: object) -> dict[str, object]:
    """A sequence; three in a file."""
    words = {
        "kind": "video",
        "codec": "h264",
        "pixel_format": "yuv420p",
        "matrix": "bt709",
        "colour_origin": "tagged",
    }
    numbers = {
        "frames": 10,
        "width": 64,
        "height": 48,
        "fps_num": 25,
        "fps_den": 1,
        "file_frames": 30,
        "pts_step": 512,
    }
    rest = {
        "full_range": False,
        "plain": True,
        "pts_first": 0,
        "key_frames": [0, 12],
        "bytes": 7,
        "mtime_ns": 1,
        "hashes": [],
    }
    own = {
        "path": f"{number // 3}.mp4",
        "first": number % 3 * 10,
        "content": "",
        "motion": 1.0,
        "luma": 1.0,
    }
    return words | numbers | rest | own | {"licence": f"licence {number % 5}"} | other


def write(
    path: Path,
    rows: list[dict[str, object]],
    metadata: dict[bytes, bytes] = METADATA,
    group: int = 1000,
) -> Path:
    pq.write_table(
        pa.Table.from_pylist(rows, schema=COLUMNS.with_metadata(metadata)),
        path,
        row_group_size=group,
    )
    return path


@pytest.fixture(autouse=True)
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of its own for what a node keeps."""
    (tmp_path / "node").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "node"))
    return tmp_path / "node"


def test_rows_are_those_that_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Catches rows of another batch, words of another row, and dictionaries that differ between row
    groups.
    """
    monkeypatch.setattr(table, "PORTION", 16)
    rows = [row(number, licence=f"licence {number // 10}") for number in range(50)]
    index = IndexedSequences(write(tmp_path / "index.parquet", rows, group=10))
    assert len(index) == 50 and index.shards == []
    for number in (0, 15, 16, 33, 49):
        found = index[number]
        assert (found.first, found.licence) == (number % 3 * 10, f"licence {number // 10}")
        assert (
            found.path == tmp_path / "videos" / f"{number // 3}.mp4"
            and found.timing.key_frames == (0, 12)
        )
    assert [sequence.path.name for sequence in index] == [
        f"{number // 3}.mp4" for number in range(50)
    ]
    name_hashes = index.name_hashes.tolist()
    assert all(
        (name_hashes[i] == name_hashes[j]) == (i // 3 == j // 3)
        for i in range(50)
        for j in range(50)
    )
    with pytest.raises(IndexError):
        index[50]


def test_what_is_no_video_of_constant_rate_has_no_timing(tmp_path: Path):
    """Catches times made up for a variable frame rate, and raw files without their format."""
    rows = [
        row(0, pts_step=0),
        row(3, kind="raw", path="x.yuv"),
        row(6, path="s.tar", offset=100, source="a.mp4"),
    ]
    vfr, raw, packed = IndexedSequences(write(tmp_path / "index.parquet", rows))
    assert vfr.timing is None and (raw.raw.width, raw.raw.pixel_format) == (64, "yuv420p")
    assert packed.byte_range == (100, 7)


def test_a_worker_gets_the_name_only(tmp_path: Path, node: Path):
    """Catches millions of rows copied into every worker, and a layout made by every process."""
    index = IndexedSequences(
        write(tmp_path / "index.parquet", [row(number) for number in range(1000)])
    )
    assert len(pickle.dumps(index)) < 1000
    (laid_out,) = (path for path in node.rglob("*") if path.is_file())
    stamp = laid_out.stat().st_mtime_ns
    assert pickle.loads(pickle.dumps(index))[999] == index[999]
    assert IndexedSequences(tmp_path / "index.parquet")[999] == index[999]
    assert [path.stat().st_mtime_ns for path in node.rglob("*") if path.is_file()] == [stamp]


def test_a_new_index_of_the_same_name_is_read_anew(tmp_path: Path):
    """Catches a worker that trains on yesterday's index."""
    path = write(tmp_path / "index.parquet", [row(0)])
    assert len(IndexedSequences(path)) == 1
    assert len(IndexedSequences(write(path, [row(number) for number in range(4)]))) == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"PAR1 no", "damaged"),
        ("plain", "no index"),
        ("version", "version 99"),
        ("none", "no sequences"),
        ("column", "column path is missing"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes | str | None, said: str):
    """Catches an error from inside a library, or from inside a worker, for a wrong file."""
    path = tmp_path / "index.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "column":
        pq.write_table(pa.table({"x": [1]}).replace_schema_metadata(METADATA), path)
    elif content is not None:
        metadata = {"plain": {}, "version": METADATA | {INDEX_KEY: b"99"}, "none": METADATA}[
            content
        ]
        write(path, [] if content == "none" else [row(0)], metadata)
    with pytest.raises(DataError, match=f"index.parquet.*{said}.*corvid data index"):
        IndexedSequences(path)


def test_numbers_of_a_column(tmp_path: Path):
    """Catches columns out of order."""
    index = IndexedSequences(
        write(tmp_path / "index.parquet", [row(number) for number in range(7)])
    )
    np.testing.assert_array_equal(index.column("first"), [0, 10, 20, 0, 10, 20, 0])


def test_a_folder_of_another_user_is_not_read(
    tmp_path: Path,
    node: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Catches rows that somebody else laid out in the folder whose name all know: paths of his
    choice would be read.
    """
    index = write(tmp_path / "index.parquet", [row(0)])
    assert len(IndexedSequences(index)) == 1
    (folder,) = node.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(
        CorvidError, match=f"{folder.name}: belongs to user {me} .*remove it, or choose another"
    ):
        IndexedSequences(index)
