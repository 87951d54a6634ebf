"""The report of an evaluation: figures for papers, tables to paste, and `report.html`, one page
that opens from disk and needs no network.
"""

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from codec.evaluation.results.bd_rate import MEAN, Comparison
from codec.evaluation.results.rd import Point, RDResult
from codec.metrics.spec import MetricSpec, spec_of
from codec.report.figures import complexity_figure, rd_figure
from codec.report.formats import bd_latex, bd_markdown, summary_latex, summary_markdown
from codec.report.formatting import (
    bd_rate,
    complexity_of,
    decibels,
    four_digits,
    interval,
    pair_name,
    percent,
    whole_percent,
)
from codec.report.preview import SOURCE, Preview
from codec.report.summary import cost_table, rate_tables
from codec.report.vp9_preview import NAME

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = (
    "dom",
    "axes",
    "chart",
    "curves",
    "complexity",
    "time",
    "video",
    "stage",
    "steer",
    "compare",
    "report",
)
TITLE = "Corvid: rate and quality"
NO_DATES = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
DIGITS = 5
POINT_COLUMNS = ("clip", "codec", "tune", "quality", "kB", "kbps", "bpp")
SECONDS_COLUMNS = ("encode s", "decode s")
FRAME_TYPE_COLUMNS = (
    "clip",
    "codec",
    "quality",
    "frames",
    "intra bpp",
    "intra PSNR",
    "predicted bpp",
    "predicted PSNR",
)


def report_page(
    result: RDResult, comparisons: Sequence[Comparison], preview: Preview, title: str = TITLE
) -> str:
    """The whole page as text."""
    worst = [min(video.decibels) for video in preview.videos.values()]
    return render(
        "report.html.j2",
        scripts=SCRIPTS,
        content=page_data(result, comparisons, preview),
        preview=preview,
        title=title,
        result=result,
        rates=rate_tables(comparisons),
        costs=cost_table(result),
        tables=bd_tables(comparisons),
        rules=result.conditions.get("metrics", {}),
        titles={name: spec_of(name).title for name in result.metrics()},
        columns=[*POINT_COLUMNS, *result.metrics(), *SECONDS_COLUMNS],
        points=point_rows(result),
        kind_columns=FRAME_TYPE_COLUMNS,
        kinds=frame_type_rows(result),
        loss=NAME,
        least=min(worst, default=None),
        originals=[clip for clip in result.clips() if f"{SOURCE}:{clip}" in preview.videos],
        missing=preview.missing,
        shown=preview.frames,
    )


def render(
    template: str,
    scripts: Sequence[str],
    content: dict[str, Any],
    preview: Preview,
    **values: Any,
) -> str:
    """A template filled with style, scripts, content and videos."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    code = "\n".join((ASSETS / f"{name}.js").read_text(encoding="utf-8") for name in scripts)
    return environment.get_template(template).render(
        style=Markup((ASSETS / "page.css").read_text(encoding="utf-8")),
        script=Markup(f'(() => {{\n"use strict";\n{code}}})();'),
        content=embedded_json(content),
        videos={key: embedded_json(video.to_json()) for key, video in preview.videos.items()},
        **values,
    )


def breakable(name: str) -> Markup:
    """A name that may continue on the next line after an underscore."""
    return escape(name).replace("_", Markup("_<wbr>"))


def embedded_json(content: dict[str, Any]) -> Markup:
    """JSON for a script element: nothing in it ends the element or opens a comment."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def bd_tables(comparisons: Sequence[Comparison]) -> list[list[dict[str, Any]]]:
    """The comparisons as rows for the page, a table per metric and pair of codecs."""
    groups = groupby(comparisons, key=lambda row: (row.metric, row.anchor, row.codec))
    return [[bd_row(comparison) for comparison in group] for _, group in groups]


def bd_row(comparison: Comparison) -> dict[str, Any]:
    """One row; `kind` colours a gain and a loss."""
    value = comparison.bd_rate_percent
    return {
        "title": spec_of(comparison.metric).title,
        "pair": pair_name(comparison),
        "clip": comparison.clip,
        "mean": comparison.is_mean,
        "rate": bd_rate(comparison),
        "akima": percent(comparison.akima_percent),
        "quality": decibels(comparison),
        "interval": interval(comparison),
        "kind": "" if value is None else "good" if value < 0 else "bad",
        "overlap": whole_percent(comparison.overlap),
        "note": comparison.note,
    }


def point_rows(result: RDResult) -> list[list[str]]:
    """All points as text, in the order of the columns."""
    return [
        [
            point.clip,
            point.codec,
            point.tune or "–",
            str(point.quality),
            f"{point.bytes / 1000:.1f}",
            f"{point.kbps:.1f}",
            f"{point.bpp:.4f}",
            *(four_digits(point.metrics.get(name)) for name in result.metrics()),
            f"{point.encode_seconds:.2f}",
            f"{point.decode_seconds:.2f}",
        ]
        for point in result.points
    ]


def frame_type_rows(result: RDResult) -> list[list[str]]:
    """Intra and predicted frames separately, for codecs of ours, which record them."""
    return [
        [point.clip, point.codec, str(point.quality), str(point.frames)]
        + frame_type_cells(point.extra["by_kind"].get("intra"))
        + frame_type_cells(point.extra["by_kind"].get("predicted"))
        for point in result.points
        if "by_kind" in point.extra
    ]


def frame_type_cells(figures: dict[str, Any] | None) -> list[str]:
    """Bits per pixel and PSNR of one type of frame."""
    return [f"{figures['bpp']:.4f}", f"{figures['psnr_rgb']:.2f}"] if figures else ["–", "–"]


def page_data(
    result: RDResult, comparisons: Sequence[Comparison], preview: Preview
) -> dict[str, Any]:
    """What the page's scripts draw: points, comparisons, complexity and what can be shown.

    Numbers have five significant digits.
    """
    shown = {key: point_id(point) for key, point in preview.points.items()}
    return {
        "codecs": result.codecs(),
        "clips": result.clips(),
        "mean": MEAN,
        "metrics": {name: metric_data(spec_of(name)) for name in result.metrics()},
        "points": [point_data(point) for point in result.points],
        "comparisons": [asdict(row) for row in comparisons],
        "complexity": {name: complexity_of(result, name) for name in result.codecs()},
        "pictures": preview.to_json() | {"points": shown},
    }


def metric_data(spec: MetricSpec) -> dict[str, str]:
    """A metric's names and the kind of its axis."""
    return {"title": spec.title, "unit": spec.unit, "tune": spec.tuning, "kind": axis_kind(spec)}


def axis_kind(spec: MetricSpec) -> str:
    """How a value is placed on the axis on which BD-rate integrates.

    `plain` as it is, a `distance` d as -10 log10 d, a `similarity` s as -10 log10(1 - s).
    """
    if spec.best is None:
        return "plain"
    return "distance" if spec.distance else "similarity"


def point_data(point: Point) -> dict[str, Any]:
    """One point, with its place on the axis of every metric; None where it has none."""
    places = {
        name: None if value is None else spec_of(name).place(value)
        for name, value in point.metrics.items()
    }
    per_frame = {name: list(map(rounded, values)) for name, values in point.per_frame.items()}
    return {
        **point_id(point),
        "frames": point.frames,
        "fps": point.fps,
        "bpp": rounded(point.bpp),
        "kbps": rounded(point.kbps),
        "imported": point.extra.get("imported"),
        "values": {name: rounded(value) for name, value in point.metrics.items()},
        "places": {name: rounded(value) for name, value in places.items()},
        "frame_bytes": point.frame_bytes,
        "per_frame": per_frame,
        "every": point.extra.get("per_frame_every", {}),
    }


def point_id(point: Point) -> dict[str, Any]:
    """What tells a point from all others."""
    return {
        "codec": point.codec,
        "clip": point.clip,
        "tune": point.tune,
        "quality": point.quality,
    }


def rounded(value: float | None) -> float | None:
    """Five significant digits; None for what is not finite, which JSON does not have."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")


def write_report(
    result: RDResult,
    comparisons: Sequence[Comparison],
    output: Path,
    preview: Preview | None = None,
    title: str = TITLE,
) -> list[Path]:
    """Write `rd_<metric>` and `rd_complexity` as png, svg and pdf, tables, and `report.html`.

    Args:
        preview: what the visual comparison shows; by default nothing, and the page says so.

    Returns:
        The files that were written, the page last.
    """
    output.mkdir(parents=True, exist_ok=True)
    figures = {
        f"rd_{metric}": rd_figure(result, comparisons, metric) for metric in result.metrics()
    }
    if complexity := complexity_figure(result, comparisons):
        figures["rd_complexity"] = complexity
    files = [output / f"{name}.{kind}" for name in figures for kind in NO_DATES]
    for file in files:
        file.write_bytes(render_figure(figures[file.stem], file.suffix[1:]))
    texts = {
        "bd_rate.md": bd_markdown(comparisons),
        "summary.md": summary_markdown(result, comparisons),
        "bd_rate.tex": bd_latex(comparisons),
        "summary.tex": summary_latex(result, comparisons),
        "report.html": report_page(result, comparisons, preview or Preview(), title),
    }
    for name, text in texts.items():
        files.append(output / name)
        files[-1].write_text(text, encoding="utf-8")
    return files


def render_figure(figure: Figure, kind: str) -> bytes:
    """A figure as png, svg or pdf, the same bytes every time; text in a pdf stays text."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "corvid", "pdf.fonttype": 42}):
        figure.savefig(
            buffer,
            format=kind,
            dpi=200,
            facecolor=figure.get_facecolor(),
            metadata=NO_DATES[kind],
        )
    return buffer.getvalue()
