"""The HTML page, and the files of a report."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_results import FRAMES, FlatFrames, result

from codec.evaluation import Comparison, compare
from codec.report import make_preview, rd_figure, write_report
from codec.report.page import render_figure, report_page


@pytest.fixture(scope="module")
def comparisons() -> list[Comparison]:
    return compare(result(), ["x265"], ["ours"])


@pytest.fixture(scope="module")
def written(comparisons: list[Comparison], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report, pictures and all."""
    folder = tmp_path_factory.mktemp("report")
    write_report(
        result(), comparisons, folder, make_preview(result(), FlatFrames(), ["ours", "x265"])
    )
    return folder


class Collector(HTMLParser):
    """What a page refers to, and whether its tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.sources += [
            value or "" for name, value in attributes if name in ("src", "srcset", "href", "action")
        ]
        if tag not in ("meta", "img", "source", "br", "link", "input", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_asks_the_network_for_nothing(written: Path):
    """Catches a picture, script or font fetched from elsewhere, names that are taken for tags, and
    unclosed ones.
    """
    text = (written / "report.html").read_text()
    page = Collector()
    page.feed(text)
    assert not page.open and "@import" not in text and "url(" not in text
    assert set(page.sources) <= {"data:,"} | {
        source for source in page.sources if source.startswith("#")
    }
    assert re.findall(r"https?://[^\s\"']*", text) == ["http://www.w3.org/2000/svg"]
    for expected in (
        "clip <0> & co",
        "+50.0 %",
        "mean",
        "<b>",
        "41.26",
        "2.9 M",
        f"first {FRAMES}",
    ):
        assert expected in page.text
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text


def test_figures_and_tables_for_papers(written: Path):
    """Catches a format that is missing or is not what its name says, and a LaTeX table that does
    not compile for a `_`.
    """
    files = {file.name: file.read_bytes() for file in written.iterdir()}
    for name in ("rd_psnr_rgb", "rd_lpips_alex", "rd_complexity"):
        assert files[f"{name}.png"].startswith(b"\x89PNG") and files[f"{name}.pdf"].startswith(
            b"%PDF"
        )
        assert b"<svg" in files[f"{name}.svg"]
    latex = files["bd_rate.tex"].decode()
    assert (
        r"ours against x265 & PSNR RGB & LPIPS AlexNet \\" in latex and r"one\_1 & $+50.0$" in latex
    )
    assert r"clip \textless{}0\textgreater{} \& co" in latex
    assert "| ours | +50.0 % |" in files["summary.md"].decode()
    assert files["summary.tex"].decode().count(r"\begin{table*}") == 1


def test_equal_results_give_equal_files(comparisons: list[Comparison]):
    """Catches dates and random identifiers in figures, pictures and page."""
    pages = [
        report_page(result(), comparisons, make_preview(result(), FlatFrames(), ["ours", "x265"]))
        for _ in range(2)
    ]
    assert pages[0] == pages[1]
    for kind in ("png", "svg", "pdf"):
        files = [
            render_figure(rd_figure(result(1), comparisons, "psnr_rgb"), kind) for _ in range(2)
        ]
        assert files[0] == files[1], kind


def test_markdown_has_a_row_a_comparison(comparisons: list[Comparison], written: Path):
    """Catches a comparison that the table to publish leaves out, and a page without its table."""
    rows = (written / "bd_rate.md").read_text().splitlines()
    assert len(rows) == 2 + len(comparisons)
    assert all(row.startswith("| ours against x265 |") and row.count("|") == 10 for row in rows[2:])
