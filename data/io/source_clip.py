"""SourceClip: a whole clip, read exactly, for compression and evaluation."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import torch
from av.error import FFmpegError
from torch import Tensor

from data.errors import REPAIR, DataError
from data.io.color import ColorSpace, planes_to_rgb
from data.io.container import Messages, decoder_errors, read_failure
from data.io.images import ImageReader
from data.io.probe import Probe, probe
from data.io.raw import RawReader
from data.io.upright import Upright
from data.io.video import (
    BITS,
    PLANAR,
    PLANAR_10,
    STRICT,
    Planes,
    as_bytes,
    frames_to_planes,
    frames_to_rgb,
)
from data.sequences import Sequence

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SourceClip:
    """A clip as its source holds it.

    Attributes:
        name: the file's stem, or the folder's name.
        path: the file or folder.
        fps: frames per second, exact.
        width, height: pixels.
        frames: frames read, `T`.
        planes: the source's own 4:2:0 planes, uint8 Y `(T, H, W)`, U and V `(T, ceil(H/2),
            ceil(W/2))`; None when the source is of another format.
        rgb: uint8 `(T, 3, H, W)`, from the planes by `planes_to_rgb` where there are planes.
        color_space: matrix and range of the planes.
        bits: of the source's own samples where there are planes: 8, or 10 that were rounded to 8.
    """

    name: str
    path: Path
    fps: Fraction
    width: int
    height: int
    frames: int
    planes: Planes | None
    rgb: Tensor
    color_space: ColorSpace
    bits: int = 8


def read_source(
    source: Path | str | Sequence, max_frames: int | None = None, start: int = 0
) -> SourceClip:
    """Read frames `start` .. `start + max_frames - 1` of a video, raw YUV, Y4M or a folder of
    pictures, exactly.

    Videos are decoded from their first frame with PyAV. Fewer frames than `max_frames` come back
    when the source ends before.

    Args:
        source: a file or folder, or a sequence, of whose frames `start` counts; no member of a
            shard.
        max_frames: None is all.
        start: from 0.

    Raises:
        DataError: the source is missing, empty, cut short, audio only, no video, damaged or of
            unknown format; `start` is behind its end, or a sequence's; `max_frames` is below 1.
    """
    sequence = source if isinstance(source, Sequence) else Sequence(Path(source))
    path = sequence.path
    if start < 0 or (max_frames is not None and max_frames < 1):
        raise DataError(
            f"{path}: start={start}, max_frames={max_frames}; start at 0 or more and take 1 frame "
            "or more"
        )
    if sequence.byte_range is not None:
        raise DataError(f"{path}: a shard; whole clips are read from files of their own")
    room = None if sequence.frames is None else max(0, sequence.frames - start)
    counts = [count for count in (max_frames, room) if count is not None]
    first = sequence.first + start
    count = min(counts, default=None)
    clip = _read(sequence, first, count)
    if room is not None and count is not None and clip.frames < count:
        what = f"{clip.frames} frames from frame {first} on, {count} expected"
        raise DataError(
            f"{path}: {what}; correct the number of frames where the sequence is listed, or "
            f"{REPAIR}"
        )
    return clip


def _read(sequence: Sequence, first: int, count: int | None) -> SourceClip:
    if sequence.is_raw:
        return _read_raw(RawReader(sequence), first, count)
    if sequence.path.is_dir():
        return _read_pictures(ImageReader(sequence), first, count)
    return _read_video(probe(sequence.path), first, count)


def _read_raw(reader: RawReader, first: int, count: int | None) -> SourceClip:
    """Of 4:2:0 with the file's planes."""
    numbers = _numbers(reader, first, count)
    if reader.pixel_format not in (*PLANAR, PLANAR_10):
        return _clip(
            reader.path,
            fps=reader.rate,
            planes=None,
            rgb=reader.read(numbers),
            color_space=reader.color_space,
        )
    y, u, v = (torch.from_numpy(as_bytes(plane.numpy())) for plane in reader.planes(numbers))
    rgb = planes_to_rgb(y, u=u, v=v, color_space=reader.color_space)
    bits = BITS[reader.pixel_format]
    return _clip(
        reader.path,
        fps=reader.rate,
        planes=(y, u, v),
        rgb=rgb,
        color_space=reader.color_space,
        bits=bits,
    )


def _read_pictures(reader: ImageReader, first: int, count: int | None) -> SourceClip:
    return _clip(
        reader.path,
        fps=reader.rate,
        planes=None,
        rgb=reader.read(_numbers(reader, first, count)),
        color_space=reader.color_space,
    )


def _read_video(found: Probe, first: int, count: int | None) -> SourceClip:
    frames = list(islice(decoded_frames(found), first, None if count is None else first + count))
    if not frames:
        raise DataError(
            f"{found.path}: no frame from start={first} on, it holds {found.frames}; start "
            f"earlier, or {REPAIR}"
        )
    if count is None and first + len(frames) != found.frames:
        log.warning(
            "%s: %d frames in the file, %d could be decoded",
            found.path,
            found.frames,
            first + len(frames),
        )
    planes = frames_to_planes(frames)
    rgb = (
        frames_to_rgb(frames, found.color_space)
        if planes is None
        else planes_to_rgb(*planes, found.color_space)
    )
    bits = 8 if planes is None else max(BITS[frame.format.name] for frame in frames)
    return _clip(
        found.path, fps=found.fps, planes=planes, rgb=rgb, color_space=found.color_space, bits=bits
    )


def _numbers(reader: RawReader | ImageReader, first: int, count: int | None) -> range:
    numbers = range(reader.frames)[first : None if count is None else first + count]
    if not numbers:
        raise DataError(
            f"{reader.path}: no frame from start={first} on, it holds {reader.frames}; start "
            "earlier"
        )
    return numbers


def _clip(
    path: Path,
    fps: Fraction,
    planes: Planes | None,
    rgb: Tensor,
    color_space: ColorSpace,
    bits: int = 8,
) -> SourceClip:
    height, width = rgb.shape[-2:]
    name = path.name if path.is_dir() else path.stem
    return SourceClip(
        name,
        path=path,
        fps=fps,
        width=width,
        height=height,
        frames=len(rgb),
        planes=planes,
        rgb=rgb,
        color_space=color_space,
        bits=bits,
    )


def decoded_frames(found: Probe) -> Iterator[av.VideoFrame]:
    """Every frame in the order of showing; DataError at the first that is damaged or of another
    size.
    """
    number = 0
    size = None
    upright = Upright()
    messages: Messages = ()
    try:
        with decoder_errors() as errors, found.opened() as container:
            stream = container.streams.video[found.stream]
            context = stream.codec_context
            context.thread_count = 1
            context.options = STRICT
            messages = errors
            del errors[:]  # of opening: about other streams, or repeated by decoding
            for number, frame in enumerate(container.decode(stream)):
                size = size or (frame.width, frame.height)
                if frame.is_corrupt or errors:
                    raise read_failure(found.path, f"damaged near frame {number}", None, errors)
                if (frame.width, frame.height) != size:
                    raise DataError(
                        f"{found.path}: frame {number} changes the size to "
                        f"{frame.width}x{frame.height}; cut there"
                    )
                yield upright(frame)
    except (FFmpegError, OSError, MemoryError) as error:
        raise read_failure(
            found.path, f"cannot be decoded near frame {number}", error, messages
        ) from error
