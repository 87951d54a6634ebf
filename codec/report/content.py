"""What the scripts of the page draw, as one JSON object."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from codec.evaluation.axes import Axis, axis_of
from codec.evaluation.bd_rate import MEAN, Comparison
from codec.evaluation.rd import Point, RDResult
from codec.report.pictures import Pictures

FIGURES = 5


def page_content(result: RDResult, comparisons: Sequence[Comparison], pictures: Pictures) -> dict[str, Any]:
    """Points, comparisons, complexity and what can be shown; numbers have five significant digits."""
    return {
        "codecs": result.codecs(),
        "clips": result.clips(),
        "mean": MEAN,
        "metrics": {name: metric_content(axis_of(name)) for name in result.metrics()},
        "points": [point_content(point) for point in result.points],
        "comparisons": [asdict(row) for row in comparisons],
        "complexity": {name: complexity_of(result, name) for name in result.codecs()},
        "pictures": pictures.to_json() | {"points": {key: place(point) for key, point in pictures.points.items()}},
    }


def metric_content(axis: Axis) -> dict[str, str]:
    """A metric's names and the kind of its axis."""
    return {"title": axis.title, "unit": axis.unit, "tune": axis.tune, "kind": kind_of(axis)}


def kind_of(axis: Axis) -> str:
    """How values lie on the axis of BD-rate: `plain`, a `distance` d as -10 log10 d, a `similarity` s as -10 log10(1 - s)."""
    if axis.best is None:
        return "plain"
    return "distance" if axis.distance else "similarity"


def point_content(point: Point) -> dict[str, Any]:
    """One point, with its place on the axis of every metric; None where it has none."""
    places = {name: None if value is None else axis_of(name).place(value) for name, value in point.metrics.items()}
    return {
        **place(point),
        "frames": point.frames,
        "fps": point.fps,
        "bpp": short(point.bpp),
        "kbps": short(point.kbps),
        "imported": point.extra.get("imported"),
        "values": {name: short(value) for name, value in point.metrics.items()},
        "places": {name: short(value) for name, value in places.items()},
        "frame_bytes": point.frame_bytes,
        "per_frame": {name: [short(value) for value in values] for name, values in point.per_frame.items()},
        "every": point.extra.get("per_frame_every", {}),
    }


def place(point: Point) -> dict[str, Any]:
    """Which point it is."""
    return {"codec": point.codec, "clip": point.clip, "tune": point.tune, "quality": point.quality}


def short(value: float | None) -> float | None:
    """Five significant digits; None for what is not finite, which JSON does not have."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{FIGURES}g}")


def complexity_of(result: RDResult, codec: str) -> dict[str, Any]:
    """What a codec's conditions say it costs; empty where nothing was measured."""
    return (result.conditions.get("codecs", {}).get(codec, {}) or {}).get("complexity") or {}
