"""Readers: frames of a video file by number, through decord or PyAV."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import av
import torch
from av.error import FFmpegError
from torch import Tensor

from data.decode import frames_to_rgb
from data.errors import DataError
from data.probe import REPAIR, Probe, probe

if TYPE_CHECKING:
    import decord

READERS = ("decord", "pyav")
T = TypeVar("T")
PATIENCE = 60.0  # seconds for one read before decord counts as hanging
log = logging.getLogger(__name__)


class Reader(Protocol):
    """A video file's frames by number.

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

    def read(self, indices: Sequence[int]) -> Tensor:
        """Frames `indices` (0-based, any order) as uint8 `(T, 3, H, W)` RGB; DataError when one cannot be decoded."""


def open_reader(path: Path | str, reader: str = "decord") -> Reader:
    """Open one file. Open it in the process that reads it: decord must not be carried across a fork.

    "decord" is fast. It counts frames wrongly after a seek in open GOPs, behind edit lists and in MPEG program
    streams (field notes 3.15), so such files go to "pyav", which is exact everywhere and uses `data.colour`.

    Raises:
        DataError: `reader` is unknown; the file is missing, empty, cut short, audio only or no video.
    """
    if reader not in READERS:
        raise DataError(f"reader={reader!r} is unknown; choose one of {', '.join(READERS)}")
    found = probe(path)
    if reader == "decord" and found.plain:
        video = _open_decord(found)
        if video is not None:
            return video
    if reader == "decord":
        log.info("%s: decord may count its frames wrongly; read with pyav", found.path)
    return PyavReader(found)


class DecordReader:
    """Reads with decord, one thread; RGB by swscale with the tagged matrix, BT.601 when there is no tag."""

    def __init__(self, found: Probe, video: "decord.VideoReader") -> None:
        self.path, self.frames, self.fps = found.path, found.frames, float(found.fps)
        self.width, self.height = found.width, found.height
        self.matrix = found.colour.matrix if found.colour.origin == "tagged" else "bt601"
        self._video = video

    def read(self, indices: Sequence[int]) -> Tensor:
        """See `Reader`; fails after a minute where decord would wait forever."""
        wanted = _checked(indices, self.frames, self.path)
        batch = within(PATIENCE, lambda: self._video.get_batch(wanted).asnumpy(), f"{self.path}: decord")
        if batch.shape[1:] != (self.height, self.width, 3):
            size = f"{batch.shape[2]}x{batch.shape[1]}"
            raise DataError(f"{self.path}: decord gives {size}, {self.width}x{self.height} expected; use data.reader=pyav")
        return torch.from_numpy(batch).permute(0, 3, 1, 2)


class PyavReader:
    """Reads with PyAV, one thread; the file is open only during a read, so nothing is kept across a fork."""

    def __init__(self, found: Probe) -> None:
        self.path, self.frames, self.fps = found.path, found.frames, float(found.fps)
        self.width, self.height, self.matrix = found.width, found.height, found.colour.matrix
        self._probe = found

    def read(self, indices: Sequence[int]) -> Tensor:
        """See `Reader`; seeks to the keyframe before the first frame, or decodes from the start if that fails."""
        wanted = _checked(indices, self.frames, self.path)
        found = self._decode(set(wanted), seek=True)
        if found is None:
            found = self._decode(set(wanted), seek=False)
        if found is None:
            raise DataError(f"{self.path}: a frame of {wanted} cannot be decoded; {REPAIR}")
        return frames_to_rgb([found[index] for index in wanted], self._probe.colour)

    def _decode(self, wanted: set[int], seek: bool) -> dict[int, av.VideoFrame] | None:
        """The frames by number, or None when one is missing or damaged."""
        pts, keys = self._probe.pts, self._probe.key_pts
        numbers = None if pts is None else {int(pts[index]): index for index in wanted}
        found: dict[int, av.VideoFrame] = {}
        try:
            with av.open(str(self.path)) as container:
                stream = container.streams.video[0]
                stream.codec_context.thread_count = 1
                before = [] if numbers is None else keys[keys <= min(numbers)]
                if seek and len(before):
                    container.seek(int(before[-1]), stream=stream)
                for count, frame in enumerate(container.decode(stream)):
                    index = count if numbers is None else numbers.get(frame.pts)
                    if index in wanted and not frame.is_corrupt:
                        found[index] = frame
                    if len(found) == len(wanted):
                        return found
        except (FFmpegError, OSError) as error:
            log.debug("%s: %s", self.path, error)
        return None


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
        raise DataError(f"{what} failed ({str(failure[0]).splitlines()[0]}); {REPAIR}") from failure[0]
    return answer[0]


def _open_decord(found: Probe) -> DecordReader | None:
    """A decord reader, or None when decord counts other frames than the file holds."""
    import decord

    video = within(PATIENCE, lambda: decord.VideoReader(str(found.path), num_threads=1), f"{found.path}: decord")
    return DecordReader(found, video) if len(video) == found.frames else None


def _checked(indices: Sequence[int], frames: int, path: Path) -> list[int]:
    wanted = [int(index) for index in indices]
    if not wanted or min(wanted) < 0 or max(wanted) >= frames:
        raise DataError(f"{path}: frames {wanted} asked for, it holds 0..{frames - 1}")
    return wanted
