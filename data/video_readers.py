"""Readers of video files through decord and through PyAV."""

import logging
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import av
import torch
from av.error import FFmpegError
from torch import Tensor

from data.checks import REPAIR, checked_numbers
from data.crops import Window
from data.decode import STRICT, decoder_errors, frames_to_rgb
from data.errors import DataError
from data.probe import Probe

if TYPE_CHECKING:
    import decord

T = TypeVar("T")
PATIENCE = 60.0  # seconds for one read before decord counts as hanging
log = logging.getLogger(__name__)


class DecordReader:
    """Reads with decord, one thread; RGB by swscale with the tagged matrix, BT.601 when there is no tag."""

    def __init__(self, found: Probe, video: "decord.VideoReader") -> None:
        self.path, self.frames, self.fps = found.path, found.frames, float(found.fps)
        self.width, self.height = found.width, found.height
        self.matrix = found.colour.matrix if found.colour.origin == "tagged" else "bt601"
        self._video = video

    def read(self, indices: Sequence[int], window: Window | None = None) -> Tensor:
        """See `Reader`; fails after a minute where decord would wait forever."""
        wanted = checked_numbers(indices, self.frames, self.path)
        batch = within(PATIENCE, lambda: self._video.get_batch(wanted).asnumpy(), f"{self.path}: decord")
        if batch.shape[1:] != (self.height, self.width, 3):
            size = f"{batch.shape[2]}x{batch.shape[1]}"
            raise DataError(f"{self.path}: decord gives {size}, {self.width}x{self.height} expected; use data.reader=pyav")
        top, left, height, width = window or (0, 0, self.height, self.width)
        return torch.from_numpy(batch[:, top : top + height, left : left + width]).permute(0, 3, 1, 2)


class PyavReader:
    """Reads with PyAV, one thread; the file is open only during a read, so nothing is kept across a fork."""

    def __init__(self, found: Probe) -> None:
        self.path, self.frames, self.fps = found.path, found.frames, float(found.fps)
        self.width, self.height, self.matrix = found.width, found.height, found.colour.matrix
        self._probe = found

    def read(self, indices: Sequence[int], window: Window | None = None) -> Tensor:
        """See `Reader`; seeks to the keyframe before the first frame, or decodes from the start if that fails."""
        wanted = checked_numbers(indices, self.frames, self.path)
        found = self._decode(set(wanted), seek=True)
        if found is None:
            found = self._decode(set(wanted), seek=False)
        if found is None:
            raise DataError(f"{self.path}: a frame of {wanted} cannot be decoded; {REPAIR}")
        return frames_to_rgb([found[index] for index in wanted], self._probe.colour, window)

    def _decode(self, wanted: set[int], seek: bool) -> dict[int, av.VideoFrame] | None:
        """The frames by number, or None when one is missing or damaged."""
        pts, keys = self._probe.pts, self._probe.key_pts
        numbers = None if pts is None else {int(pts[index]): index for index in wanted}
        found: dict[int, av.VideoFrame] = {}
        try:
            with decoder_errors() as errors, self._probe.opened() as container:
                stream = container.streams.video[0]
                stream.codec_context.thread_count, stream.codec_context.options = 1, STRICT
                before = [] if numbers is None else keys[keys <= min(numbers)]
                if seek and len(before):
                    container.seek(int(before[-1]), stream=stream)
                del errors[:]  # of opening: about other streams, or repeated by decoding
                for count, frame in enumerate(_frames(container, stream, numbers)):
                    if errors and (self._probe.plain or not seek):  # behind a seek into an open GOP they are usual
                        log.debug("%s: %s", self.path, errors[0][2].strip())
                        return None
                    index = count if numbers is None else numbers.get(frame.pts)
                    if frame.is_corrupt and not (len(before) and frame.pts is not None and frame.pts < before[-1]):
                        return None  # what follows it may be predicted from it
                    if (frame.width, frame.height) != (self.width, self.height):
                        size = f"{frame.width}x{frame.height}"
                        raise DataError(f"{self.path}: changes its size to {size}, from {self.width}x{self.height}; cut there")
                    if index in wanted:
                        found[index] = frame
                    if len(found) == len(wanted):
                        return found
        except (FFmpegError, OSError) as error:
            log.debug("%s: %s", self.path, error)
        return None


def _frames(
    container: av.container.InputContainer, stream: av.VideoStream, wanted: Container[int] | None
) -> Iterator[av.VideoFrame]:
    """Decoded frames; of H.264, only those at times `wanted` and those that others are predicted from.

    H.264 says of each picture whether any other refers to it (nal_ref_idc, ITU-T H.264 7.4.1); HEVC says it only within a
    temporal layer, so there all are decoded.
    """
    context = stream.codec_context
    leave_out = wanted is not None and context.name == "h264"
    for packet in container.demux(stream):
        if leave_out:
            context.skip_frame = "DEFAULT" if packet.pts is None or packet.pts in wanted else "NONREF"
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
        raise DataError(f"{what} did not answer in {seconds:g} s; use data.reader=pyav, or {REPAIR}")
    if failure:
        said = str(failure[0]).partition("\n")[0] or type(failure[0]).__name__
        raise DataError(f"{what} failed ({said}); {REPAIR}") from failure[0]
    return answer[0]


def open_decord(found: Probe) -> DecordReader | None:
    """A decord reader, or None when decord cannot open the file, or counts other frames than it holds."""
    import decord

    try:
        video = within(PATIENCE, lambda: decord.VideoReader(str(found.path), num_threads=1), f"{found.path}: decord")
    except DataError as error:
        log.info("%s", error)
        return None
    return DecordReader(found, video) if len(video) == found.frames else None
