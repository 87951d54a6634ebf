"""Shards: tar files in webdataset's format, each with a record of what it holds."""

from __future__ import annotations

import io
import json
import os
import tarfile
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from data.errors import DataError
from data.index.schema import COLUMNS, VERSION
from data.shards.member import Packed
from data.shards.plan import Row
from data.sources.manifest import INDEX_KEY

if TYPE_CHECKING:
    from webdataset import TarWriter

RECORDS = "records"
ABOUT = b"corvid.pack"
Rejection = tuple[str, int, int, str]  # source, first frame, frames, reason


@dataclass(frozen=True)
class Record:
    """A finished shard.

    Attributes:
        first, stop: which members of the plan it covers, packed or rejected.
        bytes: of the tar file; 0 where all were rejected and there is none.
        rejected: those that are not in it.
        digest: of the plan.
        source_bytes: of what was packed, its share of the source files.
        psnr: dB, the sum over members that were encoded, and their number and least.
    """

    first: int
    stop: int
    bytes: int
    rejected: list[Rejection]
    digest: str
    source_bytes: int = 0
    psnr: tuple[float, int, float] = (0.0, 0, 100.0)


class Shard:
    """A shard that is being written, under another name until `finish`.

    Args:
        folder: where shards go.
        name: without suffix.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.target = folder / f"{name}.tar"
        self.record_file = folder / RECORDS / f"{name}.parquet"
        self.bytes = 0
        self._part = folder / f".{name}.tar.part"
        self._packed: list[tuple[str, list[Row], str]] = []
        self._file: BinaryIO | None = None
        self._writer: TarWriter | None = None
        self.record_file.parent.mkdir(parents=True, exist_ok=True)

    def add(self, packed: Packed) -> None:
        """Append a member and its facts; OSError when the disk is full."""
        from webdataset import (
            TarWriter,
        )  # here: it loads much, and a process that only reads records needs none of it

        if self._writer is None:
            self._file = open(self._part, "wb")  # noqa: SIM115 (closed in finish and drop)
            self._writer = TarWriter(self._file, encoder=False, mtime=0)
        facts = json.dumps(packed.facts, ensure_ascii=False).encode()
        self._writer.write(
            {"__key__": packed.member.key, packed.suffix[1:]: packed.data, "json": facts}
        )
        self._packed.append(
            (packed.member.key + packed.suffix, packed.rows, xxhash.xxh3_128_hexdigest(packed.data))
        )
        self.bytes += len(packed.data)

    def finish(self, record: Record) -> None:
        """Close the shard, read every member again and compare it with what was checked, and write
        the record.

        Raises:
            DataError: the disk gave other bytes back.
        """
        rows = []
        if self._writer is not None and self._file is not None:
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            rows = self._rows()
            os.replace(self._part, self.target)
            changed = self.target.stat().st_mtime_ns
            rows = [row | {"mtime_ns": changed} for row in rows]
        size = self.target.stat().st_size if rows else 0
        about = json.dumps({**vars(record), "bytes": size})
        write_index(self.record_file, rows, {ABOUT: about.encode()})

    def drop(self) -> None:
        """Leave nothing of an unfinished shard."""
        if self._writer is not None and self._file is not None:
            with suppress(OSError, ValueError):
                self._writer.close()
            self._file.close()
        self._part.unlink(missing_ok=True)

    def _rows(self) -> list[Row]:
        with tarfile.open(self._part) as tar:
            found = {entry.name: (entry.offset_data, entry.size) for entry in tar}
        rows: list[Row] = []
        with open(self._part, "rb") as file:
            for name, of_member, content in self._packed:
                offset, length = found.get(name, (0, 0))
                if _content(file, offset, length) != content:
                    raise DataError(
                        f"{self._part}: member {name} reads back otherwise than it was written; "
                        "check the disk"
                    )
                rows += [
                    row | {"path": self.target.name, "offset": offset, "bytes": length}
                    for row in of_member
                ]
        return rows


def _content(file: io.BufferedReader, offset: int, length: int) -> str:
    file.seek(offset)
    return xxhash.xxh3_128_hexdigest(file.read(length))


def write_index(
    path: Path, rows: list[Row] | pa.Table, about: dict[bytes, bytes] | None = None
) -> None:
    """An index file whose paths count from its own folder; whole or not there."""
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=COLUMNS)
    part = unfinished(path)
    metadata = {INDEX_KEY: str(VERSION).encode(), b"root": b".", **(about or {})}
    pq.write_table(table.replace_schema_metadata(metadata), part, compression="zstd")
    os.replace(part, path)


def unfinished(path: Path) -> Path:
    """A name for a file that is being written, of this process alone: parts that end together merge
    at the same time.
    """
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")


def records(folder: Path) -> dict[Path, Record]:
    """All finished shards of a folder by the files of their records, in order of the plan.

    Raises:
        DataError: a record cannot be read.
    """
    found = {}
    for path in (folder / RECORDS).glob("shard-*.parquet"):
        try:
            about: dict[str, Any] = json.loads((pq.read_schema(path).metadata or {})[ABOUT])
        except (OSError, KeyError, pa.ArrowInvalid) as error:
            raise DataError(
                f"{path}: no record of a shard ({error}); remove it, its shard is packed again"
            ) from error
        found[path] = Record(**about)
    return dict(sorted(found.items(), key=lambda item: (item[1].first, item[1].stop)))


def is_whole(folder: Path, record_file: Path, record: Record) -> bool:
    """Whether a finished shard still holds what it should, by reading it all."""
    shard = folder / f"{record_file.stem}.tar"
    if not record.bytes:
        return True
    if not shard.is_file() or shard.stat().st_size != record.bytes:
        return False
    table = pq.read_table(record_file, columns=["offset", "bytes", "content"])
    with open(shard, "rb") as file:
        return all(
            _content(file, row["offset"], row["bytes"]) == row["content"]
            for row in table.to_pylist()
        )
