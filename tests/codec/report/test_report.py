"""Figures, the terminal's table and the HTML page."""

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from report_results import FRAMES, FlatFrames, result
from rich.console import Console

from codec.evaluation import Comparison, compare
from codec.report import bd_tables, pictures_of, rd_figure, write_report
from codec.report.html import report_page
from codec.report.write import drawn_as


@pytest.fixture(scope="module")
def comparisons() -> list[Comparison]:
    return compare(result(), ["x265"], ["ours"])


@pytest.fixture(scope="module")
def written(comparisons: list[Comparison], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report, pictures and all."""
    folder = tmp_path_factory.mktemp("report")
    write_report(result(), comparisons, folder, pictures_of(result(), FlatFrames(), ["ours", "x265"]))
    return folder


def test_a_panel_a_clip_with_better_up(comparisons: list[Comparison]):
    """Catches LPIPS drawn upside down, the wrong tuning's curve, points without a value, and a missing panel."""
    for metric, drawn in (("psnr_rgb", [4, 4]), ("lpips_alex", [3, 4])):
        figure = rd_figure(result(), comparisons, metric)
        panels = [axes for axes in figure.axes if axes.lines]
        assert [axes.get_title(loc="left") for axes in panels] == ["clip <0> & co", "one_1"]
        for axes in panels:
            assert [len(line.get_xdata()) for line in axes.lines] == drawn
            assert "better ↑" in axes.get_ylabel() and axes.get_xscale() == "log"
            line = axes.lines[-1]
            heights = axes.transData.transform(np.column_stack([line.get_xdata(), line.get_ydata()]))[:, 1]
            assert (np.diff(heights) > 0).all()
        rate = min(result().points, key=lambda point: point.bytes).bpp * (1 if metric == "psnr_rgb" else 1.1)
        assert panels[0].lines[1].get_xdata()[0] == pytest.approx(rate, rel=1e-3)


def test_the_bd_rate_is_written_over_its_panel(comparisons: list[Comparison]):
    """Catches a figure that says another number than the table."""
    figure = rd_figure(result(), comparisons, "psnr_rgb")
    assert "ours +50.0 % vs x265, overlap 100 %" in figure.axes[0].texts[0].get_text()


def test_nothing_lies_on_anything_else(comparisons: list[Comparison]):
    """Catches titles over BD-rates, and text that is cut at the edge of the picture."""
    figure = rd_figure(result(1), comparisons, "psnr_rgb")
    renderer = FigureCanvasAgg(figure).get_renderer()
    axes = figure.axes[0]
    title, rates = axes._left_title.get_window_extent(renderer), axes.texts[0].get_window_extent(renderer)
    assert not title.overlaps(rates) and not rates.overlaps(axes.get_window_extent(renderer))
    assert rates.x1 < figure.bbox.x1 and title.y1 < figure.bbox.y1


class Collector(HTMLParser):
    """What a page refers to, and whether its tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attributes if name in ("src", "srcset", "href", "action")]
        if tag not in ("meta", "img", "source", "br", "link", "input", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_asks_the_network_for_nothing(written: Path):
    """Catches a picture, script or font fetched from elsewhere, names that are taken for tags, and unclosed ones."""
    text = (written / "report.html").read_text()
    page = Collector()
    page.feed(text)
    assert not page.open and "@import" not in text and "url(" not in text
    assert set(page.sources) <= {"data:,"} | {source for source in page.sources if source.startswith("#")}
    assert re.findall(r"https?://[^\s\"']*", text) == ["http://www.w3.org/2000/svg"]
    for expected in ("clip <0> & co", "+50.0 %", "mean", "<b>", "41.26", "2.9 M", f"first {FRAMES}"):
        assert expected in page.text
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text


def test_figures_and_tables_for_papers(written: Path):
    """Catches a format that is missing or is not what its name says, and a LaTeX table that does not compile for a `_`."""
    files = {file.name: file.read_bytes() for file in written.iterdir()}
    for name in ("rd_psnr_rgb", "rd_lpips_alex", "rd_complexity"):
        assert files[f"{name}.png"].startswith(b"\x89PNG") and files[f"{name}.pdf"].startswith(b"%PDF")
        assert b"<svg" in files[f"{name}.svg"]
    latex = files["bd_rate.tex"].decode()
    assert r"ours against x265 & PSNR RGB & LPIPS AlexNet \\" in latex and r"one\_1 & $+50.0$" in latex
    assert r"clip \textless{}0\textgreater{} \& co" in latex
    assert "| ours | +50.0 % |" in files["summary.md"].decode()


def test_equal_results_give_equal_files(comparisons: list[Comparison]):
    """Catches dates and random identifiers in figures, pictures and page."""
    pages = [report_page(result(), comparisons, pictures_of(result(), FlatFrames(), ["ours", "x265"])) for _ in range(2)]
    assert pages[0] == pages[1]
    for kind in ("png", "svg", "pdf"):
        files = [drawn_as(rd_figure(result(1), comparisons, "psnr_rgb"), kind) for _ in range(2)]
        assert files[0] == files[1], kind


def test_the_terminal_shows_rate_overlap_and_note():
    """Catches a table without its mean, its signs or its warnings."""
    rows = [
        Comparison("x265", "ours", "psnr_rgb", "one", -12.34, 0.4, "little overlap"),
        Comparison("x265", "ours", "psnr_rgb", "two", None, 0.0, "no common quality"),
        Comparison("x265", "ours", "psnr_rgb", "mean", -12.34, 0.2),
    ]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(*bd_tables(rows))
    text = console.export_text()
    for expected in ("ours against x265", "−12.3 %", "40 %", "–", "little overlap", "no common quality", "mean"):
        assert expected in text


def test_markdown_has_a_row_a_comparison(comparisons: list[Comparison], written: Path):
    """Catches a comparison that the table to publish leaves out, and a page without its table."""
    rows = (written / "bd_rate.md").read_text().splitlines()
    assert len(rows) == 2 + len(comparisons)
    assert all(row.startswith("| ours against x265 |") and row.count("|") == 10 for row in rows[2:])
