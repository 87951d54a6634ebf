"""Which points to show side by side: those of nearly equal bitrate."""

import math
from collections.abc import Sequence

from codec.evaluation.rd import Point, RDResult

LEVELS = 3


def viewing_points(result: RDResult, codec: str, clip: str) -> list[Point]:
    """A codec's points on a clip by rate, in the tuning that is made for viewers where it has several."""
    own = [p for p in result.points if (p.codec, p.clip) == (codec, clip) and not p.extra.get("imported")]
    for tunes in ((None, "default"), ("psnr",)):
        if chosen := [point for point in own if point.tune in tunes]:
            return sorted(chosen, key=lambda point: point.bpp)
    return sorted(own, key=lambda point: point.bpp)


def matched_levels(result: RDResult, clip: str, codecs: Sequence[str], levels: int = LEVELS) -> list[dict[str, Point]]:
    """Sets of points of nearly equal rate, from low to high: at each level one of the first codec, and of every other
    codec the one nearest to it in log rate.

    The range of rates that all codecs cover (of the first, when there is none) is cut into bands of equal ratio; in each
    the point is taken whose counterparts are nearest.
    """
    curves = {codec: points for codec in codecs if (points := viewing_points(result, codec, clip))}
    if not curves:
        return []
    lead, *_ = curves.values()
    low = max(points[0].bpp for points in curves.values())
    high = min(points[-1].bpp for points in curves.values())
    if low > high:
        low, high = lead[0].bpp, lead[-1].bpp
    sets = [{codec: nearest(points, point.bpp) for codec, points in curves.items()} for point in lead]
    bands: dict[int, list[dict[str, Point]]] = {}
    for found, point in zip(sets, lead, strict=True):
        where = math.log(point.bpp / low) / math.log(high / low) if high > low else 0
        bands.setdefault(min(levels - 1, max(0, math.floor(where * levels))), []).append(found)
    return [min(bands[band], key=mismatch) for band in sorted(bands)]


def mismatch(level: dict[str, Point]) -> float:
    """How far apart the rates of a level are: the largest log ratio to the first."""
    lead, *others = level.values()
    return max((abs(math.log(point.bpp / lead.bpp)) for point in others), default=0.0)


def nearest(points: Sequence[Point], bpp: float) -> Point:
    """The point whose rate is nearest in ratio."""
    return min(points, key=lambda point: abs(math.log(point.bpp / bpp)))
