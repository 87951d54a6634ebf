"""Pieces: the stretches of a file between its cuts, and which of them are no good."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data.index.analysis import Analysis
from data.index.options import ScanOptions

GOOD, BLACK, STATIC = 0, 1, 2
WORDS = {BLACK: "black", STATIC: "near-static"}
SHORT = "short"


@dataclass(frozen=True)
class Piece:
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


def pieces(found: Analysis, options: ScanOptions, bounds: tuple[int, int]) -> list[Piece]:
    """All pieces of frames `bounds[0]` .. `bounds[1] - 1`, in order, good and bad; none goes beyond a cut.

    Black and near-static stretches are split off when they last for `min_frames`; shorter ones stay. Near-static is judged by the
    mean over `min_frames` frames, as video made for a lower rate repeats every other frame.
    """
    edges = [bounds[0], *(cut for cut in found.cuts if bounds[0] < cut < bounds[1]), bounds[1]]
    parts = []
    for first, stop in zip(edges, edges[1:], strict=False):
        for start, end, label in _runs(_labels(found, options, first, stop), options.min_frames):
            reason = WORDS.get(label) or (SHORT if end - start < options.min_frames else "")
            parts.append(_piece(found, first + start, first + end, reason))
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
    """Runs of equal labels as (first, stop, label), where runs of bad frames below `least` count as good.

    A scene that is short as a whole keeps its label: it is dropped, and for its own reason.
    """
    if len(labels) >= least:
        for first, stop, label in list(_equal(labels)):
            if label != GOOD and stop - first < least:
                labels[first:stop] = GOOD
    yield from _equal(labels)


def _equal(labels: np.ndarray) -> Iterator[tuple[int, int, int]]:
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    return ((first, stop, int(labels[first])) for first, stop in zip(edges, edges[1:], strict=False))


def _piece(found: Analysis, first: int, stop: int, reason: str) -> Piece:
    motion = found.motion[first + 1 : stop]
    return Piece(first, stop, reason, float(found.luma[first:stop].mean()), float(motion.mean()) if len(motion) else 0.0)
