"""Bytes of shards, from disk or object storage."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from data.errors import REPAIR, DataError
from data.sequences import Sequences

READ_AHEAD = 8 * 2**20  # bytes fetched at once from object storage


class ShardFiles:
    """Members' bytes; the shard read last stays open."""

    def __init__(self, sequences: Sequences, where: Mapping[Path, str]) -> None:
        self.sequences = sequences
        self.where = where
        self._path: Path | None = None
        self._file: BinaryIO | None = None

    def __enter__(self) -> ShardFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def read(self, row: int) -> bytes | DataError:
        """A row's member, or what went wrong."""
        sequence = self.sequences[row]
        offset, length = sequence.byte_range or (0, 0)
        try:
            if sequence.path != self._path:
                self._close()
                self._file = open_path_or_url(str(self.where.get(sequence.path, sequence.path)))
                self._path = sequence.path
            assert self._file is not None
            self._file.seek(offset)
            data = self._file.read(length)
        except Exception as error:  # every storage raises its own kinds
            self._close()
            return DataError(
                f"{sequence.label}: cannot be read ({error or type(error).__name__}); check the "
                "storage"
            )
        if len(data) != length:
            return DataError(
                f"{sequence.label}: the shard ends {length - len(data)} bytes early; {REPAIR}"
            )
        return data

    def _close(self) -> None:
        if self._file is not None:
            with suppress(Exception):
                self._file.close()
        self._path = self._file = None


def open_path_or_url(place: str) -> BinaryIO:
    """A local file or a URL that fsspec knows, open for reading."""
    if "://" not in place:
        return open(place, "rb")
    import fsspec

    return fsspec.open(place, "rb", block_size=READ_AHEAD, cache_type="readahead").open()
