"""Histograms of an index, as pictures for its page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter, MaxNLocator

from data.index.counts import seconds_of

BINS = 40
STYLE = {  # ink that is read on light and dark paper; no paper of its own
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), "#808690"),
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
FILL = "#3d8fc4"


@dataclass(frozen=True)
class Picture:
    """A histogram: title, what it says in words, and the PNG as a data URI."""

    title: str
    words: str
    uri: str


def figures(rows: pa.Table) -> list[Picture]:
    """Size, length, rate, motion, luma and bytes a pixel, weighed by time; at least one row."""
    column = {name: rows[name].to_numpy() for name in ("width", "height", "fps_num", "fps_den", "motion", "luma", "bytes")}
    pixels = column["width"].astype(np.float64) * column["height"]
    seconds = seconds_of(rows)
    per_pixel = 8 * column["bytes"] / (pixels * np.maximum(rows["file_frames"].to_numpy(), 1))
    short = np.minimum(column["width"], column["height"]).astype(np.float64)
    return [
        _histogram("Shorter side, pixels", short, seconds, log=True),
        _histogram("Length of a sequence, seconds", seconds, seconds, log=True),
        _histogram("Frames per second", column["fps_num"] / column["fps_den"], seconds),
        _histogram("Motion: mean change of luma, 0..255", column["motion"], seconds, log=True),
        _histogram("Mean luma, 0..255", column["luma"], seconds),
        _histogram("Bits a pixel of the files", per_pixel, seconds, log=True),
    ]


def _histogram(title: str, values: np.ndarray, seconds: np.ndarray, log: bool = False) -> Picture:
    values = np.maximum(values, 1e-3) if log else values
    low, middle, high = np.percentile(values, [0, 50, 100])
    edges = _edges(low, high, log)
    with rc_context(STYLE):
        figure = Figure(figsize=(5, 2.4), layout="constrained")
        axes = figure.add_subplot()
        unit, size = ("hours", 3600) if seconds.sum() >= 2 * 3600 else ("minutes", 60)
        axes.hist(values, edges, weights=seconds / size, color=FILL)
        axes.set_ylabel(unit)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(_few(np.log10(edges[-1] / edges[0])))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160, transparent=True, metadata={"Software": None})
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Picture(title, f"{low:.3g} to {high:.3g}, median of sequences {middle:.3g}", uri)


def _edges(low: float, high: float, log: bool) -> np.ndarray:
    if log:
        margin = 1.1 if high > 1.5 * low else 1.5
        return np.geomspace(low / margin, high * margin, BINS + 1)
    margin = max(0.5, 0.02 * (high - low))
    return np.linspace(low - margin, high + margin, BINS + 1)


def _few(decades: float) -> FuncFormatter:
    """Numbers at 2 and 5 between powers of ten where these are few."""
    if decades > 3:
        return LogFormatter(minor_thresholds=(0, 0))
    marks = (2, 5) if decades > 1 else (2, 3, 4, 5, 6, 8)

    def first_digits(value: float) -> float:
        return round(value / 10 ** np.floor(np.log10(value) + 1e-9), 3)

    return FuncFormatter(lambda value, _: f"{value:g}" if first_digits(value) in marks else "")
