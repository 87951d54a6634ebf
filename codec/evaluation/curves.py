"""RD curves, and the Bjontegaard deltas between two of them."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import bjontegaard
import numpy as np

from codec.errors import CodecError
from codec.evaluation.axes import axis_of
from codec.evaluation.rd import Point

Pairs = list[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """Pairs of bits per pixel and place on the metric's axis, both rising strictly; and what was
    left out, in words.
    """

    pairs: Pairs
    notes: list[str] = field(default_factory=list)
    monotone: bool = True


def curve(points: Sequence[Point], codec: str, clip: str, metric: str) -> Curve:
    """The curve of a codec in the tuning that is fair to the metric, made to rise.

    Points without the metric or of infinite quality are left out, and so are points that need more
    rate than another for no more quality: `monotone` is False then. Points that are equal in both
    count once. The notes say how many.
    """
    axis = axis_of(metric)
    own = [p for p in points if p.codec == codec and p.clip == clip and p.tune in (None, axis.tune)]
    pairs = [
        (p.bpp, axis.place(value)) for p in own if (value := p.metrics.get(metric)) is not None
    ]
    finite = sorted(pair for pair in pairs if math.isfinite(pair[1]))
    notes = []
    if len(finite) < len(own):
        notes.append(
            f"{len(own) - len(finite)} of {len(own)} points without a finite {metric}, left out"
        )
    different = sorted(set(finite))
    if len(different) < len(finite):
        twice = len(finite) - len(different)
        equal = f"{twice} of {len(finite)} points equal to another in rate and {metric}"
        notes.append(f"{equal}, counted once")
    rising = [(rate, place) for rate, place in different if not is_beaten(rate, place, finite)]
    if len(rising) < len(different):
        left_out = len(different) - len(rising)
        notes.append(f"not monotone, {left_out} of {len(different)} points left out")
    return Curve(rising, notes, monotone=len(rising) == len(different))


def is_beaten(rate: float, place: float, others: Pairs) -> bool:
    """Whether another point has at least this quality for no more rate."""
    return any((r, q) != (rate, place) and r <= rate and q >= place for r, q in others)


def bd_rate(anchor: Pairs, test: Pairs, method: str = "pchip") -> tuple[float | None, float]:
    """BD-rate over the shared quality; by PCHIP as the JVET sheet does it.

    Args:
        anchor: pairs of rate (any unit) and quality, both rising strictly; any number of them.
        test: the same; the two need not have equally many points.
        method: `pchip` or `akima`.

    Returns:
        Percent of rate that `test` needs more than `anchor`, None when there is nothing to
        integrate over; and the overlap: the shared range of quality over the range that both span
        together (the package's definition, the strictest: a curve that covers a sliver of the other
        has little overlap, even if all of it is shared).

    Source: Bjontegaard, VCEG-M33, 2001; the `bjontegaard` package of FAU.
    """
    share = overlap([place for _, place in anchor], [place for _, place in test])
    return _delta(bjontegaard.bd_rate, anchor, test, method) if share else None, share


def bd_quality(anchor: Pairs, test: Pairs, method: str = "pchip") -> tuple[float | None, float]:
    """BD-quality over the shared rate: how much higher `test` lies on the metric's axis at equal
    rate.

    Args:
        anchor, test, method: as for `bd_rate`.

    Returns:
        The difference in units of the axis (dB for PSNR), None when there is nothing to integrate
        over; and the overlap of the curves in the logarithm of rate.

    Source: as for `bd_rate` (there BD-PSNR).
    """
    share = overlap(
        [math.log10(rate) for rate, _ in anchor], [math.log10(rate) for rate, _ in test]
    )
    return _delta(bjontegaard.bd_psnr, anchor, test, method) if share else None, share


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Shared range over the range that both span together; 0 where a curve has fewer
    than 2 points.
    """
    if len(first) < 2 or len(second) < 2:
        return 0.0
    shared = min(max(first), max(second)) - max(min(first), min(second))
    return max(shared, 0) / (max(*first, *second) - min(*first, *second))


def _delta(of_package: object, anchor: Pairs, test: Pairs, method: str) -> float:
    """One of the package's deltas, for curves of any lengths, finite or an error."""
    if any(rate <= 0 for rate, _ in (*anchor, *test)):
        raise CodecError(
            f"BD by {method} of {anchor} and {test}; give rates above 0 and rising quality"
        )
    (anchor_rate, anchor_quality), (test_rate, test_quality) = np.array(anchor).T, np.array(test).T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = of_package(
            *(anchor_rate, anchor_quality, test_rate, test_quality),
            method=method,
            require_matching_points=False,
            min_overlap=0,
        )
    if not math.isfinite(value):
        raise CodecError(
            f"BD by {method}: {value} from {anchor} and {test}; give rates above 0 and rising "
            "quality"
        )
    return float(value)
