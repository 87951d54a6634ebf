"""Bjontegaard delta rate between two RD curves, per clip and as the mean over clips."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import bjontegaard
import numpy as np

from codec.errors import CodecError
from codec.evaluation.axes import axis_of
from codec.evaluation.rd import Point, RDResult

MEAN = "mean"
LITTLE_OVERLAP = 0.5
FEW_POINTS = 4

Curve = list[tuple[float, float]]


@dataclass(frozen=True)
class Comparison:
    """What `codec` needs in rate against `anchor` at equal quality, on one clip or as the mean over clips.

    `bd_rate_percent` is negative when `codec` needs less, None when the curves share no quality. `overlap` is 0..1.
    `note` says what a reader must know about the number, and is empty otherwise.
    """

    anchor: str
    codec: str
    metric: str
    clip: str
    bd_rate_percent: float | None
    overlap: float
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """The comparison as `bd_rate.json` holds it."""
        return asdict(self)


def compare(result: RDResult, anchors: Sequence[str], codecs: Sequence[str]) -> list[Comparison]:
    """Every codec against every anchor, in every metric: clip by clip, then their mean (never the mean of the curves).

    Raises:
        CodecError: an unknown metric, or a codec without points.
    """
    comparisons = []
    for metric in result.metrics():
        pairs = [(anchor, codec) for codec in codecs for anchor in anchors if anchor != codec]
        for anchor, codec in pairs:
            clips = [compare_clip(result, anchor, codec, metric, clip) for clip in result.clips()]
            comparisons += [*clips, mean_over_clips(clips)]
    return comparisons


def compare_clip(result: RDResult, anchor: str, codec: str, metric: str, clip: str) -> Comparison:
    """Two codecs on one clip."""
    notes: list[str] = []
    curves = []
    for name in (anchor, codec):
        points, left_out = curve(result.points, name, clip, metric)
        if not points and not left_out:
            raise CodecError(f"no points of codec {name!r} on clip {clip!r}; code it with eval.py or leave it out")
        notes += [f"{name}: {line}" for line in left_out]
        if 0 < len(points) < FEW_POINTS:
            notes.append(f"{name}: only {len(points)} points")
        curves.append(points)
    rate, share = bd_rate(*curves)
    if rate is None:
        notes.insert(0, "no common quality")
    elif share < LITTLE_OVERLAP:
        notes.insert(0, "little overlap")
    return Comparison(anchor, codec, metric, clip, rate, share, "; ".join(notes))


def curve(points: Sequence[Point], codec: str, clip: str, metric: str) -> tuple[Curve, list[str]]:
    """The curve of a codec in the tuning that is fair to the metric, made to rise.

    Returns:
        Pairs of kbps and place on the metric's axis, both rising strictly; and what was left out, in words: points
        without the metric or of infinite quality, and points that need more rate than another for no more quality.
    """
    axis = axis_of(metric)
    own = [p for p in points if p.codec == codec and p.clip == clip and p.tune in (None, axis.tune)]
    pairs = [(p.kbps, axis.place(value)) for p in own if (value := p.metrics.get(metric)) is not None]
    finite = sorted(pair for pair in pairs if math.isfinite(pair[1]))
    notes = []
    if len(finite) < len(own):
        notes.append(f"{len(own) - len(finite)} of {len(own)} points without a finite {metric}, left out")
    rising = [(rate, place) for rate, place in sorted(set(finite)) if not is_beaten(rate, place, finite)]
    if len(rising) < len(finite):
        notes.append(f"not monotone, {len(finite) - len(rising)} of {len(finite)} points left out")
    return rising, notes


def is_beaten(rate: float, place: float, others: Curve) -> bool:
    """Whether another point has at least this quality for no more rate."""
    return any((r, q) != (rate, place) and r <= rate and q >= place for r, q in others)


def bd_rate(anchor: Curve, test: Curve) -> tuple[float | None, float]:
    """BD-rate by PCHIP over the shared quality, as the JVET sheet does it.

    Args:
        anchor: pairs of rate (any unit) and quality, both rising strictly; any number of them.
        test: the same; the two need not have equally many points.

    Returns:
        Percent of rate that `test` needs more than `anchor`, None when there is nothing to integrate over; and the
        overlap: the shared range of quality over the range that both span together (the package's definition, the
        strictest: a curve that covers a sliver of the other has little overlap, even if all of it is shared).

    Source: Bjontegaard, VCEG-M33, 2001; the `bjontegaard` package of FAU.
    """
    if len(anchor) < 2 or len(test) < 2:
        return None, 0.0
    (anchor_rate, anchor_quality), (test_rate, test_quality) = np.array(anchor).T, np.array(test).T
    share = overlap(anchor_quality, test_quality)
    if share == 0:
        return None, 0.0
    value = bjontegaard.bd_rate(
        *(anchor_rate, anchor_quality, test_rate, test_quality),
        method="pchip",
        require_matching_points=False,
        min_overlap=0,
    )
    if not math.isfinite(value):
        raise CodecError(f"bd_rate: {value} from {anchor} and {test}; give rates above 0 and rising quality")
    return float(value), share


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Shared range over the range that both span together."""
    shared = min(first.max(), second.max()) - max(first.min(), second.min())
    return float(max(shared, 0) / (max(first.max(), second.max()) - min(first.min(), second.min())))


def mean_over_clips(clips: list[Comparison]) -> Comparison:
    """The mean of the clips' BD-rates; clips without one are counted in the note, and with 0 in the overlap."""
    rates = [clip.bd_rate_percent for clip in clips if clip.bd_rate_percent is not None]
    notes = []
    if len(rates) < len(clips):
        notes.append(f"{len(clips) - len(rates)} of {len(clips)} clips have no common quality, left out")
    little = sum(clip.bd_rate_percent is not None and clip.overlap < LITTLE_OVERLAP for clip in clips)
    if little:
        notes.append(f"little overlap on {little} of {len(clips)} clips")
    one = clips[0]
    share = statistics.fmean(clip.overlap for clip in clips)
    mean = statistics.fmean(rates) if rates else None
    return Comparison(one.anchor, one.codec, one.metric, MEAN, mean, share, "; ".join(notes))
