"""Readers: frames of a source by number, whatever its kind."""

import logging
from collections.abc import Sequence as Numbers
from pathlib import Path
from typing import Protocol

from torch import Tensor

from data.errors import DataError, check_frame_numbers
from data.io.color import Window
from data.io.probe import Probe, probe_or_index
from data.io.video import PyavReader, open_decord
from data.sequences import Sequence

READERS = ("auto", "decord", "pyav")
PYAV_IS_BETTER = ("h264", "hevc")
log = logging.getLogger(__name__)


class Reader(Protocol):
    """A source's frames by number.

    Attributes:
        frames: frames that can be read.
        fps: frames per second.
        width, height: pixels.
        matrix: the matrix that makes the RGB, "bt601" or "bt709".
    """

    frames: int
    fps: float
    width: int
    height: int
    matrix: str

    def read(self, indices: Numbers[int], window: Window | None = None) -> Tensor:
        """Frames `indices` (0-based, any order) as uint8 `(T, 3, H, W)` RGB; DataError when one
        cannot be decoded.

        With a `window` (top, left, height, width) only that part of the pictures, the same pixels.
        """


def open_reader(source: Path | str | Sequence, reader: str = "auto") -> Reader:
    """Open a video, raw YUV, Y4M, a folder of pictures or a part of a shard; a `Sequence` counts
    its own frames from 0.

    Open it in the process that reads it: decord must not be carried across a fork.

    "decord" reads with decord, which counts frames wrongly after a seek in open GOPs, behind edit
    lists and in MPEG program streams (field notes 3.15), and cannot open AV1. Such files, and parts
    of shards, go to "pyav", which is exact everywhere, uses `data.io.color` and refuses damaged
    frames of which decord makes pictures. "auto" takes decord, but PyAV for H.264 and HEVC, where
    it was measured to be faster as well (benchmarks/decoders.py): of H.264 it leaves out frames
    that no other needs.

    Raises:
        DataError: `reader` is unknown; the source is missing, empty, cut short, audio only, no
            video, or not what its index says.
    """
    check_reader(reader)
    sequence = source if isinstance(source, Sequence) else Sequence(Path(source))
    whole = _open_whole(sequence, reader)
    if not sequence.first and sequence.frames in (None, whole.frames):
        return whole
    return SpanReader(whole, sequence)


def check_reader(reader: str) -> None:
    """DataError unless `reader` is one of `READERS`."""
    if reader not in READERS:
        raise DataError(f"reader={reader!r} is unknown; choose one of {', '.join(READERS)}")


class SpanReader:
    """A `Reader` of some consecutive frames of another."""

    def __init__(self, whole: Reader, sequence: Sequence) -> None:
        self.first = sequence.first
        self.frames = whole.frames - self.first if sequence.frames is None else sequence.frames
        if self.first < 0 or self.frames < 1 or self.first + self.frames > whole.frames:
            raise DataError(
                f"{sequence.path}: frames {self.first}..{self.first + self.frames - 1} asked for, "
                "it holds "
                f"0..{whole.frames - 1}; correct first and frames, or index again"
            )
        self.path = sequence.path
        self._whole = whole
        self.fps = whole.fps
        self.width = whole.width
        self.height = whole.height
        self.matrix = whole.matrix

    def read(self, indices: Numbers[int], window: Window | None = None) -> Tensor:
        """See `Reader`."""
        wanted = check_frame_numbers(indices, self.frames, self.path)
        return self._whole.read([self.first + index for index in wanted], window)


def _open_whole(sequence: Sequence, reader: str) -> Reader:
    if sequence.is_raw:
        from data.io.raw import RawReader

        return RawReader(sequence)
    if sequence.timing is None and sequence.path.is_dir():
        from data.io.images import ImageReader

        return ImageReader(sequence)
    found = probe_or_index(sequence)
    if reader == "decord" or (reader == "auto" and found.codec not in PYAV_IS_BETTER):
        video = open_decord(found) if _decord_can(found) else None
        if video is not None:
            return video
        if reader == "decord":
            log.info("%s: decord may get its frames wrong; read with pyav", found.path)
    return PyavReader(found)


def _decord_can(found: Probe) -> bool:
    """Whether decord finds the right frames, in the colors that swscale gives them."""
    return (
        found.plain
        and found.byte_range is None
        and found.height % 2 == 0
        and "10" not in found.pixel_format
    )
