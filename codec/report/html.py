"""`report.html`: an evaluation on one page that opens from disk, asks the network for nothing and can be mailed."""

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from codec.evaluation.axes import axis_of
from codec.evaluation.bd_rate import Comparison
from codec.evaluation.rd import RDResult
from codec.report.content import page_content
from codec.report.overview import cost_table, rate_tables
from codec.report.pack import LOSS
from codec.report.pictures import SOURCE, Pictures
from codec.report.text import decibels, interval, pair, percent, rate, rounded, share

PAGE = Path(__file__).parent / "page"
SCRIPTS = ("dom", "axes", "chart", "curves", "complexity", "time", "video", "stage", "steer", "compare", "report")
TITLE = "Corvid: rate and quality"


def report_page(result: RDResult, comparisons: Sequence[Comparison], pictures: Pictures, title: str = TITLE) -> str:
    """The whole page as text."""
    return render(
        "report.html.j2",
        SCRIPTS,
        page_content(result, comparisons, pictures),
        pictures,
        title=title,
        result=result,
        rates=rate_tables(comparisons),
        costs=cost_table(result),
        tables=tables(comparisons),
        rules=result.conditions.get("metrics", {}),
        titles={name: axis_of(name).title for name in result.metrics()},
        columns=["clip", "codec", "tune", "quality", "kB", "kbps", "bpp", *result.metrics(), "encode s", "decode s"],
        points=rows(result),
        kind_columns=["clip", "codec", "quality", "frames", "intra bpp", "intra PSNR", "predicted bpp", "predicted PSNR"],
        kinds=kind_rows(result),
        loss=LOSS,
        least=min((min(pack.decibels) for pack in pictures.packs.values()), default=None),
        originals=[clip for clip in result.clips() if f"{SOURCE}:{clip}" in pictures.packs],
        missing=pictures.missing,
        shown=pictures.frames,
    )


def render(template: str, scripts: Sequence[str], content: dict[str, Any], pictures: Pictures, **values: Any) -> str:
    """A template with style, scripts, content and packs put into it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    code = "\n".join((PAGE / f"{name}.js").read_text(encoding="utf-8") for name in scripts)
    return environment.get_template(template).render(
        style=Markup((PAGE / "page.css").read_text(encoding="utf-8")),
        script=Markup(f'(() => {{\n"use strict";\n{code}}})();'),
        content=embedded(content),
        packs={key: embedded(pack.to_json()) for key, pack in pictures.packs.items()},
        **values,
    )


def breakable(name: str) -> Markup:
    """A name that may go on in the next line behind an underscore."""
    return escape(name).replace("_", Markup("_<wbr>"))


def embedded(content: dict[str, Any]) -> Markup:
    """JSON that can stand in a script element: nothing in it ends the element or opens a comment."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def tables(comparisons: Sequence[Comparison]) -> list[list[dict[str, Any]]]:
    """The comparisons as rows for the page, a table a metric and pair."""
    groups = groupby(comparisons, key=lambda c: (c.metric, c.anchor, c.codec))
    return [[table_row(comparison) for comparison in group] for _, group in groups]


def table_row(comparison: Comparison) -> dict[str, Any]:
    """One row; `kind` colours a gain and a loss."""
    value = comparison.bd_rate_percent
    return {
        "title": axis_of(comparison.metric).title,
        "pair": pair(comparison),
        "clip": comparison.clip,
        "mean": comparison.is_mean,
        "rate": rate(comparison),
        "akima": percent(comparison.akima_percent),
        "quality": decibels(comparison),
        "interval": interval(comparison),
        "kind": "" if value is None else "good" if value < 0 else "bad",
        "overlap": share(comparison.overlap),
        "note": comparison.note,
    }


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
