"""SourceClip: a whole clip, read exactly, for compression and evaluation."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
from av.error import FFmpegError
from torch import Tensor

from data.colour import Colour, planes_to_rgb
from data.decode import Planes, frames_to_planes, frames_to_rgb
from data.errors import DataError
from data.probe import REPAIR, Probe, probe

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SourceClip:
    """A clip as its file holds it.

    Attributes:
        name: the file's stem.
        path: the file.
        fps: frames per second, exact.
        width, height: pixels.
        frames: frames read, `T`.
        planes: the source's own 8-bit 4:2:0 planes, uint8 Y `(T, H, W)`, U and V `(T, ceil(H/2), ceil(W/2))`;
            None when the source is of another format.
        rgb: uint8 `(T, 3, H, W)`, from the planes by `planes_to_rgb`, or by the decoder when there are none.
        colour: matrix and range of the planes.
    """

    name: str
    path: Path
    fps: Fraction
    width: int
    height: int
    frames: int
    planes: Planes | None
    rgb: Tensor
    colour: Colour


def read_source(path: Path | str, max_frames: int | None = None, start: int = 0) -> SourceClip:
    """Decode a file from its first frame with PyAV and keep frames `start` .. `start + max_frames - 1`.

    Fewer frames than `max_frames` come back when the file ends before.

    Raises:
        DataError: the file is missing, empty, cut short, audio only, no video or damaged; `start` is behind its end;
            `max_frames` is below 1.
    """
    if start < 0 or (max_frames is not None and max_frames < 1):
        raise DataError(f"{path}: start={start}, max_frames={max_frames}; start at 0 or more and take 1 frame or more")
    found = probe(path)
    stop = None if max_frames is None else start + max_frames
    frames = list(islice(_decoded(found), start, stop))
    if not frames:
        raise DataError(f"{found.path}: no frame from start={start} on, it holds {found.frames}; start earlier, or {REPAIR}")
    if stop is None and start + len(frames) != found.frames:
        log.warning("%s: %d frames in the file, %d could be decoded", found.path, found.frames, start + len(frames))
    planes = frames_to_planes(frames)
    rgb = frames_to_rgb(frames, found.colour) if planes is None else planes_to_rgb(*planes, found.colour)
    height, width = rgb.shape[-2:]
    return SourceClip(found.path.stem, found.path, found.fps, width, height, len(frames), planes, rgb, found.colour)


def _decoded(found: Probe) -> Iterator[av.VideoFrame]:
    """Every frame in the order of showing; DataError at the first that is damaged or of another size."""
    number, size = 0, None
    try:
        with av.open(str(found.path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                size = size or (frame.width, frame.height)
                if frame.is_corrupt:
                    raise DataError(f"{found.path}: frame {number} is damaged; {REPAIR}")
                if (frame.width, frame.height) != size:
                    raise DataError(f"{found.path}: frame {number} changes the size to {frame.width}x{frame.height}; cut there")
                yield frame
    except (FFmpegError, OSError) as error:
        raise DataError(f"{found.path}: cannot be decoded near frame {number} ({error}); {REPAIR}") from error
