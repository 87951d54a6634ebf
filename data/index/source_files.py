"""Sources of an index: the files that it is made of, each once."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import xxhash

from data.errors import DataError
from data.sequences import Sequence
from data.sources.discovery import find_sequences

PORTION = 2**20  # bytes read at once
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A file, or a folder of pictures.

    Attributes:
        name: its path from the index's root, with slashes; the whole path when it is elsewhere.
        sequence: how to read all of it, with its licence.
        spans: first frame and number of frames of the parts that a manifest lists; none is all.
    """

    name: str
    sequence: Sequence
    spans: tuple[tuple[int, int | None], ...] = ()

    @property
    def kind(self) -> str:
        """As in the index: "video", "raw" or "images"."""
        if self.sequence.is_raw:
            return "raw"
        return "images" if self.sequence.path.is_dir() else "video"


@dataclass(frozen=True)
class Stamp:
    """Bytes and time of change of a source; of a folder, those of its files together."""

    bytes: int
    mtime_ns: int


def find_sources(
    where: str | Path, part: tuple[int, int] | None = None
) -> tuple[Path, list[Source]]:
    """The root of an index, and its sources.

    Args:
        where: as for `find_sequences`, one place.
        part: (3, 64) keeps the third of 64 parts. A file's name decides which it is in, whatever
            other files there are.

    Raises:
        DataError: nothing is found, as `find_sequences`; rows of a manifest for one file contradict
            each other.
    """
    root = root_of(where)
    found: dict[str, Source] = {}
    elsewhere = 0
    for sequence in find_sequences(where):
        path = os.path.abspath(sequence.path)
        inside = path.startswith(os.path.join(root, ""))
        name = printable(os.path.relpath(path, root) if inside else path)
        if part is not None and not in_part(name, part):
            continue
        elsewhere += not inside
        span = (sequence.first, sequence.frames)
        whole = replace(sequence, path=Path(path), first=0, frames=None)
        before = found.get(name)
        if before is not None and before.sequence != whole:
            raise DataError(
                f"{where}: rows of {name} differ in format, rate or licence; state the same in each"
            )
        spans = (() if before is None else before.spans) + ((span,) if span != (0, None) else ())
        found[name] = Source(name, whole, spans)
    if elsewhere:
        log.warning(
            "%s: %d files are not under %s and keep their whole path: the index holds on this "
            "machine only",
            where,
            elsewhere,
            root,
        )
    return Path(root), list(found.values())


def root_of(where: str | Path) -> str:
    """The folder that names count from: a folder itself, else that of the file or list."""
    text = os.path.expanduser(str(where).partition(":")[2] if _is_named(str(where)) else str(where))
    text = os.path.abspath(text)
    while not os.path.isdir(text):
        text = os.path.dirname(text)
    return text


def in_part(name: str, part: tuple[int, int]) -> bool:
    """Whether a name belongs to part `part[0]`, counted from 1, of `part[1]`."""
    return xxhash.xxh3_64_intdigest(name.encode()) % part[1] == part[0] - 1


def printable(name: str) -> str:
    """A file's name as text: bytes that are no UTF-8 are spelt out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def stamp_of(path: Path) -> Stamp:
    """DataError when it is not there."""
    try:
        stats = [file.stat() for file in _files(path)]
    except OSError as error:
        raise DataError(
            f"{path}: cannot be looked at ({error.strerror}); check the path"
        ) from error
    return Stamp(
        sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)
    )


def content_of(path: Path) -> str:
    """xxh3-128 of a file's bytes, or of all files of a folder in the order of their names, in
    hex.
    """
    digest = xxhash.xxh3_128()
    buffer = bytearray(PORTION)
    try:
        for one in _files(path):
            with open(one, "rb", buffering=0) as file:
                while count := file.readinto(buffer):
                    digest.update(memoryview(buffer)[:count])
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); check the disk and its permissions"
        ) from error
    return digest.hexdigest()


def _files(path: Path) -> Iterable[Path]:
    return sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]


def _is_named(text: str) -> bool:
    """Whether a place is `uvg:FOLDER` or the like, and no path."""
    return ":" in text and not os.path.exists(text)
