"""Scanning: what is in one file, found by decoding all of it once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from data.errors import DataError, OutOfMemory
from data.index.hashing import hashed_frames, phash
from data.index.options import ScanOptions
from data.index.scenes import Analysis, FrameAnalyzer, Segment, pieces
from data.index.small_frames import check_clusters, small_reader_frames, small_video_frames
from data.index.source_files import Source, Stamp, content_of, printable, stamp_of
from data.io.images import ImageReader
from data.io.probe import Probe, probe
from data.io.raw import RawReader
from data.io.readers import open_reader

UNREADABLE = "unreadable"
DETAILS = {
    "short": "{frames} frames between cuts, at least {min_frames} are wanted",
    "black": "mean luma {luma:.1f}, black is below {black:g}",
    "near-static": "neighbouring frames differ by {motion:.3f}, near-static is below {static:g}",
}
REMEDIES = {
    "short": "lower --min-frames",
    "black": "lower --black",
    "near-static": "lower --static",
}
Row = dict[str, Any]  # see `data.index.schema`


@dataclass(frozen=True)
class Scan:
    """What a file gives.

    Attributes:
        name: of the source.
        stamp: of the file when it was read; None when what was wrong may pass, so that it is to be
            scanned again.
        rows: of the index.
        dropped: rows that are not wanted, with `reason`, `detail` and `remedy`; a file that cannot
            be used is one of 0 frames.
    """

    name: str
    stamp: Stamp | None
    rows: list[Row] = field(default_factory=list)
    dropped: list[Row] = field(default_factory=list)


def scan(source: Source, options: ScanOptions) -> Scan:
    """Decode a source, cut it, look at it, hash it. Raises nothing for a bad file: that is its
    answer.
    """
    cv2.setNumThreads(1)
    stamp = None
    try:
        stamp = stamp_of(source.sequence.path)
        if printable(str(source.sequence.path)) != str(source.sequence.path):
            raise DataError(
                f"{source.sequence.path}: its name is not UTF-8, an index cannot hold it; rename it"
            )
        return _scan(source, stamp, options)
    except DataError as error:
        return rejected(source, None if may_pass(error, source) else stamp, str(error))


def may_pass(error: BaseException, source: Source) -> bool:
    """Whether a failure may be one of the machine and not of the file: no memory, or a storage that
    does not answer.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError | OutOfMemory) or (
            isinstance(cause, OSError) and cause.errno
        ):  # Pillow's own have no number
            return True
        cause = cause.__cause__
    path = source.sequence.path
    try:
        if path.is_file() or path.is_dir():
            content_of(path)  # ffmpeg takes an error of the storage for the end of the file
    except (DataError, OSError):
        return True
    return False


def rejected(source: Source, stamp: Stamp | None, message: str) -> Scan:
    """The answer for a file that cannot be used, `stamp` as in `Scan`; a DataError's message ends
    in its remedy.
    """
    detail, _, remedy = printable(message.removeprefix(f"{source.sequence.path}: ")).rpartition(
        "; "
    )
    row = _dropped(UNREADABLE, detail or remedy, remedy if detail else "", first=0, frames=0)
    seen = {} if stamp is None else {"bytes": stamp.bytes, "mtime_ns": stamp.mtime_ns}
    return Scan(source.name, stamp=stamp, rows=[], dropped=[row | {"path": source.name} | seen])


def _scan(source: Source, stamp: Stamp, options: ScanOptions) -> Scan:
    path = source.sequence.path
    opened: Probe | ImageReader | RawReader
    if source.kind == "video":
        opened = probe(path)
        check_clusters(path)
        pictures = small_video_frames(opened)
    else:
        reader = open_reader(source.sequence)
        assert isinstance(reader, RawReader | ImageReader)
        opened = reader
        pictures = small_reader_frames(opened)
    analyser = FrameAnalyzer(options.cut)
    start: int | None = None
    frames = 0
    for number, picture in pictures:
        start = number if start is None else start
        analyser.add(picture)
        frames = number + 1
    common, keys = _common(source, opened, frames)
    common |= {"bytes": stamp.bytes, "mtime_ns": stamp.mtime_ns, "content": content_of(path)}
    common["licence"] = source.sequence.licence or options.licence
    if stamp_of(path) != stamp:
        raise DataError(
            f"{path}: was changed while it was read; index again when nothing writes to it"
        )
    found = analyser.finish()
    assert start is not None  # `finish` wants a picture
    result = Scan(source.name, stamp)
    for piece in _wanted(source, found=found, options=options, start=start, frames=frames):
        row = common | _row(piece, found=found, start=start, keys=keys, fps=float(opened.fps))
        if piece.reason:
            words = {
                **vars(options),
                "frames": row["frames"],
                "luma": piece.luma,
                "motion": piece.motion,
            }
            result.dropped.append(
                row
                | _dropped(
                    piece.reason, DETAILS[piece.reason].format(**words), REMEDIES[piece.reason]
                )
            )
        else:
            result.rows.append(row)
    return result


def _wanted(
    source: Source, found: Analysis, options: ScanOptions, start: int, frames: int
) -> Iterator[Segment]:
    """Pieces of the spans that are asked for; DataError when a span is not in the file."""
    for first, count in source.spans or ((0, None),):
        stop = frames if count is None else first + count
        if stop > frames or first >= stop:
            what = f"frames {first}..{stop - 1} are listed, it holds 0..{frames - 1}"
            raise DataError(f"{source.sequence.path}: {what}; correct the manifest")
        if stop > start:
            yield from pieces(found, options, (max(first - start, 0), stop - start))


def _common(
    source: Source, opened: Probe | ImageReader | RawReader, frames: int
) -> tuple[Row, list[int]]:
    """Columns that all rows of a file share, and the numbers of its keyframes."""
    row: Row = {
        "path": source.name,
        "source": None,
        "kind": source.kind,
        "offset": None,
        "file_frames": frames,
    }
    row |= {
        "width": opened.width,
        "height": opened.height,
        "codec": "",
        "plain": False,
        "pts_first": 0,
        "pts_step": 0,
    }
    fps = Fraction(opened.fps if isinstance(opened, Probe) else opened.rate).limit_denominator(
        1_000_000
    )
    row |= {"fps_num": fps.numerator, "fps_den": fps.denominator}
    color_space = opened.color_space
    keys: list[int] = []
    row |= {
        "matrix": color_space.matrix,
        "full_range": color_space.full_range,
        "colour_origin": color_space.origin,
    }
    if not isinstance(opened, Probe):
        return row | {"pixel_format": getattr(opened, "pixel_format", "rgb24")}, keys
    row |= {"codec": opened.codec, "pixel_format": opened.pixel_format, "plain": opened.plain}
    timing = None if opened.pts is None else _timing(opened.pts, opened.key_pts)
    if timing is not None and opened.stream == 0:
        row["pts_first"], row["pts_step"], keys = timing
    return row, keys


def _timing(pts: np.ndarray, key_pts: np.ndarray) -> tuple[int, int, list[int]] | None:
    """First time, step and keyframe numbers of a video of constant frame rate; None of another."""
    steps = np.unique(np.diff(pts))
    step = int(steps[0]) if len(steps) else 1
    if len(steps) > 1 or step >= 1 << 31 or not len(key_pts):
        return None
    numbers, rests = np.divmod(key_pts - pts[0], step)
    return None if rests.any() else (int(pts[0]), step, numbers.tolist())


def _row(piece: Segment, found: Analysis, start: int, keys: list[int], fps: float) -> Row:
    """Columns of one sequence; `start` is the number of the first frame that was analysed."""
    first = start + piece.first
    stop = start + piece.stop
    before = [key for key in keys if key <= first][-1:]
    places = hashed_frames(piece.stop - piece.first, fps)
    return {
        "first": first,
        "frames": stop - first,
        "key_frames": before + [key for key in keys if first < key < stop],
        "hashes": []
        if piece.reason
        else [phash(found.thumbs[piece.first + place]) for place in places],
        "motion": piece.motion,
        "luma": piece.luma,
    }


def _dropped(reason: str, detail: str, remedy: str, **more: Any) -> Row:
    return {"reason": reason, "detail": detail, "remedy": remedy, **more}
