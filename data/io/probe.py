"""Probe: what a video file holds, found by reading its packets without decoding them."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from data.errors import REPAIR, DataError, check_file
from data.io.byte_range import opened
from data.io.color import ColorSpace, color_space_of
from data.sequences import Sequence, Timing

UNTIMED = ("avi",)  # says no times of B-frames; what is made up for them is out of order
SEEKABLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")


@dataclass(frozen=True, eq=False)
class Probe:
    """A video file's first video stream.

    Attributes:
        path: the file.
        frames: pictures that the file holds and shows (an edit list may hide some).
        fps: frames per second, the average.
        width, height: pixels.
        pixel_format: ffmpeg's name.
        color_space: matrix and range of its planes.
        pts: int64 `(frames,)`, sorted times in the stream's units; None when the file does not say
            them all.
        key_pts: int64, sorted times of the keyframes.
        codec: ffmpeg's name, "h264" for instance.
        plain: decord finds frames of such a file by number: mp4 or mkv, all packets timed, none
            hidden, no open GOP.
        byte_range: offset and length of the video in a shard, in bytes; None when the file is the
            video.
    """

    path: Path
    frames: int
    fps: Fraction
    width: int
    height: int
    pixel_format: str
    color_space: ColorSpace
    pts: np.ndarray | None
    key_pts: np.ndarray
    codec: str
    plain: bool
    byte_range: tuple[int, int] | None = None

    def opened(self) -> AbstractContextManager[av.container.InputContainer]:
        """The file, or its part, opened by PyAV and closed behind the `with`."""
        return opened(self.path, self.byte_range)


def probe(path: Path | str, part: tuple[int, int] | None = None) -> Probe:
    """Read the header and every packet's time; remembered for the last 128 files.

    Args:
        path: the file.
        part: offset and length in bytes, of a video in a shard.

    Raises:
        DataError: the file is missing, empty, no video, audio only, cut short, or of a color that
            is not known.
    """
    path = Path(path)
    stat = check_file(path, None if part is None else sum(part), exact=False)
    return _probe(path, part=part, size=stat.st_size, changed=stat.st_mtime_ns)


def probe_or_index(sequence: Sequence) -> Probe:
    """What an index knows of a sequence's file, without reading it; `probe` where the index does
    not know enough.

    Raises:
        DataError: the file is missing or of another size than it was; as `probe`.
    """
    part = sequence.byte_range
    if sequence.timing is None:
        return probe(sequence.path, part)
    check_file(sequence.path, sequence.bytes if part is None else sum(part), exact=part is None)
    return probe_from_index(sequence, sequence.timing)


def probe_from_index(sequence: Sequence, timing: Timing) -> Probe:
    """A sequence's file as its index tells, of which nothing is looked at."""
    return Probe(
        path=sequence.path,
        frames=timing.frames,
        fps=timing.fps,
        width=timing.width,
        height=timing.height,
        pixel_format=timing.pixel_format,
        color_space=ColorSpace(timing.matrix, timing.full_range, timing.color_origin),
        pts=timing.pts_first + timing.pts_step * np.arange(timing.frames, dtype=np.int64),
        key_pts=timing.pts_first + timing.pts_step * np.array(timing.key_frames, dtype=np.int64),
        codec=timing.codec,
        plain=timing.plain,
        byte_range=sequence.byte_range,
    )


@lru_cache(maxsize=128)
def _probe(path: Path, part: tuple[int, int] | None, size: int, changed: int) -> Probe:
    try:
        with opened(path, part) as container:
            if not container.streams.video:
                raise DataError(
                    f"{path}: holds no video stream (audio only?); give a file with pictures"
                )
            return replace(_read_packets(path, container), byte_range=part)
    except (FFmpegError, OSError) as error:
        raise DataError(
            f"{path}: no video that ffmpeg can open ({_reason(error)}); {REPAIR}"
        ) from error
    except ValueError as error:
        raise DataError(str(error)) from error


def _read_packets(path: Path, container: av.container.InputContainer) -> Probe:
    stream = container.streams.video[0]
    context = stream.codec_context
    packets = [packet for packet in container.demux(stream) if packet.size]
    shown = [packet for packet in packets if not packet.is_discard]
    _check_whole(path, stream, shown)
    fps = stream.average_rate or stream.guessed_rate or stream.base_rate
    if not fps:
        raise DataError(
            f"{path}: says no frame rate; remux it with one (ffmpeg -r RATE -i IN -c copy OUT.mkv)"
        )
    times = [packet.pts for packet in shown]
    timed = (
        None not in times and len(set(times)) == len(times) and container.format.name not in UNTIMED
    )
    plain = (
        timed
        and len(shown) == len(packets)
        and container.format.name in SEEKABLE
        and not _has_leading(packets)
    )
    colorspace = int(getattr(context, "colorspace", 2))
    pixel_format = context.pix_fmt
    assert pixel_format is not None  # `_check_whole` refuses such a file
    return Probe(
        path=path,
        frames=len(shown),
        fps=Fraction(fps),
        width=context.width,
        height=context.height,
        pixel_format=pixel_format,
        color_space=color_space_of(
            str(path),
            pixel_format=pixel_format,
            matrix=colorspace,
            color_range=int(context.color_range),
            height=context.height,
        ),
        pts=np.sort(np.array(times, dtype=np.int64)) if timed else None,
        key_pts=np.sort(
            np.array(
                [p.pts for p in packets if p.is_keyframe and p.pts is not None], dtype=np.int64
            )
        ),
        codec=context.name,
        plain=plain,
    )


def _check_whole(path: Path, stream: av.VideoStream, packets: list[av.Packet]) -> None:
    """Refuse a file whose header opens but whose pictures are missing or cut."""
    context = stream.codec_context
    if context is None or not packets or not context.pix_fmt or not context.width:
        raise DataError(
            f"{path}: holds a header but no picture that can be decoded (cut short?); {REPAIR}"
        )
    if any(packet.is_corrupt for packet in packets):
        raise DataError(
            f"{path}: cut short, {len(packets)} of {stream.frames or 'its'} frames are there; "
            f"{REPAIR}"
        )
    promised = _seconds(stream.metadata.get("DURATION", ""))
    ends = [packet.pts + (packet.duration or 0) for packet in packets if packet.pts is not None]
    held = float(max(ends) * stream.time_base) if ends and stream.time_base else promised
    if held < 0.9 * promised - 0.5:
        raise DataError(
            f"{path}: cut short, holds {held:.1f} s of the {promised:.1f} s its header says; "
            f"{REPAIR}"
        )


def _seconds(clock: str) -> float:
    """Matroska's "HH:MM:SS.fraction" in seconds; 0 when there is none."""
    parts = clock.split(":")
    try:
        return sum(float(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=True))
    except ValueError:
        return 0.0


def _has_leading(packets: list[av.Packet]) -> bool:
    """Whether a picture shown before a keyframe is coded after it (open GOP): decord miscounts
    after a seek.
    """
    key = None
    for packet in packets:
        if packet.is_keyframe:
            key = packet.pts
        elif key is None or (packet.pts is not None and packet.pts < key):
            return True
    return False


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
