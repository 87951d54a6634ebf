"""Compression per operation as a picture: BD-rate against kMAC a pixel."""

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from codec.evaluation.axes import axis_of
from codec.evaluation.bd_rate import MEAN, Comparison
from codec.evaluation.rd import RDResult
from codec.report.captions import clip_line, cost_line
from codec.report.content import complexity_of
from codec.report.figures import few_plain_ticks, finish, grid
from codec.report.text import part
from codec.report.theme import LIGHT, MARKERS, Theme, style

PANEL = (3.0, 2.3)
COLUMNS = 3


def complexity_figure(result: RDResult, comparisons: Sequence[Comparison], theme: Theme = LIGHT) -> Figure | None:
    """A panel a metric: mean BD-rate against the first anchor over kMAC a pixel of decoding; lower left is better.

    Codecs whose operations are not counted are dashed lines. Below the panels stands what was counted on what. None when no
    codec's operations were counted.
    """
    rows = [row for row in comparisons if row.clip == MEAN and row.bd_rate_percent is not None]
    rows = [row for row in rows if row.anchor == rows[0].anchor]
    metrics = list(dict.fromkeys(row.metric for row in rows))
    if not any(complexity_of(result, row.codec).get("decode_kmac") for row in rows):
        return None
    codecs = list(dict.fromkeys(row.codec for row in rows))
    with matplotlib.rc_context(style(theme)):
        figure, panels = grid(len(metrics), PANEL, COLUMNS)
        for panel, metric in zip(panels, metrics, strict=False):
            panel.axhline(0, color=theme.ink, linewidth=0.8, label=f"{rows[0].anchor} (anchor)")
            for codec in codecs:
                _draw(panel, result, codec, [row for row in rows if (row.codec, row.metric) == (codec, metric)], theme)
            panel.set_title(axis_of(metric).title)
            panel.set_xscale("log")
            few_plain_ticks(panel, "x")
            panel.margins(x=0.5, y=0.25)
            panel.set_xlabel("kMAC per pixel to decode (log)")
            panel.set_ylabel("mean BD-rate in %")
        for panel in panels[len(metrics) :]:
            panel.set_axis_off()
        finish(figure, panels[0], [clip_line(result), cost_line(result, codecs, speeds=False)])
    return figure


def _draw(panel: Axes, result: RDResult, codec: str, rows: Sequence[Comparison], theme: Theme) -> None:
    """A codec's mark or line in one metric, none of it where it has no mean; what is of a part of the clips says so."""
    index = result.codecs().index(codec)
    look = {"color": theme.lines[index % len(theme.lines)], "label": codec}
    kmac = _operations(result, codec)
    heights = [row.bd_rate_percent for row in rows]
    if kmac:
        panel.plot([kmac] * len(heights), heights, marker=MARKERS[index % len(MARKERS)], markersize=7, linestyle="", **look)
    else:
        panel.plot(
            [0, 1], heights * 2 or [None, None], transform=panel.get_yaxis_transform(), linestyle="--", linewidth=1, **look
        )
    for row in filter(part, rows):
        place = {"xycoords": "data", "xytext": (6, 3)} if kmac else {"xycoords": panel.get_yaxis_transform(), "xytext": (0, 2)}
        where = (kmac or 0, row.bd_rate_percent)
        panel.annotate(part(row), where, textcoords="offset points", fontsize=6.5, color=look["color"], **place)


def _operations(result: RDResult, codec: str) -> float | None:
    return complexity_of(result, codec).get("decode_kmac")
