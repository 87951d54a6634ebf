"""Checksums that Matroska files bring: ffmpeg's muxer writes one for every cluster of pictures."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from data.errors import REPAIR, DataError

EBML, SEGMENT, CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
CRC = b"\xbf\x84"  # the element's name and size; 4 bytes follow, least first
PORTION = 2**20  # bytes read at once


def check_clusters(path: Path) -> None:
    """Compare the clusters of a Matroska file with their checksums; other files, and clusters without one, pass.

    Raises:
        DataError: one differs.

    Source: RFC 8794 (EBML), 11.3.1: CRC-32 is the first child, over all that follows it in its parent.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != EBML:
                return
            file.seek(0)
            for at, name, size in _elements(file, path.stat().st_size):
                if name == CLUSTER and not _agrees(file, size):
                    raise DataError(f"{path}: damaged, the checksum of the pictures from byte {at} on differs; {REPAIR}")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {REPAIR}") from error


def _elements(file: BinaryIO, end: int) -> Iterator[tuple[int, bytes, int]]:
    """Place, name and size of the elements in the segment, the file standing behind the size; up to one of unknown size."""
    at = 0
    while at < end:
        file.seek(at)
        name = _number(file)
        digits = _number(file)
        if not name or not digits:
            return
        size = int.from_bytes(digits, "big") & ((1 << 7 * len(digits)) - 1)
        unknown = size == (1 << 7 * len(digits)) - 1
        if name == SEGMENT:
            at = file.tell()
            continue
        if unknown:
            return
        body = file.tell()
        yield at, name, size
        at = body + size


def _number(file: BinaryIO) -> bytes:
    """A number of EBML's variable length, with its marker; empty when there is none."""
    first = file.read(1)
    if not first or not first[0]:
        return b""
    return first + file.read(8 - first[0].bit_length())


def _agrees(file: BinaryIO, size: int) -> bool:
    if file.read(2) != CRC:
        return True
    said, left, found = int.from_bytes(file.read(4), "little"), size - 6, 0
    while left > 0 and (data := file.read(min(PORTION, left))):
        found = zlib.crc32(data, found)
        left -= len(data)
    return not left and found == said
