"""Small pictures of every frame of a source, and every sign that one is damaged."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import av
import cv2
import numpy as np
import xxhash
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from data.errors import REPAIR, DataError
from data.io.container import decoder_errors, read_failure
from data.io.probe import Probe
from data.io.readers import Reader
from data.io.upright import Upright
from data.io.video import STRICT

SIDE = 160  # pixels of the longer side
FRAMES_AT_ONCE = 8  # frames that a reader decodes at once
EBML = b"\x1a\x45\xdf\xa3"
SEGMENT = b"\x18\x53\x80\x67"
CLUSTER = b"\x1f\x43\xb6\x75"
CRC = b"\xbf\x84"  # the element's name and size; 4 bytes follow, least first
BYTES_AT_ONCE = 2**20
log = logging.getLogger(__name__)


def small_video_frames(found: Probe) -> Iterator[tuple[int, np.ndarray]]:
    """Every frame of a video by one sequential decode that takes nothing for granted.

    Damage is what raises, what ffmpeg logs as an error or worse, what the decoder marks as corrupt,
    and a frame that is promised but does not come; frames before the first that can be decoded may
    be missing (a file cut out of another). Decoders of HEVC take nearly any bits for a picture and
    say nothing, so such a file is decoded twice, see `_rows_agree`.

    Yields:
        Number of the frame, and uint8 BGR `(h, w, 3)`, at most `SIDE` pixels long.

    Raises:
        DataError: a frame is damaged, missing or of another size than the first.
    """
    numbers = (
        None if found.pts is None else {int(pts): number for number, pts in enumerate(found.pts)}
    )
    size = shrunk(found.width, found.height)
    shrink = VideoReformatter()
    twice = found.codec == "hevc"
    digests: list[int] = []
    last = None
    upright = Upright()
    for count, decoded in enumerate(_frames(found)):
        frame = upright(decoded)
        if (frame.width, frame.height) != (found.width, found.height):
            raise DataError(
                f"{found.path}: frame {count} changes the size to {frame.width}x{frame.height}; "
                "cut the file there"
            )
        if twice:
            digests.append(_digest(decoded))
        number: int | None = count
        if numbers is not None:
            number = None if frame.pts is None else numbers.get(frame.pts)
        if number is None:
            continue  # hidden by an edit list
        if last is not None and number != last + 1:
            raise DataError(
                f"{found.path}: frame {last + 1} of {found.frames} cannot be decoded; {REPAIR}"
            )
        last = number
        small = shrink.reformat(frame, *size, format="bgr24", interpolation="AREA")
        yield number, small.to_ndarray()
    stop = 0 if last is None else last + 1
    if not stop or (numbers is not None and stop != found.frames):
        raise DataError(
            f"{found.path}: frames from {stop} on, of {found.frames}, cannot be decoded; {REPAIR}"
        )
    if twice and not _rows_agree(found, digests):
        raise DataError(
            f"{found.path}: damaged, two ways of decoding it give different pictures; {REPAIR}"
        )


def small_reader_frames(reader: Reader) -> Iterator[tuple[int, np.ndarray]]:
    """As `small_video_frames`, of raw video or a folder of pictures."""
    size = shrunk(reader.width, reader.height)
    for first in range(0, reader.frames, FRAMES_AT_ONCE):
        numbers = range(first, min(first + FRAMES_AT_ONCE, reader.frames))
        for number, picture in zip(
            numbers, reader.read(numbers).permute(0, 2, 3, 1).numpy(), strict=True
        ):
            yield number, cv2.resize(picture[..., ::-1], size, interpolation=cv2.INTER_AREA)


def shrunk(width: int, height: int) -> tuple[int, int]:
    """Width and height of the small pictures."""
    scale = min(1.0, SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _frames(found: Probe) -> Iterator[av.VideoFrame]:
    """All frames of one thread's decode; DataError at the first sign of damage."""
    count = 0
    try:
        with decoder_errors() as errors, found.opened() as container:
            stream = container.streams.video[found.stream]
            stream.codec_context.thread_count = 1
            stream.codec_context.options = STRICT
            del errors[:]  # of opening: about other streams, or repeated by decoding
            for packet in container.demux(stream):
                for frame in packet.decode():
                    if errors or frame.is_corrupt:
                        break
                    yield frame
                    count += 1
                else:
                    if not errors and not packet.is_corrupt:
                        continue
                raise read_failure(found.path, f"damaged near frame {count}", None, errors)
    except (FFmpegError, OSError, MemoryError) as error:
        raise read_failure(found.path, f"cannot be decoded near frame {count}", error) from error


def _rows_agree(found: Probe, digests: list[int]) -> bool:
    """Whether decoding row by row gives the same pictures.

    One thread goes on from a row of blocks to the next wherever its bits end; several threads begin
    every row where the slice's header says (wavefronts, which x265 writes unless told not to).
    Wrong bits rarely end where they should, and the two differ. Logging is off: ffmpeg's threads
    would wait for Python's.
    """
    place = -1
    try:
        with found.opened() as container:
            stream = container.streams.video[found.stream]
            stream.codec_context.thread_count = 2
            stream.codec_context.thread_type = "SLICE"
            stream.codec_context.options = STRICT
            for place, frame in enumerate(container.decode(stream)):
                if place >= len(digests) or _digest(frame) != digests[place]:
                    return False
    except (FFmpegError, OSError) as error:
        log.debug("%s: row by row: %s", found.path, error)
        return False
    return place + 1 == len(digests)


def _digest(frame: av.VideoFrame) -> int:
    return xxhash.xxh3_64_intdigest(memoryview(frame.planes[0]))


def check_clusters(path: Path) -> None:
    """Compare the clusters of a Matroska file with their checksums; other files, and clusters
    without one, pass.

    Raises:
        DataError: one differs.

    Source: RFC 8794 (EBML), 11.3.1: CRC-32 is the first child, over all that follows it in its
    parent.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != EBML:
                return
            file.seek(0)
            for at, name, size in _elements(file, path.stat().st_size):
                if name == CLUSTER and not _agrees(file, size):
                    raise DataError(
                        f"{path}: damaged, the checksum of the pictures from byte {at} on differs; "
                        f"{REPAIR}"
                    )
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {REPAIR}") from error


def _elements(file: BinaryIO, end: int) -> Iterator[tuple[int, bytes, int]]:
    """Place, name and size of the elements in the segment, the file standing behind the size; up to
    one of unknown size.
    """
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
    said = int.from_bytes(file.read(4), "little")
    left = size - 6
    found = 0
    while left > 0 and (data := file.read(min(BYTES_AT_ONCE, left))):
        found = zlib.crc32(data, found)
        left -= len(data)
    return not left and found == said
