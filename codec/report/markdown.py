"""The tables as Markdown, to paste into a page."""

from collections.abc import Sequence

from codec.evaluation.axes import axis_of
from codec.evaluation.bd_rate import Comparison
from codec.evaluation.rd import RDResult
from codec.report.summary import Cell, summaries
from codec.report.text import decibels, interval, pair, percent, rate, share

COLUMNS = ("codecs", "clip", "metric", "BD-rate", "95 % interval", "Akima", "BD-quality", "overlap", "note")


def bd_markdown(comparisons: Sequence[Comparison]) -> str:
    """One row a comparison: codec and anchor, clip, metric, BD-rate and what stands beside it."""
    lines = [_line(COLUMNS), "|---|---|---|--:|--:|--:|--:|--:|---|"]
    for row in comparisons:
        rates = (rate(row), interval(row), percent(row.akima_percent), decibels(row), share(row.overlap))
        lines.append(_line((pair(row), row.clip, axis_of(row.metric).title, *rates, row.note)))
    return "\n".join(lines) + "\n"


def summary_markdown(result: RDResult, comparisons: Sequence[Comparison]) -> str:
    """A table an anchor: a row a codec, mean BD-rates and costs, and below it what they are of."""
    found = []
    for table in summaries(result, comparisons):
        lines = [_line((f"mean BD-rate against {table.anchor}", *table.columns)), "|---|" + "--:|" * len(table.columns)]
        lines += [_line((name, *map(_text, cells))) for name, cells in table.rows]
        found.append("\n".join([*lines, "", *table.conditions]) + "\n")
    return "\n".join(found)


def _text(cell: Cell) -> str:
    beside = "; ".join(cell.details)
    return cell.text + (f" ({beside})" if beside else "")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
