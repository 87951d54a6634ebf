"""RD curves as pictures: their mean and a panel a clip, rate on a log axis, better always up."""

import math
import statistics
import textwrap
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from codec.evaluation.axes import Axis, axis_of
from codec.evaluation.bd_rate import MEAN, Comparison
from codec.evaluation.rd import Point, RDResult
from codec.report.captions import lack_line
from codec.report.text import interval, part, percent, share
from codec.report.theme import LIGHT, MARKERS, Theme, style

PANEL = (4.2, 3.1)
COLUMNS = 3
NAME_LENGTH = 34
RATE_SIZE = 6.5
RATE_POINTS = 9.0
RATE_LETTERS = 66  # of a line of BD-rates as wide as its panel
LETTER = 0.08  # inches of the legend
MEAN_LINE = (
    "Mean: rate (geometric) and quality at equal quality index; its BD-rates are means of the clips', not of these curves."
)


def rd_figure(
    result: RDResult,
    comparisons: Sequence[Comparison],
    metric: str,
    clips: Sequence[str] | None = None,
    theme: Theme = LIGHT,
) -> Figure:
    """Curves of all codecs in one metric: their mean and a panel a clip, with the BD-rates written over the panels.

    A standard codec is drawn in the tuning that is fair to the metric. A distance such as LPIPS keeps its own numbers
    on an inverted log axis, on which lengths are those BD-rate integrates; a similarity such as MS-SSIM is drawn alike.
    Clips without any value have no panel: a line below the panels names them, and the reason.

    Args:
        clips: which to draw, without the mean; by default all.
    """
    chosen = list(clips or result.clips())
    shown = [clip for clip in chosen if any(drawn(result.points, codec, clip, metric) for codec in result.codecs())]
    parts = [([clip], clip) for clip in shown]
    if clips is None and len(shown) > 1:
        parts.insert(0, (shown, MEAN))
    with matplotlib.rc_context(style(theme)):
        heads = [rate_table([c for c in comparisons if (c.metric, c.clip) == (metric, name)]) for _, name in parts]
        height = PANEL[1] + RATE_POINTS / 72 * max(map(len, heads), default=0)
        figure, panels = grid(max(1, len(parts)), (PANEL[0], height), COLUMNS)
        for panel, (own, name), rates in zip(panels, parts, heads, strict=False):
            draw_panel(panel, result, metric, own, theme)
            head(panel, f"{MEAN} of {len(own)} clips" if len(own) > 1 else name, rates)
        for panel in panels[len(parts) :]:
            panel.set_axis_off()
        lines = [MEAN_LINE] * (len(parts) > len(shown))
        lines += filter(None, [lack_line(result, metric, [clip for clip in chosen if clip not in shown])])
        finish(figure, panels[0], lines)
    return figure


def grid(count: int, size: tuple[float, float], most: int) -> tuple[Figure, list[Axes]]:
    """A figure of at least `count` panels of a size in inches, at most so many a row, and the panels row by row."""
    columns = min(most, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows + 0.35), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flatten())


def finish(figure: Figure, panel: Axes, lines: Sequence[str]) -> None:
    """The legend of a panel above all, in rows of about equal length, and lines of text below all."""
    handles, names = panel.get_legend_handles_labels()
    width = figure.get_figwidth()
    if names:
        figure.legend(handles, names, loc="outside upper left", ncols=legend_columns(names, width))
    if lines:
        text = "\n".join(textwrap.fill(line, int(width / 0.062)) for line in lines)
        figure.supxlabel(text, x=0.01, ha="left", fontsize=7)
    figure.draw_without_rendering()


def legend_columns(names: Sequence[str], width: float) -> int:
    """How many columns of about equal length fit into `width` inches; matplotlib fills them one after the other."""
    for most in range(len(names), 1, -1):
        rows = math.ceil(len(names) / most)
        columns = [names[start : start + rows] for start in range(0, len(names), rows)]
        if sum(0.55 + LETTER * max(map(len, column)) for column in columns) <= width:
            return len(columns)
    return 1


def draw_panel(panel: Axes, result: RDResult, metric: str, clips: Sequence[str], theme: Theme) -> None:
    """The curves of a clip, or the means over several."""
    axis = axis_of(metric)
    for index, codec in enumerate(result.codecs()):
        spots = mean_curve([drawn(result.points, codec, clip, metric) for clip in clips], metric)
        panel.plot(
            [bpp for bpp, _ in spots],
            [height_of(axis, value) for _, value in spots],
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


def mean_curve(curves: Sequence[Sequence[Point]], metric: str) -> list[tuple[float, float]]:
    """Rate and value by rate: at the qualities that all curves have, the mean of log rate and of places on the metric's axis."""
    axis = axis_of(metric)
    own = [{point.quality: point for point in curve} for curve in curves]
    found = [[points[quality] for points in own] for quality in own[0] if all(quality in points for points in own)]
    return sorted(
        (
            statistics.geometric_mean(point.bpp for point in points),
            axis.value(statistics.fmean(axis.place(point.metrics[metric]) for point in points)),
        )
        for points in found
    )


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


def head(panel: Axes, name: str, rates: Sequence[str]) -> None:
    """The clip's name or the mean's, and under it a table of BD-rates, clear of the curves."""
    half = NAME_LENGTH // 2
    short = name if len(name) <= NAME_LENGTH else f"{name[: half - 1]}…{name[-half:]}"
    panel.set_title(short, pad=7 + RATE_POINTS * len(rates))
    if rates:
        place = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (0, 4), "textcoords": "offset points"}
        look = {"fontsize": RATE_SIZE, "family": "monospace", "linespacing": 1.25}
        panel.annotate("\n".join(rates), **place, **look, ha="left", va="bottom")


def rate_table(comparisons: Sequence[Comparison]) -> list[str]:
    """A line a codec and a column an anchor, aligned in a monospaced font; anchors that do not fit are only named."""
    if not comparisons:
        return []
    title = "mean BD-rate" if comparisons[0].is_mean else "BD-rate (overlap)"
    codecs = list(dict.fromkeys(row.codec for row in comparisons))
    columns, others = [[title, *codecs]], []
    for anchor in dict.fromkeys(row.anchor for row in comparisons):
        rows = {row.codec: row for row in comparisons if row.anchor == anchor}
        column = [f"vs {anchor}", *(rate_cell(rows[codec]) if codec in rows else "" for codec in codecs)]
        width = sum(2 + max(map(len, own)) for own in [*columns, column])
        fits = len(columns) == 1 or width <= RATE_LETTERS
        (columns if fits else others).append(column)
    padded = [[text.ljust(max(map(len, column))) for text in column] for column in columns]
    lines = ["  ".join(line).rstrip() for line in zip(*padded, strict=True)]
    return lines + [f"{column[0]}: in bd_rate.md" for column in others]


def rate_cell(row: Comparison) -> str:
    """A BD-rate with its overlap, or a mean with its interval, or with how many clips it is of when these are not all."""
    beside = part(row) or interval(row) if row.is_mean else share(row.overlap)
    return f"{percent(row.bd_rate_percent):>8}" + (f" ({beside})" if beside else "")
