"""Exclusion: sequences that show pictures of a test set, whatever was done to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa

from common.resources import available_cores
from data.errors import DataError
from data.index.hashing import NONE, distances, nearest, phash, thumbnail
from data.index.small_frames import small_reader_frames, small_video_frames
from data.index.source_files import Source
from data.io.probe import probe
from data.io.readers import open_reader
from data.sources.discovery import find_sequences

CROPS = (0.95, 0.9)  # of both sides, from the centre
ASPECTS = (4 / 3, 16 / 9, 2.39)  # pictures that black bars may have been added to
REPEAT = 2  # bits: a frame nearer to the one that was hashed last adds nothing
PORTION = 10_000  # hashes compared at once
LEAST = 2  # frames of a sequence that must match: one alone may do so by chance


@dataclass(frozen=True, eq=False)
class Excluded:
    """Pictures of test sets.

    Attributes:
        names: of their sequences.
        hashes: uint64 `(M,)`, of their frames as they are, mirrored, cropped and with bars.
        owners: int32 `(M,)`, which sequence each is from.
    """

    names: list[str]
    hashes: np.ndarray
    owners: np.ndarray


def hash_test_sets(places: Sequence[str]) -> Excluded:
    """Hash all frames of test sets; frames that look like the one before are hashed once.

    Raises:
        DataError: as `find_sequences`; or a file cannot be decoded: a test set is hashed as a whole
            or not at all.
    """
    names: list[str] = []
    hashes: list[np.ndarray] = []
    for place in places:
        for sequence in find_sequences(place):
            names.append(f"{place}: {sequence.label}")
            hashes.append(np.array(list(_hashes(Source("", sequence))), np.uint64))
    owners = np.repeat(np.arange(len(names), dtype=np.int32), [len(one) for one in hashes])
    return Excluded(names, np.concatenate([*hashes, np.zeros(0, np.uint64)]), owners)


def matches(rows: pa.Table, tests: Excluded, bits: int) -> tuple[np.ndarray, list[str]]:
    """Which sequences show test pictures: at least `LEAST` of their hashed frames differ from one
    of a test set by up to `bits`.

    Args:
        rows: of an index.
        tests: what is looked for.
        bits: of 64.

    Returns:
        bool `(N,)`, and for each row that matches, in order, which test sequence it shows and how
        many frames match.
    """
    column = pa.chunked_array(rows["hashes"].chunks, rows["hashes"].type).combine_chunks()
    column = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    where = _nearest(column.flatten().to_numpy(), tests.hashes, bits)
    row = np.repeat(np.arange(len(rows)), column.value_lengths().to_numpy(False))
    count = np.bincount(row[where >= 0], minlength=len(rows))
    shown = np.zeros(len(rows), np.int64)
    shown[row[where >= 0]] = tests.owners[where[where >= 0]] if len(tests.owners) else 0
    found = count >= LEAST
    return found, [
        f"{count[i]} frames of it are frames of {tests.names[shown[i]]}"
        for i in np.flatnonzero(found)
    ]


def _nearest(hashes: np.ndarray, others: np.ndarray, bits: int) -> np.ndarray:
    """`nearest` by all cores."""
    with ThreadPoolExecutor(available_cores()) as pool:
        parts = np.array_split(hashes, len(hashes) // PORTION + 1)
        return np.concatenate(
            [where for where, _ in pool.map(lambda part: nearest(part, others, bits), parts)]
        )


def _hashes(source: Source) -> Iterator[int]:
    """Hashes of a test clip's frames and their variants, without repetitions."""
    sequence = source.sequence
    video = source.kind == "video"
    pictures = (
        small_video_frames(probe(sequence.path))
        if video
        else small_reader_frames(open_reader(sequence))
    )
    last = np.array([NONE], np.uint64)
    for number, picture in pictures:
        if not sequence.first <= number < sequence.first + (sequence.frames or 1 << 31):
            continue
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        plain = phash(thumbnail(grey))
        here = np.array([plain], np.uint64)
        if plain == NONE or (last[0] != NONE and distances(here, last)[0] <= REPEAT):
            continue
        last = here
        yield from {plain, *(phash(thumbnail(variant)) for variant in variants(grey))} - {NONE}


def variants(grey: np.ndarray) -> Iterator[np.ndarray]:
    """What a picture `(h, w)` may have become: cropped, with black bars, and all of these
    mirrored.
    """
    height, width = grey.shape
    others = [grey]
    for share in CROPS:
        top = round(height * (1 - share) / 2)
        left = round(width * (1 - share) / 2)
        others.append(grey[top : height - top, left : width - left])
    for aspect in ASPECTS:
        down = max(0, round(width / aspect) - height) // 2
        across = max(0, round(height * aspect) - width) // 2
        if max(down / height, across / width) > 0.02:
            others.append(
                cv2.copyMakeBorder(grey, down, down, across, across, cv2.BORDER_CONSTANT, value=[0])
            )
    for other in others:
        yield other
        yield other[:, ::-1]


def check_places(places: Sequence[str]) -> None:
    """DataError, before the work, for a test set that is not there."""
    for place in places:
        try:
            find_sequences(place)
        except DataError as error:
            raise DataError(f"--exclude {place}: {error}") from error
