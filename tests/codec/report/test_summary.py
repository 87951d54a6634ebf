"""The tables on top of the page."""

from dataclasses import replace

from report_results import COMPLEXITY, result

from codec.evaluation import Comparison
from codec.report.summary import cost_table, footnote_mark, rate_tables


def test_notes_stand_once_below_and_means_say_their_clips():
    """Catches a note in a cell, the same note twice, and the mean over one clip of two taken for
    that over both.
    """
    rows = []
    for metric in ("psnr_rgb", "vmaf"):
        rows += [
            Comparison("x265", "ours", metric, clip, rate, 0.5)
            for clip, rate in (("one", -3.0), ("two", None))
        ]
        rows += [
            Comparison(
                "x265",
                "ours",
                metric,
                "mean",
                -3.0,
                0.5,
                "1 of 2 left out",
                low=-4.0,
                high=-2.0,
                of_clips=2,
            )
        ]
    (table,) = rate_tables(rows)
    ((name, cells),) = table.rows
    assert (name, table.columns, table.notes) == (
        "ours",
        ["PSNR RGB", "VMAF"],
        {"a": "1 of 2 left out"},
    )
    for cell in cells:
        assert (cell.text, cell.kind, cell.mark) == ("−3.0 %", "good", "a")
        assert cell.details == ("1 of 2 clips", "−4.0 to −2.0")
    assert [footnote_mark(index) for index in (0, 25, 26)] == ["a", "z", "aa"]


def test_costs_say_what_they_are_of():
    """Catches speeds without size and threads, and operations without the kind of frame."""
    made = result()
    cost = COMPLEXITY | {"size": "64x48", "threads": 2}
    codecs = {"ours": {"intra_period": 1, "complexity": cost}, "x265": {"complexity": None}}
    table = cost_table(replace(made, conditions=made.conditions | {"codecs": codecs}))
    assert table is not None and [name for name, _ in table.rows] == ["ours"]
    assert "of an intra frame of 64x48" in table.below and "2 threads" in table.below
    assert [cell.text for cell in table.rows[0][1]] == ["2.9 M", "60", "28", "4.2", "8.1"]
    assert cost_table(replace(made, conditions={})) is None
