"""The tables on top of the page: mean BD-rates against each anchor, and what coding costs; what must be known stands below."""

import string
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from codec.evaluation.axes import axis_of
from codec.evaluation.bd_rate import MEAN, Comparison
from codec.evaluation.rd import RDResult
from codec.report.captions import cost_line
from codec.report.content import complexity_of
from codec.report.summary import COSTS, Cell, cost_cells, rate_cell
from codec.report.text import interval


@dataclass
class Overview:
    """A table: its caption and what is said below it, titles of the columns, name and cells of every row, footnotes by mark."""

    caption: str
    below: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    def mark(self, note: str) -> str:
        """The mark of a footnote, the same for equal ones; empty without a note."""
        if not note:
            return ""
        known = {text: mark for mark, text in self.notes.items()}
        mark = known.get(note) or mark_of(len(self.notes))
        self.notes[mark] = note
        return mark


def mark_of(index: int) -> str:
    """a to z, aa to zz."""
    count, letter = divmod(index, len(string.ascii_lowercase))
    return string.ascii_lowercase[letter] * (count + 1)


def rate_tables(comparisons: Sequence[Comparison]) -> list[Overview]:
    """A table an anchor, in the order of the comparisons: a row a codec, a column a metric."""
    anchors = dict.fromkeys(row.anchor for row in comparisons)
    return [_rates([row for row in comparisons if row.anchor == anchor]) for anchor in anchors]


def _rates(comparisons: Sequence[Comparison]) -> Overview:
    means = [row for row in comparisons if row.clip == MEAN]
    metrics = list(dict.fromkeys(row.metric for row in means))
    below = "Below a figure: its 95 % interval, from drawing clips again. " if any(map(interval, means)) else ""
    table = Overview(f"Mean BD-rate over clips against {means[0].anchor}", below, [axis_of(metric).title for metric in metrics])
    for codec in dict.fromkeys(row.codec for row in means):
        by_metric = {row.metric: row for row in means if row.codec == codec}
        cells = [rate_cell(by_metric.get(metric)) for metric in metrics]
        table.rows.append((codec, [replace(cell, mark=table.mark(cell.note)) for cell in cells]))
    return table


def cost_table(result: RDResult) -> Overview | None:
    """Complexity, a row a codec that was measured; of what the figures are stands below the caption."""
    costs = {codec: found for codec in result.codecs() if (found := complexity_of(result, codec))}
    if not costs:
        return None
    names = [name for name in COSTS if any(found.get(name) is not None for found in costs.values())]
    table = Overview("What coding costs", cost_line(result, list(costs)), [COSTS[name] for name in names])
    table.rows += [(codec, cost_cells(result, codec, names)) for codec in costs]
    return table
