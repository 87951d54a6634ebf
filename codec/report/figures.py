"""RD curves as pictures: one panel a clip, rate on a log axis, better always up."""

import math
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from codec.evaluation.axes import Axis, axis_of
from codec.evaluation.bd_rate import Comparison
from codec.evaluation.rd import Point, RDResult
from codec.report.text import percent, share
from codec.report.theme import LIGHT, MARKERS, Theme, style

PANEL = (4.2, 3.3)
COLUMNS = 3
NAME_LENGTH = 34
RATE_POINTS = 10.5


def rd_figure(
    result: RDResult,
    comparisons: Sequence[Comparison],
    metric: str,
    clips: Sequence[str] | None = None,
    theme: Theme = LIGHT,
) -> Figure:
    """Curves of all codecs in one metric, with the BD-rates written over the panels.

    A standard codec is drawn in the tuning that is fair to the metric. A distance such as LPIPS keeps its own numbers
    on an inverted log axis, on which lengths are those BD-rate integrates; a similarity such as MS-SSIM is drawn alike.

    Args:
        clips: which to draw, all by default.
    """
    clips = list(clips or result.clips())
    columns = min(COLUMNS, len(clips))
    rows = math.ceil(len(clips) / columns)
    with matplotlib.rc_context(style(theme)):
        figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows + 0.35), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(rows, columns, squeeze=False).flatten()
        for panel, clip in zip(panels, clips, strict=False):
            draw_panel(panel, result, metric, clip, theme)
            head(panel, clip, [c for c in comparisons if (c.metric, c.clip) == (metric, clip)])
        for panel in panels[len(clips) :]:
            panel.set_axis_off()
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=min(4, max(1, len(labels))))
        figure.draw_without_rendering()
    return figure


def draw_panel(panel: Axes, result: RDResult, metric: str, clip: str, theme: Theme) -> None:
    """The curves of one clip."""
    axis = axis_of(metric)
    for index, codec in enumerate(result.codecs()):
        points = sorted(drawn(result.points, codec, clip, metric), key=lambda point: point.bpp)
        panel.plot(
            [point.bpp for point in points],
            [height_of(axis, point.metrics[metric]) for point in points],
            color=theme.lines[index % len(theme.lines)],
            marker=MARKERS[index % len(MARKERS)],
            markeredgecolor=theme.paper,
            markeredgewidth=0.6,
            label=codec,
        )
    panel.set_xlabel("bits per pixel (log)")
    panel.set_xscale("log")
    few_plain_ticks(panel, "x")
    scale_quality(panel, axis)


def height_of(axis: Axis, value: float) -> float:
    """What is drawn: the value, or how far a similarity such as MS-SSIM is from its best."""
    return value if axis.best is None else abs(axis.best - value)


def drawn(points: Sequence[Point], codec: str, clip: str, metric: str) -> list[Point]:
    """The points of one curve that have a place on its axis."""
    axis = axis_of(metric)
    own = [point for point in points if point.codec == codec and point.clip == clip and point.tune in (None, axis.tune)]
    return [p for p in own if (value := p.metrics.get(metric)) is not None and math.isfinite(axis.place(value))]


def scale_quality(panel: Axes, axis: Axis) -> None:
    """Make up mean better, and say so."""
    if axis.best is None:
        panel.set_ylabel(f"{axis.title} in {axis.unit}, better ↑")
        return
    panel.set_yscale("log")
    few_plain_ticks(panel, "y", axis.best)
    panel.invert_yaxis()
    panel.set_ylabel(f"{axis.title} (log{', inverted' if axis.distance else ' to the best'}), better ↑")


def few_plain_ticks(panel: Axes, which: str, best: float = 0) -> None:
    """0.05, 0.1, 0.2 in place of powers of ten; or how far they are from `best`."""
    axis = getattr(panel, f"{which}axis")
    axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(best - value):g}"))
    axis.set_minor_formatter(NullFormatter())
    axis.set_tick_params(which="minor", length=0)


def head(panel: Axes, clip: str, comparisons: Sequence[Comparison]) -> None:
    """The clip's name, and under it its BD-rates, clear of the curves."""
    rates = [f"{c.codec} {percent(c.bd_rate_percent)} vs {c.anchor}, overlap {share(c.overlap)}" for c in comparisons]
    name = clip if len(clip) <= NAME_LENGTH else clip[: NAME_LENGTH - 1] + "…"
    panel.set_title(name, pad=7 + RATE_POINTS * len(rates))
    if rates:
        place = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (0, 4), "textcoords": "offset points"}
        panel.annotate("\n".join(rates), **place, ha="left", va="bottom", fontsize=7, linespacing=1.25)
