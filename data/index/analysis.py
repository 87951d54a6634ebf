"""Analysis: what one pass over small pictures of a video says about each frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector

from data.index.hashing import thumbnail

WINDOW = 2  # frames before and after a cut that the detector compares it with
FPS = 25.0  # the detector wants one, and answers in frames


@dataclass(frozen=True, eq=False)
class Analysis:
    """Of `N` frames.

    Attributes:
        luma: float32 `(N,)`, mean, 0..255.
        motion: float32 `(N,)`, mean absolute difference from the frame before, luma 0..255; 0 for the first.
        cuts: the frames that begin a new scene, sorted, never 0.
        thumbs: uint8 `(N, SIDE, SIDE)`, to be hashed.
    """

    luma: np.ndarray
    motion: np.ndarray
    cuts: tuple[int, ...]
    thumbs: np.ndarray


class Analyser:
    """Takes the pictures of a video one by one.

    Cuts are found by PySceneDetect's AdaptiveDetector: a frame differs from the one before by `content` (mean over hue,
    saturation and luma, 0..255) and by `ratio` times as much as its neighbours do, so that fast motion is no cut. It looks
    `WINDOW` frames back and ahead; the first and last picture are repeated so often, or cuts near the ends would be missed.

    Args:
        content, ratio: see above.
    """

    def __init__(self, content: float = 15.0, ratio: float = 3.0) -> None:
        self._detector = AdaptiveDetector(ratio, min_scene_len=1, window_width=WINDOW, min_content_val=content)
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
        self._motion.append(0.0 if self._grey is None else cv2.norm(grey, self._grey, cv2.NORM_L1) / grey.size)
        self._luma.append(cv2.mean(grey)[0])
        self._thumbs.append(thumbnail(grey))
        self._last, self._grey = picture, grey

    def finish(self) -> Analysis:
        """What was seen; at least one picture must have been added."""
        self._feed(self._last, WINDOW)
        cuts = sorted({cut for cut in self._cuts if 0 < cut < len(self._luma)})
        luma, motion = np.array(self._luma, np.float32), np.array(self._motion, np.float32)
        return Analysis(luma, motion, tuple(cuts), np.stack(self._thumbs))

    def _feed(self, picture: np.ndarray, times: int = 1) -> None:
        for _ in range(times):
            found = self._detector.process_frame(FrameTimecode(self._fed, FPS), picture)
            self._cuts.extend(cut.frame_num - WINDOW for cut in found)
            self._fed += 1
