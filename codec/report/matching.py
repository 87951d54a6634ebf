"""Which points to show side by side: those of nearly equal bitrate."""

import math
from collections.abc import Mapping, Sequence

from codec.evaluation.rd import Point, RDResult

LEVELS = 3
Curves = Mapping[str, Sequence[Point]]


def viewing_points(result: RDResult, codec: str, clip: str) -> list[Point]:
    """A codec's points on a clip by rate, in the tuning that is made for viewers where it has several."""
    own = [p for p in result.points if (p.codec, p.clip) == (codec, clip) and not p.extra.get("imported")]
    for tunes in ((None, "default"), ("psnr",)):
        if chosen := [point for point in own if point.tune in tunes]:
            return sorted(chosen, key=lambda point: point.bpp)
    return sorted(own, key=lambda point: point.bpp)


def matched_levels(result: RDResult, clip: str, codecs: Sequence[str], levels: int = LEVELS) -> list[dict[str, Point]]:
    """Sets of points of nearly equal rate, one of every codec, from low to high rate.

    The range of rates that all codecs cover (that the sets cover, when there is none) is cut into bands of equal ratio; in
    each the set is taken whose rates are nearest to each other.
    """
    curves = {codec: points for codec in codecs if (points := viewing_points(result, codec, clip))}
    sets = narrowest_sets(curves)
    if not sets:
        return []
    low = max(points[0].bpp for points in curves.values())
    high = min(points[-1].bpp for points in curves.values())
    if low >= high:
        low, high = min(map(middle, sets)), max(map(middle, sets))
    bands: dict[int, list[dict[str, Point]]] = {}
    for found in sets:
        where = math.log(middle(found) / low) / math.log(high / low) if high > low else 0
        bands.setdefault(min(levels - 1, max(0, math.floor(where * levels))), []).append(found)
    return [min(bands[band], key=rate_gap) for band in sorted(bands)]


def narrowest_sets(curves: Curves) -> list[dict[str, Point]]:
    """With every point as the lowest of a set, the nearest points above it: no set around it has rates nearer to each other."""
    sets = []
    for codec, low in ((codec, point) for codec, points in curves.items() for point in points):
        others = {name: [p for p in points if p.bpp >= low.bpp] for name, points in curves.items() if name != codec}
        if all(others.values()):
            sets.append({name: low if name == codec else others[name][0] for name in curves})
    return sets


def middle(level: Mapping[str, Point]) -> float:
    """The geometric mean of the rates of a level."""
    return math.exp(sum(math.log(point.bpp) for point in level.values()) / len(level))


def rate_gap(level: Mapping[str, Point]) -> float:
    """How far apart the rates of a level are: the highest over the lowest, less one."""
    rates = [point.bpp for point in level.values()]
    return max(rates) / min(rates) - 1
