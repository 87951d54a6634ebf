"""The BD-rate tables in a terminal."""

from collections.abc import Sequence

from rich.table import Table

from codec.evaluation.axes import axis_of
from codec.evaluation.bd_rate import Comparison
from codec.report.text import pair, percent, share


def bd_tables(comparisons: Sequence[Comparison]) -> list[Table]:
    """A table a pair of codecs: one row a clip and metric, the mean below its clips."""
    pairs = dict.fromkeys((comparison.anchor, comparison.codec) for comparison in comparisons)
    return [bd_table([c for c in comparisons if (c.anchor, c.codec) == names]) for names in pairs]


def bd_table(comparisons: Sequence[Comparison]) -> Table:
    """The comparisons of one pair."""
    title = f"BD-rate of {pair(comparisons[0])} (negative: less rate at equal quality)"
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("clip", "metric", "BD-rate", "overlap", "note"):
        figure = name in ("BD-rate", "overlap")
        table.add_column(name, justify="right" if figure else "left", no_wrap=figure, overflow="fold")
    for row in comparisons:
        last = row.is_mean
        cells = (row.clip, axis_of(row.metric).title, percent(row.bd_rate_percent), share(row.overlap), row.note)
        table.add_row(*cells, style="bold" if last else None, end_section=last)
    return table
