"""Scene cuts, for intra frames where they pay: found while frames go by, with two frames' delay."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector
from torch import Tensor

WINDOW = 2  # frames before and after a cut that the detector compares it with
_FPS = 25.0  # the detector wants one, and answers in frames
_RATIO, _CONTENT = 3.0, 15.0  # as in `data.index.scenes`
_SIDE = 256  # pixels of the longer side that is looked at


def with_scene_cuts(frames: Iterable[Tensor]) -> Iterator[tuple[Tensor, bool]]:
    """Each frame, and whether a new scene begins with it; the first is none.

    By PySceneDetect's AdaptiveDetector: a frame differs from the one before by more than its
    neighbours do, so that fast motion is no cut.

    Args:
        frames: uint8 `(3, H, W)` RGB.
    """
    detector = AdaptiveDetector(
        _RATIO, min_scene_len=1, window_width=WINDOW, min_content_val=_CONTENT
    )
    waiting: deque[Tensor] = deque()
    cuts: set[int] = set()
    fed = given = 0

    def feed(picture: np.ndarray, times: int = 1) -> None:
        nonlocal fed
        for _ in range(times):
            found = detector.process_frame(FrameTimecode(fed, _FPS), picture)
            cuts.update(cut.frame_num - WINDOW for cut in found)
            fed += 1

    picture = None
    for frame in frames:
        first = picture is None
        picture = _small(frame)
        if first:
            feed(picture, WINDOW)
        feed(picture)
        waiting.append(frame)
        if len(waiting) > WINDOW:
            yield waiting.popleft(), given in cuts and given > 0
            given += 1
    if picture is not None:
        feed(picture, WINDOW)
    for frame in waiting:
        yield frame, given in cuts and given > 0
        given += 1


def _small(frame: Tensor) -> np.ndarray:
    """`(h, w, 3)` BGR."""
    picture = frame.permute(1, 2, 0).numpy()[..., ::-1]
    share = min(1.0, _SIDE / max(picture.shape[:2]))
    size = tuple(max(1, round(share * side)) for side in picture.shape[1::-1])
    return cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)
