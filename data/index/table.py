"""IndexedSequences: millions of rows of an index that a worker opens in no time and does not hold
in memory.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from common.files import make_private
from data.errors import DataError
from data.index.schema import COLUMNS, READ_IN_TRAINING, VERSION
from data.sequences import RawFormat, Sequence, Timing
from data.sources.manifest import INDEX_KEY

PORTION = 65_536  # rows a record batch
REMEDY = "make it with: corvid data index ROOT -o FILE"


class IndexedSequences:
    """The sequences of an index file.

    Parquet cannot be read row by row, so its columns are laid out once on each node as an Arrow
    file under the temporary folder (`TMPDIR`; never beside the index, which may be on a shared
    disk) and mapped into memory: processes share the pages, and only those that are looked at are
    there. Pickling carries the name only.

    Args:
        path: what `corvid data index` or `corvid data pack` wrote.

    Raises:
        DataError: the file is missing, no index, of another version, or empty.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        metadata = check_index(self.path)
        self.root = Path(metadata[b"root"].decode())
        if not self.root.is_absolute():
            self.root = self.path.parent / self.root
        self.moved: dict[str, Path] = {}  # where shards are, if not where the index says
        self._arrow = _laid_out(self.path)
        self._open()

    def _open(self) -> None:
        reader = pa.ipc.open_file(pa.memory_map(str(self._arrow)))
        self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self._length = sum(len(batch) for batch in self._batches)
        if not self._length:
            raise DataError(f"{self.path}: an index of no sequences; {REMEDY}")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_batches"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._arrow = _laid_out(self.path)  # again, should someone have cleaned up
        self._open()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Sequence]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Sequence:
        """Sequence `number`; IndexError outside."""
        if not 0 <= number < self._length:
            raise IndexError(f"sequence {number}: {self.path} has {self._length}")
        batch = self._batches[number // PORTION]
        row = {
            name: batch.column(i)[number % PORTION].as_py()
            for i, name in enumerate(batch.schema.names)
        }
        path = self.root / row["path"]
        return _sequence(row, self.moved.get(str(path), path))

    @property
    def name_hashes(self) -> np.ndarray:
        """uint32 `(len,)`: a number that depends on the name of the file that a sequence comes
        from, packed or not.
        """
        return self.column("lot")

    @property
    def shards(self) -> list[Path]:
        """The shards that the sequences lie in, in the order of the index; none for files of their
        own.
        """
        column = self._batches[0].schema.get_field_index("path")
        packed = self._batches[0].schema.get_field_index("offset")
        names: dict[str, None] = {}
        for batch in self._batches:
            if not batch.column(packed).null_count:
                names.update(dict.fromkeys(pa.compute.unique(batch.column(column)).to_pylist()))
        return [self.root / name for name in names]

    def column(self, name: str) -> np.ndarray:
        """A whole column of numbers, `(len,)`."""
        return np.concatenate(
            [
                batch.column(batch.schema.get_field_index(name)).to_numpy(False)
                for batch in self._batches
            ]
        )


def check_index(path: Path) -> dict[bytes, bytes]:
    """The metadata of an index; DataError when the file is missing, no index, damaged or of another
    version.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; {REMEDY}")
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: no Parquet file, or damaged ({error}); {REMEDY}") from error
    metadata = schema.metadata or {}
    if INDEX_KEY not in metadata or b"root" not in metadata:
        raise DataError(f"{path}: a Parquet file, but no index; {REMEDY}")
    if metadata[INDEX_KEY] != str(VERSION).encode():
        raise DataError(
            f"{path}: index version {metadata[INDEX_KEY].decode()}, this program reads {VERSION}; "
            f"{REMEDY}"
        )
    if missing := [name for name in COLUMNS.names if name not in schema.names]:
        raise DataError(f"{path}: column {missing[0]} is missing; {REMEDY}")
    return metadata


def _laid_out(path: Path) -> Path:
    """The Arrow file of an index on this node, written at first need; whole or not there."""
    stat = path.stat()
    known = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {VERSION}"
    folder = Path(tempfile.gettempdir()) / f"corvid-{os.getuid()}"
    target = folder / f"index-{hashlib.sha256(known.encode()).hexdigest()[:16]}.arrow"
    part = folder / f"{target.stem}-{os.getpid()}.part"
    try:
        make_private(folder)  # its name is known: another user may have made it first
        if target.is_file():
            return target
        _lay_out(path, part)
        os.replace(part, target)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot hold the index of {path} ({error}); free it, or set TMPDIR"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        pa.default_memory_pool().release_unused()
    return target


def _lay_out(path: Path, target: Path) -> None:
    """Rows in batches of `PORTION`, with hashes of their files' names."""
    words = [
        name
        for name in READ_IN_TRAINING
        if COLUMNS.field(name).type == pa.string() and name not in ("path", "source")
    ]
    others = [name for name in READ_IN_TRAINING if name not in words]
    coded = (
        pq.read_table(path, columns=words, read_dictionary=words)
        .unify_dictionaries()
        .combine_chunks()
    )
    schema = pa.schema(
        [*(COLUMNS.field(name) for name in others), *coded.schema, pa.field("lot", pa.uint32())]
    )
    done = 0
    with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in pq.ParquetFile(path).iter_batches(PORTION, columns=others):
            paths = pa.compute.coalesce(batch.column("source"), batch.column("path"))
            new = np.concatenate(
                [[True], pa.compute.not_equal(paths[1:], paths[:-1]).to_numpy(False)]
            )
            name_hashes = np.array(
                [crc32(name.encode()) for name in paths.filter(pa.array(new)).to_pylist()],
                np.uint32,
            )
            told = [column.chunk(0) for column in coded.slice(done, len(batch)).columns]
            done += len(batch)
            columns = [batch.column(name) for name in others]
            writer.write_batch(
                pa.record_batch(
                    [*columns, *told, pa.array(name_hashes[np.cumsum(new) - 1])], schema=schema
                )
            )


def _sequence(row: dict[str, Any], path: Path) -> Sequence:
    fps = Fraction(row["fps_num"], row["fps_den"])
    raw = (
        RawFormat(row["width"], row["height"], row["pixel_format"])
        if row["kind"] == "raw"
        else None
    )
    timing = None
    if row["kind"] == "video" and row["pts_step"]:
        timing = Timing(
            row["pts_first"],
            pts_step=row["pts_step"],
            key_frames=tuple(row["key_frames"]),
            frames=row["file_frames"],
            fps=fps,
            width=row["width"],
            height=row["height"],
            pixel_format=row["pixel_format"],
            matrix=row["matrix"],
            full_range=row["full_range"],
            color_origin=row["colour_origin"],
            plain=row["plain"],
            codec=row["codec"],
        )
    part = None if row["offset"] is None else (row["offset"], row["bytes"])
    return Sequence(
        path,
        first=row["first"],
        frames=row["frames"],
        fps=fps,
        raw=raw,
        byte_range=part,
        timing=timing,
        licence=row["licence"],
        bytes=row["bytes"],
        source=row["source"] or "",
    )
