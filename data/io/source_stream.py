"""SourceStream: a video read frame by frame, exactly, for compression; memory does not grow."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
from av.error import FFmpegError
from torch import Tensor

from data.errors import DataError
from data.io.color import ColorSpace, color_space_of, planes_to_rgb
from data.io.images import ImageReader
from data.io.probe import probe
from data.io.raw import RawReader
from data.io.source_clip import decoded_frames
from data.io.video import frames_to_planes, frames_to_rgb
from data.sequences import Sequence

PIPE = "-"
FROM_PIPE = "a Y4M, Matroska or MPEG-TS stream from a pipe"


@dataclass(frozen=True, eq=False)
class SourceStream:
    """A source whose frames come one by one, in the order of showing.

    Attributes:
        name: the file's stem, or the folder's name; `-` of a pipe.
        fps: frames per second, exact.
        width, height: pixels.
        frames: how many will come, as far as the source says; None where it does not.
        color_space: matrix and range of the source's planes.
    """

    name: str
    fps: Fraction
    width: int
    height: int
    frames: int | None
    color_space: ColorSpace
    _read: Callable[[], Iterator[Tensor]]

    def __iter__(self) -> Iterator[Tensor]:
        """uint8 `(3, H, W)` RGB, the same frames as `read_source` gives.

        Raises:
            DataError: a frame is damaged, or of another size.
        """
        return self._read()


def open_source(source: Path | str, start: int = 0, count: int | None = None) -> SourceStream:
    """Frames `start` .. `start + count - 1` of a video, raw YUV, Y4M, a folder of pictures or, for
    `-`, a pipe.

    Args:
        source: a file or folder, or `-`.
        start: from 0.
        count: None is all.

    Raises:
        DataError: the source is missing, empty, cut short, audio only, no video, damaged or of
            unknown format; `start` is behind its end.
    """
    if start < 0 or (count is not None and count < 1):
        raise DataError(f"{source}: frames from {start} on, {count} of them; take 1 or more")
    stop = None if count is None else start + count
    if str(source) == PIPE:
        return _from_pipe(start, stop)
    sequence = Sequence(Path(source))
    path = sequence.path
    if sequence.is_raw:
        return _from_reader(RawReader(sequence), start, stop)
    if path.is_dir():
        return _from_reader(ImageReader(sequence), start, stop)
    found = probe(path)
    _check_start(path, start, found.frames)

    def frames() -> Iterator[Tensor]:
        decoded = islice(decoded_frames(found), start, stop)
        return (_to_rgb(frame, found.color_space) for frame in decoded)

    return SourceStream(
        name=path.stem,
        fps=found.fps,
        width=found.width,
        height=found.height,
        frames=len(range(found.frames)[start:stop]),
        color_space=found.color_space,
        _read=frames,
    )


def _from_reader(reader: RawReader | ImageReader, start: int, stop: int | None) -> SourceStream:
    numbers = range(reader.frames)[start:stop]
    _check_start(reader.path, start, reader.frames)
    return SourceStream(
        name=reader.path.name if reader.path.is_dir() else reader.path.stem,
        fps=reader.rate,
        width=reader.width,
        height=reader.height,
        frames=len(numbers),
        color_space=reader.color_space,
        _read=lambda: (reader.read([number])[0] for number in numbers),
    )


def _from_pipe(start: int, stop: int | None) -> SourceStream:
    """Standard input; its frames can be read once."""
    try:
        options = {"protocol_whitelist": "pipe"}
        container = av.open(sys.stdin.buffer, mode="r", options=options)
        stream = container.streams.video[0]
    except (FFmpegError, OSError, IndexError) as error:
        raise DataError(
            f"-: no video that can be read from a pipe ({error}); give {FROM_PIPE}"
        ) from error
    context = stream.codec_context
    context.thread_count = 1
    fps = stream.average_rate or stream.guessed_rate
    if not fps or not context.width or not context.pix_fmt:
        raise DataError(f"-: says no size, format or frame rate; give {FROM_PIPE}")
    try:
        color_space = color_space_of(
            "-",
            pixel_format=context.pix_fmt,
            matrix=int(getattr(context, "colorspace", 2)),
            color_range=int(context.color_range),
            height=context.height,
        )
    except ValueError as error:
        raise DataError(str(error)) from error

    def frames() -> Iterator[Tensor]:
        number = 0
        try:
            for number, frame in enumerate(islice(container.decode(stream), start, stop)):
                if (frame.width, frame.height) != (context.width, context.height):
                    raise DataError(f"-: frame {number} changes the size; cut there")
                yield _to_rgb(frame, color_space)
        except (FFmpegError, OSError) as error:
            raise DataError(f"-: cannot be decoded near frame {number} ({error})") from error

    return SourceStream(
        name=PIPE,
        fps=Fraction(fps),
        width=context.width,
        height=context.height,
        frames=None,
        color_space=color_space,
        _read=frames,
    )


def _check_start(path: Path, start: int, frames: int) -> None:
    if start >= frames:
        raise DataError(f"{path}: no frame from {start} on, it holds {frames}; start earlier")


def _to_rgb(frame: av.VideoFrame, color_space: ColorSpace) -> Tensor:
    planes = frames_to_planes([frame])
    if planes is None:
        return frames_to_rgb([frame], color_space)[0]
    return planes_to_rgb(*planes, color_space)[0]
