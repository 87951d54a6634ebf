"""RD curves and BD-rate against complexity as matplotlib figures."""

import math
import statistics
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from codec.evaluation.results.bd_rate import MEAN, Comparison
from codec.evaluation.results.rd import Point, RDResult
from codec.metrics.spec import MetricSpec, spec_of
from codec.report.formatting import (
    clip_count,
    clip_line,
    complexity_of,
    cost_line,
    interval,
    missing_line,
    percent,
    whole_percent,
)

PAPER = "#ffffff"
INK = "#222222"
# Okabe and Ito's palette, which colour-blind readers can tell apart
LINE_COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#6B4FA3",
    "#5B6470",
)
MARKERS = ("o", "s", "^", "D", "v", "P")
STYLE: dict[Any, Any] = {
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "grid.color": "#e3e3e3",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "legend.frameon": False,
    "savefig.dpi": 160,
}
RD_PANEL = (4.2, 3.1)  # inches
COMPLEXITY_PANEL = (3.0, 2.3)
COLUMNS = 3
NAME_LENGTH = 34  # letters of a panel's title
RATE_SIZE = 6.5  # points: the font of the BD-rates above a panel
RATE_LINE = 9.0  # points: a line of them
RATE_LETTERS = 66  # in a line of BD-rates that is as wide as its panel
LETTER = 0.08  # inches: a letter of the legend
MEAN_NOTE = (
    "Mean: rate (geometric) and quality at equal quality index; "
    "its BD-rates are means of the clips', not of these curves."
)


def rd_figure(
    result: RDResult,
    comparisons: Sequence[Comparison],
    metric: str,
    clips: Sequence[str] | None = None,
) -> Figure:
    """Curves of all codecs in one metric: their mean and a panel per clip, BD-rates above them.

    A standard codec is drawn in the tuning that suits the metric. A distance such as LPIPS keeps
    its own numbers on an inverted log axis, on which lengths are those that BD-rate integrates; a
    similarity such as MS-SSIM is drawn alike. Clips without any value have no panel: a line below
    the panels names them, and the reason.

    Args:
        clips: which to draw, without the mean; by default all.
    """
    chosen = list(clips or result.clips())
    shown = [
        clip
        for clip in chosen
        if any(curve_points(result.points, codec, clip, metric) for codec in result.codecs())
    ]
    panels = [(clip, [clip]) for clip in shown]
    if clips is None and len(shown) > 1:
        panels.insert(0, (MEAN, shown))
    rates = [
        rate_lines([row for row in comparisons if (row.metric, row.clip) == (metric, name)])
        for name, _ in panels
    ]
    notes = [MEAN_NOTE] if len(panels) > len(shown) else []
    missing = missing_line(result, metric, [clip for clip in chosen if clip not in shown])
    notes += [missing] if missing else []
    with matplotlib.rc_context(STYLE):
        height = RD_PANEL[1] + RATE_LINE / 72 * max(map(len, rates), default=0)
        figure, axes = panel_grid(max(1, len(panels)), (RD_PANEL[0], height), COLUMNS)
        for panel, (name, own), lines in zip(axes, panels, rates, strict=False):
            draw_curves(panel, result, metric, own)
            draw_title(panel, f"{MEAN} of {len(own)} clips" if len(own) > 1 else name, lines)
        for panel in axes[len(panels) :]:
            panel.set_axis_off()
        add_legend_and_notes(figure, axes[0], notes)
    return figure


def panel_grid(count: int, size: tuple[float, float], most: int) -> tuple[Figure, list[Axes]]:
    """A figure of at least `count` panels, at most `most` per row, and its panels row by row.

    Args:
        size: width and height of a panel in inches.
    """
    columns = min(most, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows + 0.35), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flatten())


def add_legend_and_notes(figure: Figure, panel: Axes, notes: Sequence[str]) -> None:
    """Put the legend of a panel above all panels, and lines of text below them."""
    handles, names = panel.get_legend_handles_labels()
    width = figure.get_figwidth()
    if names:
        figure.legend(handles, names, loc="outside upper left", ncols=legend_columns(names, width))
    if notes:
        text = "\n".join(textwrap.fill(line, int(width / 0.062)) for line in notes)
        figure.supxlabel(text, x=0.01, ha="left", fontsize=7)
    figure.draw_without_rendering()


def legend_columns(names: Sequence[str], width: float) -> int:
    """How many columns of about equal length fit into `width` inches.

    matplotlib fills them one after the other.
    """
    for most in range(len(names), 1, -1):
        rows = math.ceil(len(names) / most)
        columns = [names[start : start + rows] for start in range(0, len(names), rows)]
        if sum(0.55 + LETTER * max(map(len, column)) for column in columns) <= width:
            return len(columns)
    return 1


def draw_curves(panel: Axes, result: RDResult, metric: str, clips: Sequence[str]) -> None:
    """Draw all codecs' curves of a clip, or the means over several clips."""
    spec = spec_of(metric)
    for index, codec in enumerate(result.codecs()):
        curves = [curve_points(result.points, codec, clip, metric) for clip in clips]
        places = mean_curve(curves, metric)
        panel.plot(
            [bpp for bpp, _ in places],
            [drawn_height(spec, value) for _, value in places],
            color=LINE_COLORS[index % len(LINE_COLORS)],
            marker=MARKERS[index % len(MARKERS)],
            markeredgecolor=PAPER,
            markeredgewidth=0.6,
            label=codec,
        )
    panel.set_xlabel("bits per pixel (log)")
    panel.set_xscale("log")
    set_plain_ticks(panel, "x")
    scale_quality(panel, spec)


def mean_curve(curves: Sequence[Sequence[Point]], metric: str) -> list[tuple[float, float]]:
    """Rate and value by rate: the mean over curves at the qualities that all of them have.

    Means are of log rate, and of places on the axis of the metric.
    """
    spec = spec_of(metric)
    own = [{point.quality: point for point in curve} for curve in curves]
    found = [
        [points[quality] for points in own]
        for quality in own[0]
        if all(quality in points for points in own)
    ]
    return sorted(
        (
            statistics.geometric_mean(point.bpp for point in points),
            spec.value(
                statistics.fmean(
                    spec.place(value)
                    for point in points
                    if (value := point.metrics[metric]) is not None
                )
            ),
        )
        for points in found
    )


def drawn_height(spec: MetricSpec, value: float) -> float:
    """What is drawn: the value, or how far a similarity such as MS-SSIM is from its best."""
    return value if spec.best is None else abs(spec.best - value)


def curve_points(points: Sequence[Point], codec: str, clip: str, metric: str) -> list[Point]:
    """The points of one curve that have a place on its axis."""
    spec = spec_of(metric)
    own = [point for point in points if (point.codec, point.clip) == (codec, clip)]
    values = [
        (point, point.metrics.get(metric)) for point in own if point.tune in (None, spec.tuning)
    ]
    return [
        point for point, value in values if value is not None and math.isfinite(spec.place(value))
    ]


def scale_quality(panel: Axes, spec: MetricSpec) -> None:
    """Let higher mean better, and say so on the axis."""
    if spec.best is None:
        panel.set_ylabel(f"{spec.title} in {spec.unit}, better ↑")
        return
    panel.set_yscale("log")
    set_plain_ticks(panel, "y", spec.best)
    panel.invert_yaxis()
    scale = "log, inverted" if spec.distance else "log to the best"
    panel.set_ylabel(f"{spec.title} ({scale}), better ↑")


def set_plain_ticks(panel: Axes, which: str, best: float = 0) -> None:
    """Label 0.05, 0.1, 0.2 instead of powers of ten; or values at that distance from `best`."""
    axis = getattr(panel, f"{which}axis")
    axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(best - value):g}"))
    axis.set_minor_formatter(NullFormatter())
    axis.set_tick_params(which="minor", length=0)


def draw_title(panel: Axes, name: str, rates: Sequence[str]) -> None:
    """The name of the clip or mean, and under it a table of BD-rates, clear of the curves."""
    half = NAME_LENGTH // 2
    short = name if len(name) <= NAME_LENGTH else f"{name[: half - 1]}…{name[-half:]}"
    panel.set_title(short, pad=7 + RATE_LINE * len(rates))
    if rates:
        panel.annotate(
            "\n".join(rates),
            xy=(0, 1),
            xycoords="axes fraction",
            xytext=(0, 4),
            textcoords="offset points",
            fontsize=RATE_SIZE,
            family="monospace",
            linespacing=1.25,
            ha="left",
            va="bottom",
        )


def rate_lines(comparisons: Sequence[Comparison]) -> list[str]:
    """BD-rates for a monospaced font: a line per codec, a column per anchor.

    Anchors that do not fit are only named.
    """
    if not comparisons:
        return []
    title = "mean BD-rate" if comparisons[0].is_mean else "BD-rate (overlap)"
    codecs = list(dict.fromkeys(row.codec for row in comparisons))
    columns = [[title, *codecs]]
    omitted: list[list[str]] = []
    for anchor in dict.fromkeys(row.anchor for row in comparisons):
        rows = {row.codec: row for row in comparisons if row.anchor == anchor}
        column = [
            f"vs {anchor}",
            *(rate_cell(rows[codec]) if codec in rows else "" for codec in codecs),
        ]
        width = sum(2 + max(map(len, own)) for own in [*columns, column])
        fits = len(columns) == 1 or width <= RATE_LETTERS
        (columns if fits else omitted).append(column)
    padded = [[text.ljust(max(map(len, column))) for text in column] for column in columns]
    lines = ["  ".join(line).rstrip() for line in zip(*padded, strict=True)]
    return lines + [f"{column[0]}: in bd_rate.md" for column in omitted]


def rate_cell(row: Comparison) -> str:
    """A BD-rate with its overlap, or a mean with its interval or its number of clips."""
    beside = clip_count(row) or interval(row) if row.is_mean else whole_percent(row.overlap)
    return f"{percent(row.bd_rate_percent):>8}" + (f" ({beside})" if beside else "")


def complexity_figure(result: RDResult, comparisons: Sequence[Comparison]) -> Figure | None:
    """Mean BD-rate against the first anchor over kMAC per decoded pixel, a panel per metric.

    Lower left is better. Codecs whose operations are not counted are dashed lines. Below the panels
    stands which frames were counted. None when no codec's operations were counted.
    """
    rows = [row for row in comparisons if row.clip == MEAN and row.bd_rate_percent is not None]
    rows = [row for row in rows if row.anchor == rows[0].anchor]
    if not any(decoding_kmac(result, row.codec) for row in rows):
        return None
    metrics = list(dict.fromkeys(row.metric for row in rows))
    codecs = list(dict.fromkeys(row.codec for row in rows))
    with matplotlib.rc_context(STYLE):
        figure, axes = panel_grid(len(metrics), COMPLEXITY_PANEL, COLUMNS)
        for panel, metric in zip(axes, metrics, strict=False):
            panel.axhline(0, color=INK, linewidth=0.8, label=f"{rows[0].anchor} (anchor)")
            for codec in codecs:
                own = [row for row in rows if (row.codec, row.metric) == (codec, metric)]
                _draw_cost(panel, result, codec, own)
            panel.set_title(spec_of(metric).title)
            panel.set_xscale("log")
            set_plain_ticks(panel, "x")
            panel.margins(x=0.5, y=0.25)
            panel.set_xlabel("kMAC per pixel to decode (log)")
            panel.set_ylabel("mean BD-rate in %")
        for panel in axes[len(metrics) :]:
            panel.set_axis_off()
        notes = [clip_line(result), cost_line(result, codecs, speeds=False)]
        add_legend_and_notes(figure, axes[0], notes)
    return figure


def _draw_cost(panel: Axes, result: RDResult, codec: str, rows: Sequence[Comparison]) -> None:
    """A codec's mark, or its line where operations are unknown; nothing where it has no mean.

    A mean over some of the clips only says so beside it.
    """
    index = result.codecs().index(codec)
    color = LINE_COLORS[index % len(LINE_COLORS)]
    kmac = decoding_kmac(result, codec)
    heights = [math.nan if row.bd_rate_percent is None else row.bd_rate_percent for row in rows]
    if kmac:
        marker = MARKERS[index % len(MARKERS)]
        places = [kmac] * len(heights)
        panel.plot(
            places, heights, color=color, label=codec, marker=marker, markersize=7, linestyle=""
        )
        offset: dict[str, Any] = {"xycoords": "data", "xytext": (6, 3)}
    else:
        across = panel.get_yaxis_transform()
        ends = heights * 2 or [math.nan, math.nan]
        panel.plot(
            [0, 1],
            ends,
            color=color,
            label=codec,
            transform=across,
            linestyle="--",
            linewidth=1,
        )
        offset = {"xycoords": across, "xytext": (0, 2)}
    for row in filter(clip_count, rows):
        panel.annotate(
            clip_count(row),
            (kmac or 0, row.bd_rate_percent),
            textcoords="offset points",
            fontsize=6.5,
            color=color,
            **offset,
        )


def decoding_kmac(result: RDResult, codec: str) -> float | None:
    """kMAC per pixel that a codec takes to decode, None where it was not measured."""
    return complexity_of(result, codec).get("decode_kmac")
