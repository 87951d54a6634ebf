"""The tables: means over a part of the clips, conditions of costs, LaTeX, and names in a narrow
terminal.
"""

import io
import re
from dataclasses import replace

import pytest
from report_results import COMPLEXITY, result
from rich.console import Console

from codec.evaluation import Comparison, RDResult, compare
from codec.report import bd_tables
from codec.report.formats import bd_latex, bd_markdown, escaped, summary_latex, summary_markdown
from codec.report.formatting import clip_line, cost_line

WHERE = {"size": "352x288", "threads": 1, "frames": 8, "machine": "AMD EPYC"}
PART = "1 of 2 clips"


@pytest.fixture
def made() -> RDResult:
    """A result that says what its costs are of."""
    codecs = {
        "ours": {"intra_period": -1, "complexity": COMPLEXITY | WHERE},
        "x265": {"intra_period": -1, "complexity": None},
    }
    return replace(result(), conditions=result().conditions | {"codecs": codecs})


@pytest.fixture
def rows(made: RDResult) -> list[Comparison]:
    """Comparisons of which the means in PSNR are over one of two clips, and those in LPIPS have an
    interval.
    """
    found = compare(made, ["x265"], ["ours"])
    partly = [
        replace(row, clips=1) if row.is_mean and row.metric == "psnr_rgb" else row for row in found
    ]
    return [
        replace(row, low=-1.5, high=2.5) if row.is_mean and row.metric == "lpips_alex" else row
        for row in partly
    ]


def printed(rows: list[Comparison], width: int) -> str:
    """What a terminal of this width gets."""
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(*bd_tables(rows), crop=False)
    return console.export_text()


def test_a_mean_over_a_part_of_the_clips_is_marked_in_every_table(
    made: RDResult, rows: list[Comparison]
):
    """Catches a mean over one clip that is published as the mean over two."""
    assert f"| mean | PSNR RGB | +50.0 % ({PART}) |" in bd_markdown(rows)
    assert f"+50.0 % ({PART}) |" in summary_markdown(made, rows)
    assert rf"mean & $+50.0$ ({PART}) & " in bd_latex(rows)
    assert PART in summary_latex(made, rows)
    assert re.search(r"PSNR RGB +\+50.0 % +100 % +1 of 2", printed(rows, 80))
    whole = compare(made, ["x265"], ["ours"])
    texts = (
        bd_markdown(whole),
        summary_markdown(made, whole),
        bd_latex(whole),
        summary_latex(made, whole),
        printed(whole, 80),
    )
    assert not any(" of 2" in text for text in texts)


def test_costs_say_what_they_were_measured_on(made: RDResult, rows: list[Comparison]):
    """Catches kMAC and frames a second without kind of frame, size and threads, and an intra frame
    that passes for another.
    """
    line = (
        "kMAC per pixel of a predicted frame of 352x288; "
        "fps on 352x288, 8 frames, 1 thread, AMD EPYC."
    )
    assert cost_line(made, ["ours", "x265"]) == line
    assert line in summary_markdown(made, rows) and line in summary_latex(made, rows)
    assert cost_line(made, ["x265"]) == "" and "fps" not in cost_line(made, ["ours"], speeds=False)
    codecs = dict(made.conditions["codecs"])
    codecs["all_intra"] = {"intra_period": 1, "complexity": COMPLEXITY | WHERE | {"threads": 4}}
    two = replace(made, conditions=made.conditions | {"codecs": codecs})
    said = cost_line(two, ["ours", "all_intra"])
    assert (
        "of an intra frame of 352x288 (all_intra)" in said
        and "of a predicted frame of 352x288" in said
    )
    assert "4 threads, AMD EPYC" in said and "1 thread, AMD EPYC" in said
    bare = replace(made, conditions={"codecs": {"ours": {"complexity": COMPLEXITY}}})
    assert (
        cost_line(bare, ["ours"])
        == "kMAC per pixel of a predicted frame; fps on frames of unknown size, unknown threads."
    )


def test_the_clips_are_told_in_a_line(made: RDResult):
    """Catches a caption that hides clips of other lengths and sizes, and codecs with other intra
    periods.
    """
    assert clip_line(made) == "2 clips of 6 frames, 64x48; only the first frame is intra."
    other = [replace(p, frames=9, width=128) if p.clip == "one_1" else p for p in made.points]
    codecs = {"ours": {"intra_period": 32}, "x265": {"intra_period": 1}}
    said = clip_line(RDResult({"codecs": codecs}, other))
    assert said.startswith("2 clips of 6 to 9 frames, 64x48 and 128x48; ")
    assert "an intra frame every 32 frames" in said and "every frame is intra" in said
    assert "intra period not known" in clip_line(RDResult({}, other))


def test_the_latex_summary_is_a_table_of_codecs_by_metrics(made: RDResult, rows: list[Comparison]):
    """Catches environments that do not close, rows of other lengths, a name taken for a command, a
    minus as Unicode.
    """
    text = summary_latex(made, [replace(row, codec="ours_b", anchor="x265_m") for row in rows])
    opened = re.findall(r"\\(begin|end)\{([a-z*]+)\}", text)
    assert opened == [
        ("begin", "table*"),
        ("begin", "tabular"),
        ("end", "tabular"),
        ("end", "table*"),
    ]
    assert text.count("{") == text.count("}") and text.isascii()
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    columns = len(re.search(r"\{tabular\}\{(l[r]+)\}", text)[1])
    lines = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len(lines) == 4 and {line.count(" & ") + 1 for line in lines} == {columns}
    assert r"ours\_b & +50.0 & " in text and r"x265\_m" in text and not re.search(r"(?<!\\)_", text)
    assert r"\scriptsize $-$1.5 to +2.5" in text and "2 clips of 6 frames, 64x48" in text
    assert escaped("a_b & 5 % −1 ×") == r"a\_b \& 5 \% $-$1 $\times$"


def test_the_terminal_shows_the_means_with_names_whole_at_any_width():
    """Catches a name broken in two, notes in a column of 16 letters, clips that drown the means,
    and figures cut off.
    """
    name = "a_rather_long_name_of_a_codec_of_ours"
    metrics = ("psnr_rgb", "temporal_difference")
    found = [
        Comparison("x265", name, metric, "one_clip", -12.34, 0.4, "little overlap")
        for metric in metrics
    ]
    note = {
        "psnr_rgb": "intra periods differ: x265 -1, ours 32; little overlap on 1 of 2 clips",
        "temporal_difference": "",
    }
    mean = {"low": -15.1, "high": -9.44, "clips": 1, "of_clips": 2}
    found += [
        Comparison("x265", name, metric, "mean", -12.34, 0.4, note[metric], **mean)
        for metric in metrics
    ]
    for width in (40, 80, 200):
        text = printed(found, width)
        assert re.search(rf"^ ?{name} *$", text, re.MULTILINE), text
        assert re.search(
            r"^ +PSNR of frame differences +−12.3 % +−15.1 to −9.4 +40 % +1 of 2 *$",
            text,
            re.MULTILINE,
        ), text
        said = " ".join(text.split())
        assert "little overlap on 1 of 2 clips (PSNR RGB)" in said and "against x265" in said
        assert "one_clip" not in text and said.endswith("Every clip: bd_rate.md")
    alone = printed([row for row in found if row.metric == "psnr_rgb"], 80)
    assert re.search(rf"{name} +−12.3 %", alone) and "against x265, PSNR RGB" in alone
    nothing = printed([Comparison("x265", name, "psnr_rgb", "mean", None, None, "none")], 80)
    assert re.search(rf"{name} +– +– ", nothing)
