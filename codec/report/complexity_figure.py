"""Compression per operation as a picture: BD-rate against kMAC a pixel."""

from collections.abc import Sequence

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from codec.evaluation.axes import axis_of
from codec.evaluation.bd_rate import MEAN, Comparison
from codec.evaluation.rd import RDResult
from codec.report.content import complexity_of
from codec.report.figures import PANEL, few_plain_ticks
from codec.report.theme import LIGHT, MARKERS, Theme, style

WIDE = 1.3


def complexity_figure(result: RDResult, comparisons: Sequence[Comparison], theme: Theme = LIGHT) -> Figure | None:
    """A panel a metric: mean BD-rate against the first anchor over kMAC a pixel of decoding; lower left is better.

    Codecs whose operations are not counted are lines. None when no codec's operations were counted.
    """
    rows = [row for row in comparisons if row.clip == MEAN and row.bd_rate_percent is not None]
    rows = [row for row in rows if row.anchor == rows[0].anchor]
    metrics = list(dict.fromkeys(row.metric for row in rows))
    if not any(complexity_of(result, row.codec).get("decode_kmac") for row in rows):
        return None
    with matplotlib.rc_context(style(theme)):
        figure = Figure(figsize=(PANEL[0] * WIDE, PANEL[1] * len(metrics)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(metrics), 1, squeeze=False).flatten()
        for panel, metric in zip(panels, metrics, strict=True):
            panel.axhline(0, color=theme.ink, linewidth=0.8)
            panel.annotate(rows[0].anchor, (0.99, 0), xycoords=panel.get_yaxis_transform(), ha="right", va="bottom", fontsize=7)
            for row in rows:
                if row.metric == metric:
                    _draw(panel, result, row, theme)
            panel.set_xscale("log")
            few_plain_ticks(panel, "x")
            panel.margins(x=0.3, y=0.15)
            panel.set_xlabel("kMAC per pixel to decode (log)")
            panel.set_ylabel(f"BD-rate in %, {axis_of(metric).title}")
        figure.draw_without_rendering()
    return figure


def _draw(panel: "matplotlib.axes.Axes", result: RDResult, row: Comparison, theme: Theme) -> None:
    index = result.codecs().index(row.codec)
    look = {"color": theme.lines[index % len(theme.lines)]}
    kmac = complexity_of(result, row.codec).get("decode_kmac")
    if not kmac:
        panel.axhline(row.bd_rate_percent, linestyle="--", linewidth=1, **look)
        place = {"xycoords": panel.get_yaxis_transform(), "ha": "right", "va": "bottom"}
        panel.annotate(row.codec, (0.99, row.bd_rate_percent), fontsize=7, **place)
        return
    panel.plot([kmac], [row.bd_rate_percent], marker=MARKERS[index % len(MARKERS)], markersize=8, linestyle="", **look)
    place = {"xytext": (8, 4), "textcoords": "offset points", "fontsize": 8}
    panel.annotate(row.codec, (kmac, row.bd_rate_percent), **place)
