"""Manifests."""

import logging
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from data.errors import DataError
from data.sequences import RawFormat, Sequence
from data.sources.manifest import Manifest

ROWS = """file,first,frames,fps,width,height,pixel_format,licence,bytes
a.mp4,,,,,,,CC0,7
b.yuv,8,16,29.97,416,240,,,7
"sub/c, d.yuv",,,50,64,48,yuv444p10le,,
pictures,2,3,24,,,,,
/far/e.mkv,0,,,1280,720,nv12,,
"""


def write(folder: Path, text: str, name: str = "list.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_rows_become_sequences(tmp_path: Path):
    """Catches columns exchanged, empty cells that say something, and paths from another folder."""
    found = Manifest(write(tmp_path, ROWS))
    assert (
        list(found)
        == [found[number] for number in range(len(found))]
        == [
            Sequence(tmp_path / "a.mp4", licence="CC0"),
            Sequence(
                tmp_path / "b.yuv", 8, 16, Fraction(30000, 1001), RawFormat(416, 240, "yuv420p")
            ),
            Sequence(
                tmp_path / "sub/c, d.yuv", 0, None, Fraction(50), RawFormat(64, 48, "yuv444p10le")
            ),
            Sequence(tmp_path / "pictures", 2, 3, Fraction(24)),
            Sequence(Path("/far/e.mkv"), 0),
        ]
    )
    assert Manifest(write(tmp_path, ROWS), root="/data")[0].path == Path("/data/a.mp4")


def test_parquet_is_read_alike(tmp_path: Path):
    """Catches numbers of Parquet read otherwise than the texts of CSV."""
    columns = {
        "path": ["a.mp4", "b.yuv"],
        "frames": [None, 16],
        "fps": [25.0, 29.97],
        "width": [1, 416],
        "height": [2, 240],
    }
    pa.parquet.write_table(pa.table(columns), tmp_path / "list.parquet")
    found = Manifest(tmp_path / "list.parquet")
    assert found[0] == Sequence(tmp_path / "a.mp4", fps=Fraction(25))
    assert found[1] == Sequence(
        tmp_path / "b.yuv", 0, 16, Fraction(30000, 1001), RawFormat(416, 240, "yuv420p")
    )


def test_other_columns_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Catches a mistyped column that changes nothing and says nothing."""
    caplog.set_level(logging.INFO)
    list(Manifest(write(tmp_path, "path,Frames,frame_count\na.mp4,5,\nb.mp4,6,\n")))
    assert [record.message.split(": ", 1)[1] for record in caplog.records] == [
        "columns not used: frame_count"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,frames\na.mp4,5\n", "no column path .or file. among name, frames"),
        ("path\n", "no row"),
        ("", "no manifest that can be read"),
        ("path,frames\na.mp4,5\nb.mp4,6,7\n", "no manifest that can be read .*columns"),
        ("path,file\na,b\n", "two columns mean the same among path, file"),
        ("path,frames\na.mp4,5\n ,6\n", "row 2, path=''; give"),
        ("path,frames\na.mp4,5\nb.mp4,ten\n", "row 2, frames='ten'; give a whole number from 1"),
        ("path,frames\na.mp4,0\n", "row 1, frames='0'"),
        ("path,first\na.mp4,-1\n", "row 1, first='-1'; give a whole number from 0"),
        ("path,first\na.mp4,1.5\n", "row 1, first='1.5'"),
        ("path,first\na.mp4,99999999999\n", "row 1, first='99999999999'"),
        ("path,fps\na.mp4,25\nb.mp4,25/0\n", "row 2, fps='25/0'; give frames per second"),
        ("path,fps\na.mp4,fast\n", "row 1, fps='fast'"),
        ("path,width\na.mp4,5\nb.YUV,5\n", "row 2, height=''; give width and height"),
        (
            "path,width,height,pixel_format\nb.yuv,4,4,nv12\n",
            "row 1, pixel_format='nv12'; choose one of yuv420p",
        ),
        (
            "path,pixel_format\nb.yuv,yuv444p\n",
            "row 1, pixel_format='yuv444p'; give width and height too",
        ),
    ],
)
def test_errors_name_file_row_and_column(tmp_path: Path, text: str, said: str):
    """Catches a message that does not lead to the cell."""
    with pytest.raises(DataError, match=f"list.csv: {said}"):
        Manifest(write(tmp_path, text))


def test_files_that_are_no_table_are_refused(tmp_path: Path):
    """Catches errors of pyarrow that name no remedy."""
    for name in ("text.parquet", "missing.parquet", "missing.csv"):
        if name.startswith("text"):
            write(tmp_path, "no Parquet", name)
        with pytest.raises(DataError, match=f"{name}: no manifest that can be read"):
            Manifest(tmp_path / name)
    (tmp_path / "latin.csv").write_bytes("path\nbl\xe4.mp4\n".encode("latin-1"))
    with pytest.raises(DataError, match="latin.csv: no manifest"):
        Manifest(tmp_path / "latin.csv")
