"""`report.html`: an evaluation on one page that opens from disk, asks the network for nothing and can be mailed."""

import base64
import io
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from codec.evaluation.axes import axis_of
from codec.evaluation.bd_rate import MEAN, Comparison
from codec.evaluation.rd import RDResult
from codec.report.figures import rd_figure
from codec.report.markdown import bd_markdown
from codec.report.page import PAGE
from codec.report.text import pair, percent, rounded, share
from codec.report.theme import DARK, LIGHT, Theme


def write_report(
    result: RDResult, comparisons: Sequence[Comparison], output: Path, title: str = "Corvid: rate and quality"
) -> list[Path]:
    """Write `rd_<metric>.png` for every metric, `bd_rate.md`, and `report.html` with pictures in light and dark.

    Returns:
        The files that were written, the page last.
    """
    files = []
    for metric in result.metrics():
        files.append(output / f"rd_{metric}.png")
        files[-1].write_bytes(png(rd_figure(result, comparisons, metric)))
    files.append(output / "bd_rate.md")
    files[-1].write_text(bd_markdown(comparisons), encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    text = environment.from_string(PAGE).render(
        title=title,
        clips=result.clips(),
        tables=tables(comparisons),
        metrics=[metric_section(result, comparisons, metric) for metric in result.metrics()],
        columns=["clip", "codec", "tune", "quality", "kB", "kbps", "bpp", *result.metrics(), "encode s", "decode s"],
        points=rows(result),
        kind_columns=["clip", "codec", "quality", "frames", "intra bpp", "intra PSNR", "predicted bpp", "predicted PSNR"],
        kinds=kind_rows(result),
        conditions=result.conditions,
    )
    page = output / "report.html"
    page.write_text(text, encoding="utf-8")
    return [*files, page]


def tables(comparisons: Sequence[Comparison]) -> list[list[dict[str, Any]]]:
    """The comparisons as rows for the page, a table a metric and pair."""
    groups = groupby(comparisons, key=lambda c: (c.metric, c.anchor, c.codec))
    return [[table_row(comparison) for comparison in group] for _, group in groups]


def table_row(comparison: Comparison) -> dict[str, Any]:
    """One row; `kind` colours a gain and a loss."""
    rate = comparison.bd_rate_percent
    return {
        "title": axis_of(comparison.metric).title,
        "pair": pair(comparison),
        "clip": comparison.clip,
        "mean": comparison.clip == MEAN,
        "rate": percent(rate),
        "kind": "" if rate is None else "good" if rate < 0 else "bad",
        "overlap": share(comparison.overlap),
        "note": comparison.note,
    }


def metric_section(result: RDResult, comparisons: Sequence[Comparison], metric: str) -> dict[str, Any]:
    """A metric's curves, a picture a clip so that a narrow screen can stack them."""
    return {
        "title": axis_of(metric).title,
        "rule": result.conditions.get("metrics", {}).get(metric, ""),
        "pictures": [
            {
                "alt": f"{axis_of(metric).title} over bits per pixel, {clip}",
                "light": embedded(result, comparisons, metric, clip, LIGHT),
                "dark": embedded(result, comparisons, metric, clip, DARK),
            }
            for clip in result.clips()
        ],
    }


def embedded(result: RDResult, comparisons: Sequence[Comparison], metric: str, clip: str, theme: Theme) -> str:
    """The curves of one clip as a data URI."""
    picture = png(rd_figure(result, comparisons, metric, [clip], theme))
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def png(figure: Figure) -> bytes:
    """A figure as PNG, the same bytes every time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, facecolor=figure.get_facecolor(), metadata={"Software": None})
    return buffer.getvalue()


def rows(result: RDResult) -> list[list[str]]:
    """All points as text, in the order of the columns."""
    return [
        [p.clip, p.codec, p.tune or "–", str(p.quality), f"{p.bytes / 1000:.1f}", f"{p.kbps:.1f}", f"{p.bpp:.4f}"]
        + [rounded(p.metrics.get(name)) for name in result.metrics()]
        + [f"{p.encode_seconds:.2f}", f"{p.decode_seconds:.2f}"]
        for p in result.points
    ]


def kind_rows(result: RDResult) -> list[list[str]]:
    """Intra and predicted frames apart, where a codec of ours says them."""
    return [
        [p.clip, p.codec, str(p.quality), str(p.frames)]
        + kind_cells(p.extra["by_kind"].get("intra"))
        + kind_cells(p.extra["by_kind"].get("predicted"))
        for p in result.points
        if "by_kind" in p.extra
    ]


def kind_cells(kind: dict[str, Any] | None) -> list[str]:
    """Bits a pixel and PSNR of one kind of frame."""
    return [f"{kind['bpp']:.4f}", f"{kind['psnr_rgb']:.2f}"] if kind else ["–", "–"]
