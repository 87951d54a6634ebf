"""The files of an index: sequences, what was left out, and the journal of a run that is not
finished.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import DataError
from data.index.options import IndexOptions
from data.index.scan import Row, Scan
from data.index.schema import COLUMNS, VERSION
from data.index.source_files import Stamp
from data.index.table import check_index
from data.sources.manifest import INDEX_KEY

WORDS = [pa.field(name, pa.string()) for name in ("reason", "detail", "remedy")]
DROPPED = pa.schema([*(field.with_nullable(True) for field in COLUMNS), *WORDS])
BESIDE = ".dropped.parquet"  # the suffix of what was left out
GROUP = 65_536  # rows of a row group
AGAIN = "remove it and run the command again"
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class StoredIndex:
    """An index as it is on disk.

    Attributes:
        root: what its paths count from.
        options: what it was made with.
        part: (3, 64) of the third of 64; None of a whole one.
        where: what was indexed, as the user said it.
        rows: by `COLUMNS`.
        dropped: by `DROPPED`.
    """

    root: str
    options: IndexOptions
    part: tuple[int, int] | None
    where: str
    rows: pa.Table
    dropped: pa.Table


def dropped_path(index: Path) -> Path:
    """The file beside an index that holds what was left out."""
    return index.with_suffix(BESIDE)


def table_of(rows: Iterable[Row], schema: pa.Schema = COLUMNS) -> pa.Table:
    """Rows as a table; columns that they lack are null, others are left out."""
    return pa.Table.from_pylist(list(rows), schema=schema)


def write_index(path: Path, stored: StoredIndex, counts: dict[str, Any]) -> None:
    """Write both files, each whole or not at all."""
    metadata = {
        INDEX_KEY: str(VERSION),
        b"root": stored.root,
        b"where": stored.where,
        b"options": stored.options.text(),
    }
    metadata |= {b"part": json.dumps(stored.part), b"counts": json.dumps(counts)}
    write_table(dropped_path(path), stored.dropped.replace_schema_metadata(metadata))
    write_table(path, stored.rows.replace_schema_metadata(metadata))


def read_index(path: Path) -> StoredIndex:
    """Read both files.

    Raises:
        DataError: one is missing, damaged or not made by `corvid data index`.
    """
    tables = [_read(path), _read(dropped_path(path))]
    known = tables[0].schema.metadata
    try:
        part = json.loads(known[b"part"])
        root = known[b"root"].decode()
        where = known[b"where"].decode()
        options = IndexOptions.read(known[b"options"])
        whole = [
            table.select(schema.names).cast(schema)
            for table, schema in zip(tables, (COLUMNS, DROPPED), strict=True)
        ]
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"{path}: was not made by this version of corvid data index ({error}); {AGAIN}"
        ) from error
    return StoredIndex(root, options, None if part is None else tuple(part), where, *whole)


def write_table(path: Path, table: pa.Table) -> None:
    """Parquet under a temporary name first; DataError when the disk is full or not writable."""
    part = None
    try:
        handle, part = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
        os.close(handle)
        pq.write_table(table, part, compression="zstd", row_group_size=GROUP)
        os.chmod(part, 0o666 & ~_umask())
        os.replace(part, path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error}); free the disk, or give another name"
        ) from error
    finally:
        if part is not None:
            Path(part).unlink(missing_ok=True)


class Journal:
    """What has been scanned by a run that is not finished: a line a file, flushed, so that an
    interrupted run goes on.

    Args:
        path: the file; one that is there is continued if it was begun for the same thing, else
            begun anew.
        heading: what the run is for; any JSON.

    Attributes:
        done: by name of the source, what it holds so far.
    """

    def __init__(self, path: Path, heading: dict[str, Any]) -> None:
        self.path = path
        self.done: dict[str, Scan] = {}
        begun = self._read(heading) if path.is_file() else False
        try:
            self._file = path.open("a" if begun else "w", encoding="utf-8")
        except OSError as error:
            raise DataError(
                f"{path}: cannot be written ({error.strerror}); give another output"
            ) from error
        if not begun:
            self._write(heading)

    def add(self, scan: Scan) -> None:
        """Keep an answer."""
        self.done[scan.name] = scan
        self._write(asdict(scan))

    def close(self, remove: bool = False) -> None:
        """Close the file, and remove it when what it holds is in the index."""
        self._file.close()
        if remove:
            self.path.unlink()

    def _write(self, value: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(value) + "\n")
            self._file.flush()
        except OSError as error:
            raise DataError(
                f"{self.path}: cannot be written ({error.strerror}); free the disk and run again"
            ) from error

    def _read(self, heading: dict[str, Any]) -> bool:
        """Take up what is there; cut off a last line that was not finished."""
        good = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                try:
                    value = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    value = None
                if value is None:
                    break
                good += len(line)
                if number == 0 and value != heading:
                    log.warning("%s: an interrupted run with other options; begun anew", self.path)
                    return False
                if number:
                    stamp = None if value["stamp"] is None else Stamp(**value["stamp"])
                    scan = Scan(
                        value["name"], stamp=stamp, rows=value["rows"], dropped=value["dropped"]
                    )
                    self.done[scan.name] = scan
        os.truncate(self.path, good)
        return good > 0


def _read(path: Path) -> pa.Table:
    check_index(path)
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: damaged ({error}); {AGAIN}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
