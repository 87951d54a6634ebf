"""Scenes: what one pass over small frames says of each, where to cut, and which stretches are no
good.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector

from data.index.hashing import thumbnail
from data.index.options import ScanOptions

WINDOW = 2  # frames before and after a cut that the detector compares it with
FPS = 25.0  # the detector wants one, and answers in frames
GOOD = 0
BLACK = 1
STATIC = 2
WORDS = {BLACK: "black", STATIC: "near-static"}
SHORT = "short"


@dataclass(frozen=True, eq=False)
class Analysis:
    """Of `N` frames.

    Attributes:
        luma: float32 `(N,)`, mean, 0..255.
        motion: float32 `(N,)`, mean absolute difference from the frame before, luma 0..255; 0 for
            the first.
        cuts: the frames that begin a new scene, sorted, never 0.
        thumbs: uint8 `(N, SIDE, SIDE)`, to be hashed.
    """

    luma: np.ndarray
    motion: np.ndarray
    cuts: tuple[int, ...]
    thumbs: np.ndarray


class FrameAnalyzer:
    """Takes the pictures of a video one by one.

    Cuts are found by PySceneDetect's AdaptiveDetector: a frame differs from the one before by
    `content` (mean over hue, saturation and luma, 0..255) and by `ratio` times as much as its
    neighbours do, so that fast motion is no cut. It looks `WINDOW` frames back and ahead; the first
    and last picture are repeated so often, or cuts near the ends would be missed.

    Args:
        content, ratio: see above.
    """

    def __init__(self, content: float = 15.0, ratio: float = 3.0) -> None:
        self._detector = AdaptiveDetector(
            ratio, min_scene_len=1, window_width=WINDOW, min_content_val=content
        )
        self._fed = 0
        self._cuts: list[int] = []
        self._luma: list[float] = []
        self._motion: list[float] = []
        self._thumbs: list[np.ndarray] = []
        self._last: np.ndarray | None = None
        self._grey: np.ndarray | None = None

    def add(self, picture: np.ndarray) -> None:
        """One more picture, uint8 `(h, w, 3)` BGR, always of the same size."""
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        if self._grey is None:
            self._feed(picture, WINDOW)
        self._feed(picture)
        self._motion.append(
            0.0 if self._grey is None else cv2.norm(grey, self._grey, cv2.NORM_L1) / grey.size
        )
        self._luma.append(cv2.mean(grey)[0])
        self._thumbs.append(thumbnail(grey))
        self._last = picture
        self._grey = grey

    def finish(self) -> Analysis:
        """What was seen; at least one picture must have been added."""
        assert self._last is not None
        self._feed(self._last, WINDOW)
        cuts = sorted({cut for cut in self._cuts if 0 < cut < len(self._luma)})
        luma = np.array(self._luma, np.float32)
        motion = np.array(self._motion, np.float32)
        return Analysis(luma, motion=motion, cuts=tuple(cuts), thumbs=np.stack(self._thumbs))

    def _feed(self, picture: np.ndarray, times: int = 1) -> None:
        for _ in range(times):
            found = self._detector.process_frame(FrameTimecode(self._fed, FPS), picture)
            self._cuts.extend(cut.frame_num - WINDOW for cut in found)
            self._fed += 1


@dataclass(frozen=True)
class Segment:
    """Frames `first` .. `stop - 1` of what was analysed.

    Attributes:
        reason: why it is dropped: "black", "near-static" or "short"; "" for a good one.
        luma, motion: means; motion within the piece.
    """

    first: int
    stop: int
    reason: str
    luma: float
    motion: float


def pieces(found: Analysis, options: ScanOptions, bounds: tuple[int, int]) -> list[Segment]:
    """All pieces of frames `bounds[0]` .. `bounds[1] - 1`, in order, good and bad; none goes beyond
    a cut.

    Black and near-static stretches are split off when they last for `min_frames`; shorter ones
    stay. Near-static is judged by the mean over `min_frames` frames, as video made for a lower rate
    repeats every other frame.
    """
    edges = [bounds[0], *(cut for cut in found.cuts if bounds[0] < cut < bounds[1]), bounds[1]]
    parts = []
    for first, stop in zip(edges, edges[1:], strict=False):
        for start, end, label in _runs(
            _labels(found, options=options, first=first, stop=stop), options.min_frames
        ):
            reason = WORDS.get(label) or (SHORT if end - start < options.min_frames else "")
            parts.append(_piece(found, first=first + start, stop=first + end, reason=reason))
    return parts


def _labels(found: Analysis, options: ScanOptions, first: int, stop: int) -> np.ndarray:
    """Of each frame of a scene: `GOOD`, `BLACK` or `STATIC`."""
    labels = np.full(stop - first, GOOD)
    moved = found.motion[first + 1 : stop]
    window = min(options.min_frames, len(moved))
    if window:
        calm = np.convolve(moved, np.full(window, 1 / window), "valid") < options.static
        for start in np.flatnonzero(calm):
            labels[start : start + window + 1] = STATIC
    labels[found.luma[first:stop] < options.black] = BLACK
    return labels


def _runs(labels: np.ndarray, least: int) -> Iterator[tuple[int, int, int]]:
    """Runs of equal labels as (first, stop, label), where runs of bad frames below `least` count as
    good.

    A scene that is short as a whole keeps its label: it is dropped, and for its own reason.
    """
    if len(labels) >= least:
        for first, stop, label in list(_equal(labels)):
            if label != GOOD and stop - first < least:
                labels[first:stop] = GOOD
    yield from _equal(labels)


def _equal(labels: np.ndarray) -> Iterator[tuple[int, int, int]]:
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    return (
        (first, stop, int(labels[first])) for first, stop in zip(edges, edges[1:], strict=False)
    )


def _piece(found: Analysis, first: int, stop: int, reason: str) -> Segment:
    motion = found.motion[first + 1 : stop]
    return Segment(
        first,
        stop=stop,
        reason=reason,
        luma=float(found.luma[first:stop].mean()),
        motion=float(motion.mean()) if len(motion) else 0.0,
    )
