"""Probe: what a video file holds, found by reading its packets and decoding one frame."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition

from data.errors import INTERLACED, REPAIR, DataError, check_file, remark
from data.io.color import ColorSpace, color_space_of
from data.io.container import PLAYLISTS, decoder_errors, opened, read_failure
from data.io.upright import TURNS, UPRIGHT, turn_of
from data.sequences import Sequence, Timing

UNTIMED = ("avi",)  # says no times of B-frames; what is made up for them is out of order
TRIED_PACKETS = 64  # for a first frame
PROGRESSIVE = 1  # ffmpeg's AVFieldOrder; 0 is unknown
SEEKABLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")


@dataclass(frozen=True, eq=False)
class Probe:
    """A video file's video: of several tracks one, see `choose_stream`.

    Attributes:
        path: the file.
        frames: pictures that the file holds and shows (an edit list may hide some).
        fps: frames per second, the average.
        width, height: pixels of the upright picture.
        pixel_format: ffmpeg's name.
        color_space: matrix and range of its planes.
        pts: int64 `(frames,)`, sorted times in the stream's units; None when the file does not say
            them all.
        key_pts: int64, sorted times of the keyframes.
        codec: ffmpeg's name, "h264" for instance.
        plain: decord finds frames of such a file by number: mp4 or mkv, all packets timed, none
            hidden, no open GOP, one video track, upright.
        byte_range: offset and length of the video in a shard, in bytes; None when the file is the
            video.
        stream: its number among the file's video streams.
        remarks: kind and text of warnings about it.
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
    stream: int = 0
    remarks: tuple[tuple[str, str], ...] = ()

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
    with decoder_errors() as messages:
        try:
            with opened(path, part) as container:
                if container.format.name in PLAYLISTS:
                    raise DataError(
                        f"{path}: a playlist ({container.format.name}), which names other files; "
                        "give those, or join them (ffmpeg -i IN -c copy OUT.mkv)"
                    )
                found = replace(_read_packets(path, container), byte_range=part)
        except (FFmpegError, OSError, MemoryError) as error:
            raise read_failure(path, "no video that ffmpeg can open", error, messages) from error
        except ValueError as error:
            raise DataError(str(error)) from error
    for kind, text in found.remarks:
        remark(path, kind, text)
    return found


class Packet(NamedTuple):
    """What is kept of a packet."""

    pts: int | None
    dts: int | None
    duration: int
    is_keyframe: bool
    is_corrupt: bool
    is_discard: bool


def _read_packets(path: Path, container: av.container.InputContainer) -> Probe:
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None
    ]
    if not streams:
        raise DataError(f"{path}: holds no video stream (audio only?); give a file with pictures")
    packets, first_frames = _demux(container, streams)
    stream = choose_stream(streams, [len(packets[stream.index]) for stream in streams])
    return _describe(path, container, stream, packets[stream.index], first_frames.get(stream.index))


def choose_stream(streams: list[av.VideoStream], packets: list[int]) -> av.VideoStream:
    """The video among a file's streams: no still picture beside a moving one, the default track,
    the first.

    Args:
        streams: without attached pictures.
        packets: of each.
    """
    order = [
        (count < 2, not stream.disposition & Disposition.default, number)
        for number, (stream, count) in enumerate(zip(streams, packets, strict=True))
    ]
    return streams[min(order)[-1]]


def _demux(
    container: av.container.InputContainer, streams: list[av.VideoStream]
) -> tuple[dict[int, list[Packet]], dict[int, av.VideoFrame]]:
    """Every packet of each stream, and its first frame, where that can be decoded."""
    packets: dict[int, list[Packet]] = {stream.index: [] for stream in streams}
    first_frames: dict[int, av.VideoFrame] = {}
    trying = set(packets)
    for stream in streams:
        stream.codec_context.thread_count = 1
    for packet in container.demux(*streams):
        index = packet.stream_index
        if packet.size:
            packets[index].append(
                Packet(
                    packet.pts,
                    dts=packet.dts,
                    duration=packet.duration or 0,
                    is_keyframe=packet.is_keyframe,
                    is_corrupt=packet.is_corrupt,
                    is_discard=packet.is_discard,
                )
            )
        if index in trying:
            try:
                frames = packet.decode()
            except FFmpegError:
                frames = []
            if frames and isinstance(frames[0], av.VideoFrame):
                first_frames[index] = frames[0]
            if frames or len(packets[index]) >= TRIED_PACKETS:
                trying.remove(index)
    return packets, first_frames


def _describe(
    path: Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    packets: list[Packet],
    frame: av.VideoFrame | None,
) -> Probe:
    context = stream.codec_context
    shown = [packet for packet in packets if not packet.is_discard]
    _check_whole(path, stream, shown)
    fps = stream.average_rate or stream.guessed_rate or stream.base_rate
    if not fps:
        raise DataError(
            f"{path}: says no frame rate; remux it with one (ffmpeg -r RATE -i IN -c copy OUT.mkv)"
        )
    times = [packet.pts for packet in shown]
    in_order = _in_order(packets)
    timed = (
        None not in times
        and len(set(times)) == len(times)
        and in_order
        and container.format.name not in UNTIMED
    )
    videos = container.streams.video
    turn = None if frame is None else turn_of(frame)
    plain = (
        timed
        and len(shown) == len(packets)
        and container.format.name in SEEKABLE
        and not _has_leading(packets)
        and len(videos) == 1
        and not TURNS.get(turn or UPRIGHT)
    )
    colorspace = int(getattr(context, "colorspace", 2))
    pixel_format = context.pix_fmt
    assert pixel_format is not None  # `_check_whole` refuses such a file
    width, height = context.width, context.height
    if turn is not None and not turn[0]:
        width, height = height, width
    pts = np.sort(np.array(times, dtype=np.int64)) if timed else None
    return Probe(
        path=path,
        frames=len(shown),
        fps=Fraction(fps),
        width=width,
        height=height,
        pixel_format=pixel_format,
        color_space=color_space_of(
            str(path),
            pixel_format=pixel_format,
            matrix=colorspace,
            color_range=int(context.color_range),
            height=context.height,
        ),
        pts=pts,
        key_pts=np.sort(
            np.array(
                [p.pts for p in packets if p.is_keyframe and p.pts is not None], dtype=np.int64
            )
        ),
        codec=context.name,
        plain=plain,
        stream=list(videos).index(stream),
        remarks=tuple(_remarks(container, stream, frame, pts, in_order)),
    )


def _remarks(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    frame: av.VideoFrame | None,
    pts: np.ndarray | None,
    in_order: bool,
) -> Iterator[tuple[str, str]]:
    """Kind and text of what is read otherwise than one might expect."""
    context = stream.codec_context
    name = context.pix_fmt or ""
    depth = max(component.bits for component in av.VideoFormat(name).components)
    if context.field_order > PROGRESSIVE or (frame is not None and frame.interlaced_frame):
        yield "interlaced", INTERLACED
    aspect = stream.sample_aspect_ratio
    if aspect and aspect != 1:
        yield (
            "aspect",
            f"its pixels are {aspect.numerator}:{aspect.denominator}, not square; read as stored, "
            f"{context.width}x{context.height}",
        )
    if depth > 8:
        yield "depth", f"{depth} bits a sample ({name}), rounded to 8"
    if _has_alpha(name) or stream.metadata.get("alpha_mode") == "1":
        yield "alpha", f"its transparency ({name}) is dropped"
    if frame is not None and (turn := turn_of(frame)) is not None and turn not in TURNS:
        yield "turn", "to be shown turned by a part of a quarter turn; read as stored"
    if not in_order:
        yield (
            "times",
            "its time stamps start again (several recordings in one file?); frames are taken in "
            "their order, and each read decodes from the file's beginning; divide it where they "
            "start",
        )
    elif pts is not None and _varies(pts):
        yield (
            "rate",
            f"its frame rate varies; every frame is kept, {float(stream.average_rate or 0):.4g} a "
            "second, at regular times",
        )
    others = [video for video in container.streams.video if video is not stream]
    others = [video for video in others if not video.disposition & Disposition.attached_pic]
    if others:
        yield (
            "tracks",
            f"holds {len(others) + 1} video tracks; the {context.width}x{context.height} one "
            f"(stream {stream.index}) is read (ffmpeg -i IN -map 0:NUMBER -c copy OUT takes "
            "another)",
        )


def _has_alpha(pixel_format: str) -> bool:
    return any(component.is_alpha for component in av.VideoFormat(pixel_format).components)


def _varies(pts: np.ndarray) -> bool:
    """Whether frames come at other than regular times, beyond the rounding of a clock."""
    steps = np.diff(pts)
    return len(steps) > 0 and bool(
        steps.max() - steps.min() > 1 and steps.max() > 1.5 * steps.min()
    )


def _in_order(packets: list[Packet]) -> bool:
    """Whether times of decoding never go back, and those of keyframes pass all before them."""
    decoded = [packet.dts for packet in packets if packet.dts is not None]
    if any(after < before for before, after in zip(decoded, decoded[1:], strict=False)):
        return False
    latest: int | None = None
    for packet in packets:
        if packet.pts is None:
            continue
        if packet.is_keyframe and latest is not None and packet.pts < latest:
            return False
        latest = packet.pts if latest is None else max(latest, packet.pts)
    return True


def _check_whole(path: Path, stream: av.VideoStream, packets: list[Packet]) -> None:
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
    ends = [packet.pts + packet.duration for packet in packets if packet.pts is not None]
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


def _has_leading(packets: list[Packet]) -> bool:
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
