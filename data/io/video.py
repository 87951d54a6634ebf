"""Video files: readers through decord and PyAV, and decoded frames as planes and RGB."""

import logging
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import av
import numpy as np
import torch
from av.error import FFmpegError
from torch import Tensor

from data.errors import REPAIR, DataError, check_frame_numbers
from data.io.color import SAMPLES, ColorSpace, Window, frame_to_rgb
from data.io.container import decoder_errors, file_url, out_of_memory, read_failure
from data.io.probe import Probe
from data.io.upright import Upright

if TYPE_CHECKING:
    import decord

T = TypeVar("T")
PATIENCE = 60.0  # seconds for one read before decord counts as hanging
STRICT = {
    "err_detect": "crccheck+bitstream+buffer+careful+explode"
}  # of a decoder: raise, conceal nothing
PLANAR = ("yuv420p", "yuvj420p")
PLANAR_10 = "yuv420p10le"
BITS = {
    **dict.fromkeys((*PLANAR, "yuv444p", "yuvj444p"), 8),
    **dict.fromkeys((PLANAR_10, "yuv444p10le"), 10),
}
Planes = tuple[Tensor, Tensor, Tensor]
log = logging.getLogger(__name__)


class DecordReader:
    """Reads with decord, one thread; RGB by swscale with the tagged matrix, BT.601 when there is no
    tag.
    """

    def __init__(self, found: Probe, video: "decord.VideoReader") -> None:
        self.path = found.path
        self.frames = found.frames
        self.fps = float(found.fps)
        self.width = found.width
        self.height = found.height
        self.matrix = found.color_space.matrix if found.color_space.origin == "tagged" else "bt601"
        self._video = video

    def read(self, indices: Sequence[int], window: Window | None = None) -> Tensor:
        """See `Reader`; fails after a minute where decord would wait forever."""
        wanted = check_frame_numbers(indices, self.frames, self.path)
        batch = within(
            PATIENCE, lambda: self._video.get_batch(wanted).asnumpy(), f"{self.path}: decord"
        )
        if batch.shape[1:] != (self.height, self.width, 3):
            size = f"{batch.shape[2]}x{batch.shape[1]}"
            raise DataError(
                f"{self.path}: decord gives {size}, {self.width}x{self.height} expected; use "
                "data.reader=pyav"
            )
        top, left, height, width = window or (0, 0, self.height, self.width)
        return torch.from_numpy(batch[:, top : top + height, left : left + width]).permute(
            0, 3, 1, 2
        )


class PyavReader:
    """Reads with PyAV, one thread; the file is open only during a read, so nothing is kept across a
    fork.
    """

    def __init__(self, found: Probe) -> None:
        self.path = found.path
        self.frames = found.frames
        self.fps = float(found.fps)
        self.width = found.width
        self.height = found.height
        self.matrix = found.color_space.matrix
        self._probe = found

    def read(self, indices: Sequence[int], window: Window | None = None) -> Tensor:
        """See `Reader`; seeks to the keyframe before the first frame, or decodes from the start if
        that fails.
        """
        wanted = check_frame_numbers(indices, self.frames, self.path)
        found = self._decode(set(wanted), seek=True)
        if found is None:
            found = self._decode(set(wanted), seek=False)
        if found is None:
            raise DataError(f"{self.path}: a frame of {wanted} cannot be decoded; {REPAIR}")
        return frames_to_rgb([found[index] for index in wanted], self._probe.color_space, window)

    def _decode(self, wanted: set[int], seek: bool) -> dict[int, av.VideoFrame] | None:
        """The frames by number, or None when one is missing or damaged."""
        pts = self._probe.pts
        keys = self._probe.key_pts
        numbers = None if pts is None else {int(pts[index]): index for index in wanted}
        found: dict[int, av.VideoFrame] = {}
        upright = Upright()
        try:
            with decoder_errors() as errors, self._probe.opened() as container:
                stream = container.streams.video[self._probe.stream]
                stream.codec_context.thread_count = 1
                stream.codec_context.options = STRICT
                before = keys[:0] if numbers is None else keys[keys <= min(numbers)]
                if seek and len(before):
                    container.seek(int(before[-1]), stream=stream)
                del errors[:]  # of opening: about other streams, or repeated by decoding
                for count, frame in enumerate(_frames(container, stream, numbers)):
                    if errors and (
                        self._probe.plain or not seek
                    ):  # behind a seek into an open GOP they are usual
                        log.debug("%s: %s", self.path, errors[0][2].strip())
                        return None
                    index: int | None = count
                    if numbers is not None:
                        index = None if frame.pts is None else numbers.get(frame.pts)
                    if frame.is_corrupt and not (
                        len(before) and frame.pts is not None and frame.pts < before[-1]
                    ):
                        return None  # what follows it may be predicted from it
                    if index is None or index not in wanted:
                        continue
                    frame = upright(frame)
                    if (frame.width, frame.height) != (self.width, self.height):
                        size = f"{frame.width}x{frame.height}"
                        raise DataError(
                            f"{self.path}: changes its size to {size}, from "
                            f"{self.width}x{self.height}; cut there"
                        )
                    found[index] = frame
                    if len(found) == len(wanted):
                        return found
        except (FFmpegError, OSError, MemoryError) as error:
            if out_of_memory(error):
                raise read_failure(self.path, "cannot be decoded", error) from error
            log.debug("%s: %s", self.path, error)
        return None


def _frames(
    container: av.container.InputContainer, stream: av.VideoStream, wanted: Container[int] | None
) -> Iterator[av.VideoFrame]:
    """Decoded frames; of H.264, only those at times `wanted` and those that others are predicted
    from.

    H.264 says of each picture whether any other refers to it (nal_ref_idc, ITU-T H.264 7.4.1); HEVC
    says it only within a temporal layer, so there all are decoded.
    """
    context = stream.codec_context
    for packet in container.demux(stream):
        if wanted is not None and context.name == "h264":
            context.skip_frame = (
                "DEFAULT" if packet.pts is None or packet.pts in wanted else "NONREF"
            )
        yield from packet.decode()


def within(seconds: float, work: Callable[[], T], what: str) -> T:
    """`work()` in a thread of its own; DataError when it raises or takes longer than `seconds`."""
    answer: list[T] = []
    failure: list[BaseException] = []

    def attempt() -> None:
        try:
            answer.append(work())
        except BaseException as error:  # decord raises many kinds, all carried to the caller
            failure.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise DataError(
            f"{what} did not answer in {seconds:g} s; use data.reader=pyav, or {REPAIR}"
        )
    if failure:
        said = str(failure[0]).partition("\n")[0] or type(failure[0]).__name__
        raise DataError(f"{what} failed ({said}); {REPAIR}") from failure[0]
    return answer[0]


def open_decord(found: Probe) -> DecordReader | None:
    """A decord reader, or None when decord cannot open the file, or counts other frames than it
    holds.
    """
    import decord

    try:
        video = within(
            PATIENCE,
            lambda: decord.VideoReader(file_url(found.path), num_threads=1),
            f"{found.path}: decord",
        )
    except DataError as error:
        log.info("%s", error)
        return None
    return DecordReader(found, video) if len(video) == found.frames else None


def frames_to_planes(frames: Sequence[av.VideoFrame]) -> Planes | None:
    """The decoder's own 4:2:0 planes, those of 10 bits rounded to 8.

    Returns:
        uint8 Y `(T, H, W)`, U and V `(T, ceil(H/2), ceil(W/2))`; None when the frames are of
        another format.
    """
    if any(frame.format.name not in (*PLANAR, PLANAR_10) for frame in frames):
        return None
    lines = [
        [_lines(plane, BITS[frame.format.name])[:, : plane.width] for plane in frame.planes]
        for frame in frames
    ]
    pictures = [[as_bytes(plane) for plane in planes] for planes in lines]
    y, u, v = (torch.from_numpy(np.stack(planes)) for planes in zip(*pictures, strict=True))
    return y, u, v


def as_bytes(samples: np.ndarray) -> np.ndarray:
    """Samples of 8 bits (uint8) as they are, those of 10 (uint16) rounded to 8 as reference
    decoders do it.
    """
    return (
        samples
        if samples.dtype == np.uint8
        else np.minimum((samples + 2) >> 2, 255).astype(np.uint8)
    )


def frames_to_rgb(
    frames: Sequence[av.VideoFrame], color_space: ColorSpace, window: Window | None = None
) -> Tensor:
    """Our conversion for 8-bit and 10-bit 4:2:0 and 4:4:4, ffmpeg's (told the matrix and range) for
    other formats.

    Args:
        frames: at least one, all of one size.
        color_space: matrix and range of their planes.
        window: top, left, height, width to convert, inside the picture; None is all of it.

    Returns:
        uint8 `(T, 3, H, W)`, or `(T, 3, height, width)` of the window.
    """
    window = window or (0, 0, frames[0].height, frames[0].width)
    top, left, height, width = window
    rgb = np.empty((len(frames), 3, height, width), np.uint8)
    for frame, out in zip(frames, rgb, strict=True):
        bits = BITS.get(frame.format.name)
        if bits is None:
            out[:] = _by_decoder(frame, color_space)[
                top : top + height, left : left + width
            ].transpose(2, 0, 1)
        else:
            chroma = frame.planes[1]
            half = (chroma.height, chroma.width) if "420" in frame.format.name else None
            frame_to_rgb(
                [_lines(plane, bits) for plane in frame.planes],
                half=half,
                color_space=color_space,
                bits=bits,
                window=window,
                out=out,
            )
    return torch.from_numpy(rgb)


def _lines(plane: av.video.plane.VideoPlane, bits: int) -> np.ndarray:
    """A plane with the padding at the end of its lines, `(height, width or more)`, without
    copying.
    """
    kind = np.dtype(SAMPLES[bits])
    columns = plane.line_size // kind.itemsize
    return np.frombuffer(memoryview(plane), kind)[: plane.height * columns].reshape(
        plane.height, columns
    )


def _by_decoder(frame: av.VideoFrame, color_space: ColorSpace) -> np.ndarray:
    """`(H, W, 3)` uint8."""
    if frame.format.is_rgb:
        return frame.to_ndarray(format="rgb24")
    return frame.to_ndarray(
        format="rgb24",
        src_colorspace="ITU709" if color_space.matrix == "bt709" else "ITU601",
        src_color_range="JPEG" if color_space.full_range else "MPEG",
    )
