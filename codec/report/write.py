"""Write a report: figures for papers, tables to paste, and the page."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from codec.evaluation.bd_rate import Comparison
from codec.evaluation.rd import RDResult
from codec.report.figures import complexity_figure, rd_figure
from codec.report.formats import bd_latex, bd_markdown, summary_latex, summary_markdown
from codec.report.page import TITLE, report_page
from codec.report.preview import Preview

NO_DATES = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


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
