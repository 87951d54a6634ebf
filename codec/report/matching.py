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
    """Sets of points of nearly equal rate, one of every codec and none in two sets, from low to high rate.

    Where there are more sets than `levels` they are cut, by rate, into so many groups; of each the set is taken whose rates
    are nearest to each other.
    """
    curves = {codec: points for codec in codecs if (points := viewing_points(result, codec, clip))}
    sets: list[dict[str, Point]] = []
    for found in sorted(narrowest_sets(curves), key=rate_gap):
        if not any(found[codec].place == other[codec].place for other in sets for codec in curves):
            sets.append(found)
    sets.sort(key=middle)
    count = min(levels, len(sets))
    groups = [sets[index * len(sets) // count : (index + 1) * len(sets) // count] for index in range(count)]
    return [min(group, key=rate_gap) for group in groups]


def narrowest_sets(curves: Curves) -> list[dict[str, Point]]:
    """With every point as the lowest of a set, the nearest points above it: no set that begins there is narrower."""
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
