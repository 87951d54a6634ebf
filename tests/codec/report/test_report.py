"""Figures, the terminal's table and the HTML page."""

import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from rich.console import Console

from codec.evaluation import Comparison, Point, RDResult, compare
from codec.report import bd_tables, rd_figure, write_report


def result(clips: int = 2) -> RDResult:
    """Two codecs, one of them with two tunings, on clips with awkward names; one point without LPIPS."""
    points = []
    for number in range(clips):
        for codec, tune, dearer in (("ours", None, 1.5), ("x265", "psnr", 1), ("x265", "default", 1.1)):
            for quality, psnr in enumerate((30, 33, 36, 39)):
                metrics = {"psnr_rgb": float(psnr), "lpips_alex": 10 ** (-psnr / 25) if quality or tune else None}
                size = {"frames": 5, "width": 64, "height": 48, "fps": 25.0}
                cost = {"bytes": int(dearer * 300 * 2**quality), "encode_seconds": 1.0, "decode_seconds": 0.5}
                kinds = {"intra": {"bpp": 0.5, "psnr_rgb": 41.256}}
                rest = {"metrics": metrics, "file": "f", "extra": {"tune": tune} | ({} if tune else {"by_kind": kinds})}
                points.append(Point(codec, f"clip <{number}> & co", quality, **size, **cost, **rest))
    return RDResult({"versions": {"torch": "2"}, "metrics": {"psnr_rgb": "dB"}, "note": "<b>"}, points)


@pytest.fixture(scope="module")
def comparisons() -> list[Comparison]:
    return compare(result(), ["x265"], ["ours"])


def test_a_panel_a_clip_with_better_up(comparisons: list[Comparison]):
    """Catches LPIPS drawn upside down, the wrong tuning's curve, points without a value, and a missing panel."""
    for metric, drawn in (("psnr_rgb", [4, 4]), ("lpips_alex", [3, 4])):
        figure = rd_figure(result(), comparisons, metric)
        panels = [axes for axes in figure.axes if axes.lines]
        assert [axes.get_title(loc="left") for axes in panels] == ["clip <0> & co", "clip <1> & co"]
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
        if tag not in ("meta", "img", "source", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_asks_the_network_for_nothing(comparisons: list[Comparison], tmp_path: Path):
    """Catches a picture, script or font fetched from elsewhere, names that are taken for tags, and unclosed ones."""
    files = write_report(result(), comparisons, tmp_path)
    assert [file.name for file in files] == ["rd_psnr_rgb.png", "rd_lpips_alex.png", "bd_rate.md", "report.html"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files[:2])
    text = files[-1].read_text()
    page = Collector()
    page.feed(text)
    assert not page.open and "http" not in text and "<script" not in text and "@import" not in text
    assert len(page.sources) == 2 * 2 * 2
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    for expected in ("clip <0> & co", "ours against x265", "+50.0 %", "mean", "better", "<b>", "41.26"):
        assert expected in page.text
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text


def test_equal_results_give_equal_files(comparisons: list[Comparison], tmp_path: Path):
    """Catches dates and random identifiers in pictures and page."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        write_report(result(1), comparisons[:1], folder)
    for name in ("rd_psnr_rgb.png", "report.html"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


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


def test_markdown_has_a_row_a_comparison(comparisons: list[Comparison], tmp_path: Path):
    """Catches a comparison that the table to publish leaves out, and a page without its table."""
    write_report(result(), comparisons, tmp_path)
    rows = (tmp_path / "bd_rate.md").read_text().splitlines()
    assert len(rows) == 2 + len(comparisons)
    assert all(row.startswith("| ours against x265 |") and row.count("|") == 7 for row in rows[2:])
