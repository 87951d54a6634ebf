"""The frames that go into a packed member: 8-bit 4:2:0 planes, untouched where the source has
such.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import Interpolation

from data.errors import REPAIR, DataError
from data.io.color import ColorSpace
from data.io.images import ImageReader
from data.io.probe import Probe, probe
from data.io.raw import RawReader
from data.io.upright import Upright
from data.io.video import PLANAR, STRICT
from data.sequences import Sequence

PORTION = 8  # frames read at once from raw video and pictures
Picture = tuple[np.ndarray, np.ndarray, np.ndarray]  # Y, U, V, uint8
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PackSource:
    """Some consecutive frames of a source, as they are packed.

    Attributes:
        sequence: which frames of what.
        opened: what reads them.
        fps: frames per second, the average where the rate varies.
        color_space: matrix and range of the planes.
        width, height: even; of an odd source, the last column or line is left out.
        pixel_format: of the source.
    """

    sequence: Sequence
    opened: Probe | RawReader | ImageReader
    fps: Fraction
    color_space: ColorSpace
    width: int
    height: int
    pixel_format: str

    @property
    def frame_count(self) -> int:
        """How many frames there are."""
        assert self.sequence.frames is not None  # members of a shard have so many
        return self.sequence.frames

    @property
    def untouched(self) -> bool:
        """Whether the source's own samples are packed."""
        whole = self.opened.width - self.width < 2 and self.opened.height - self.height < 2
        return whole and self.pixel_format in PLANAR

    def frames(self) -> Iterator[Picture]:
        """Planes of each frame, Y `(height, width)`, U and V of half that; decoded anew at each
        call.

        Raises:
            DataError: a frame is missing or damaged, or the size changes.
        """
        for frame in self._decoded():
            if (frame.width, frame.height) != (self.opened.width, self.opened.height):
                what = f"{frame.width}x{frame.height} amid {self.opened.width}x{self.opened.height}"
                raise DataError(
                    f"{self.sequence.path}: the size of frames changes, {what}; cut it there"
                )
            yield self._planes(frame if self.untouched else self._converted(frame))

    def _decoded(self) -> Iterator[av.VideoFrame]:
        if isinstance(self.opened, Probe):
            return _video_frames(self.opened, self.sequence.first, self.frame_count)
        return self._read(self.opened)

    def _read(self, opened: RawReader | ImageReader) -> Iterator[av.VideoFrame]:
        end = self.sequence.first + self.frame_count
        for first in range(self.sequence.first, end, PORTION):
            numbers = range(first, min(first + PORTION, end))
            if isinstance(opened, ImageReader):
                for picture in opened.read(numbers).permute(0, 2, 3, 1).numpy():
                    yield av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            else:
                for planes in zip(
                    *(plane.numpy() for plane in opened.planes(numbers)), strict=True
                ):
                    yield _frame(planes, self.pixel_format)

    def _converted(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Scaled or of another format; matrix and range stay, and RGB gets those of
        `color_space`.
        """
        whole = self.opened.width - self.width < 2 and self.opened.height - self.height < 2
        size = (
            {"width": frame.width, "height": frame.height}
            if whole
            else {"width": self.width, "height": self.height}
        )
        matrix = "ITU709" if self.color_space.matrix == "bt709" else "ITU601"
        extent = "JPEG" if self.color_space.full_range else "MPEG"
        rgb = frame.format.is_rgb
        return frame.reformat(
            **size,
            format="yuv420p",
            src_colorspace=None if rgb else matrix,
            dst_colorspace=matrix,
            src_color_range="JPEG" if rgb else extent,
            dst_color_range=extent,
            interpolation=Interpolation.BICUBIC,
        )

    def _planes(self, frame: av.VideoFrame) -> Picture:
        """The planes without padding and without an odd line or column."""
        planes = []
        for plane, part in zip(frame.planes, (1, 2, 2), strict=True):
            lines = np.frombuffer(memoryview(plane), np.uint8)[
                : plane.height * plane.line_size
            ].reshape(plane.height, plane.line_size)
            planes.append(lines[: self.height // part, : self.width // part])
        y, u, v = planes
        return y, u, v


def pack_source(sequence: Sequence, short_side: int | None = None) -> PackSource:
    """Open frames `first` .. `first + frames - 1` of a source for packing; `short_side` scales
    larger pictures down.

    Raises:
        DataError: the source cannot be opened or does not hold these frames.
    """
    opened: Probe | RawReader | ImageReader
    if sequence.is_raw:
        opened = raw = RawReader(sequence)
        fps = raw.rate
        pixel_format = raw.pixel_format
    elif sequence.path.is_dir():
        opened = images = ImageReader(sequence)
        fps = images.rate
        pixel_format = "rgb24"
    else:
        opened = video = probe(sequence.path)
        fps = video.fps
        pixel_format = video.pixel_format
    last = sequence.first + (sequence.frames or 0) - 1
    if last >= opened.frames:
        raise DataError(
            f"{sequence.path}: frames {sequence.first}..{last} asked for, it holds "
            f"{opened.frames}; index again"
        )
    size = _scaled(opened.width, opened.height, short_side)
    if min(size) < 16:
        raise DataError(
            f"{sequence.path}: {opened.width}x{opened.height} is too small to pack; 16x16 is the "
            "least"
        )
    return PackSource(sequence, opened, fps, opened.color_space, *size, pixel_format)


def _scaled(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    shorter = min(width, height)
    if short_side is None or shorter <= short_side + 1:
        return width - width % 2, height - height % 2
    width, height = (2 * round(side * short_side / shorter / 2) for side in (width, height))
    return width, height


def _video_frames(found: Probe, first: int, frames: int) -> Iterator[av.VideoFrame]:
    """Exactly these frames, found by their times; decoded from the file's start where seeking does
    not find the first.
    """
    given = 0
    for seek in (True, False) if found.pts is not None else (False,):
        try:
            for frame in _wanted(found, first=first, frames=frames, seek=seek):
                yield frame
                given += 1
        except (FFmpegError, OSError) as error:
            if given or not seek:
                raise DataError(
                    f"{found.path}: cannot be decoded near frame {first + given} ({error}); "
                    f"{REPAIR}"
                ) from error
        if given == frames:
            return
        if given:
            break
    raise DataError(
        f"{found.path}: frame {first + given} is missing or damaged; index again, or {REPAIR}"
    )


def _wanted(found: Probe, first: int, frames: int, seek: bool) -> Iterator[av.VideoFrame]:
    """These frames up to the first that is missing or damaged."""
    wanted = (
        range(first, first + frames)
        if found.pts is None
        else found.pts[first : first + frames].tolist()
    )
    with found.opened() as container:
        stream = container.streams.video[found.stream]
        upright = Upright()
        stream.codec_context.thread_count = 1
        stream.codec_context.options = STRICT
        before = found.key_pts[found.key_pts <= wanted[0] if seek else slice(0)]
        if len(before):
            container.seek(int(before[-1]), stream=stream)
        given = 0
        for count, frame in enumerate(container.decode(stream)):
            place = count if found.pts is None else frame.pts
            if place is None or place < wanted[given]:
                continue
            if place != wanted[given] or frame.is_corrupt:
                return
            yield upright(frame)
            given += 1
            if given == frames:
                return


def _frame(planes: tuple[np.ndarray, ...], pixel_format: str) -> av.VideoFrame:
    """A frame of ffmpeg's out of Y, U, V."""
    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], pixel_format)
    for plane, samples in zip(frame.planes, planes, strict=True):
        lines = np.zeros((plane.height, plane.line_size), np.uint8)
        octets = np.ascontiguousarray(samples).view(np.uint8).reshape(plane.height, -1)
        lines[:, : octets.shape[1]] = octets
        plane.update(lines.tobytes())
    return frame
