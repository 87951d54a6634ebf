"""What the fixtures' files hold, and short ways to scan one."""

from dataclasses import replace
from pathlib import Path

from data.index.options import ScanOptions
from data.index.scan import Scan, scan
from data.index.source_files import Source, find_sources
from data.index.store import StoredIndex

CUT = (30, 60, 90, 120)  # where `cut.mp4` changes: moving, zoom, black, cells, still
CELLS_AT, STILL_AT = 90, 120


def scanned(path: Path, **options: object) -> Scan:
    """The answer for one file."""
    return scan(source_of(path), replace(ScanOptions(), **options))


def source_of(path: Path) -> Source:
    """One file as a source."""
    (source,) = find_sources(path)[1]
    return source


def kept(stored: StoredIndex) -> list[tuple[str, int]]:
    """Path and first frame of every row."""
    return [
        (row["path"], row["first"]) for row in stored.rows.select(["path", "first"]).to_pylist()
    ]


def left_out(stored: StoredIndex) -> list[tuple[str, str]]:
    """Path and reason of all that was left out."""
    return [
        (row["path"], row["reason"])
        for row in stored.dropped.select(["path", "reason"]).to_pylist()
    ]
