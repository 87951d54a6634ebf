"""The BD-rate table as Markdown, to paste into a page."""

from collections.abc import Sequence

from codec.evaluation.axes import axis_of
from codec.evaluation.bd_rate import Comparison
from codec.report.text import pair, percent, share


def bd_markdown(comparisons: Sequence[Comparison]) -> str:
    """One row a comparison: codec and anchor, clip, metric, BD-rate, overlap, note."""
    lines = ["| codecs | clip | metric | BD-rate | overlap | note |", "|---|---|---|--:|--:|---|"]
    for row in comparisons:
        cells = (pair(row), row.clip, axis_of(row.metric).title, percent(row.bd_rate_percent), share(row.overlap), row.note)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
