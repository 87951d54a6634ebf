"""Summary tables: every codec's mean BD-rates and costs, as rows that page and papers lay out."""

import string
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from codec.evaluation.results.bd_rate import MEAN, Comparison
from codec.evaluation.results.rd import RDResult
from codec.metrics.spec import spec_of
from codec.report.formatting import (
    clip_count,
    clip_line,
    complexity_of,
    cost_line,
    interval,
    percent,
    with_prefix,
)

COSTS = {
    "parameters": "parameters",
    "encode_kmac": "kMAC/pixel to encode",
    "decode_kmac": "kMAC/pixel to decode",
    "encode_fps": "fps to encode",
    "decode_fps": "fps to decode",
}


@dataclass(frozen=True)
class Cell:
    """A figure of a table.

    Attributes:
        text: the figure.
        kind: "good" or "bad", which colours it.
        detail: its interval.
        note: what a reader must know about it.
        part: `1 of 2 clips` for a mean over some of the clips; shown wherever the figure is.
        mark: of its footnote, where notes stand below the table.
    """

    text: str
    kind: str = ""
    detail: str = ""
    note: str = ""
    part: str = ""
    mark: str = ""

    @property
    def details(self) -> tuple[str, ...]:
        """The lines below the figure."""
        return tuple(filter(None, (self.part, self.detail)))


@dataclass(frozen=True)
class Summary:
    """All codecs against one anchor, as Markdown and LaTeX show it.

    Attributes:
        columns: titles; the first `rates` of them are BD-rates, the others costs.
        conditions: how BD-rates and costs were measured, a line each.
        rows: a codec's name and cells.
    """

    anchor: str
    columns: list[str]
    rates: int = 0
    conditions: tuple[str, ...] = ()
    rows: list[tuple[str, list[Cell]]] = field(default_factory=list)


@dataclass
class PageTable:
    """A table on top of the page, with footnotes.

    Attributes:
        below: a line below the caption.
        columns: titles.
        rows: a codec's name and cells.
        notes: footnotes by mark.
    """

    caption: str
    below: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    def mark(self, note: str) -> str:
        """Add a footnote and return its mark; equal notes share one, an empty note has none."""
        if not note:
            return ""
        marks = {text: mark for mark, text in self.notes.items()}
        mark = marks.get(note) or footnote_mark(len(self.notes))
        self.notes[mark] = note
        return mark


def footnote_mark(index: int) -> str:
    """a to z, aa to zz."""
    count, letter = divmod(index, len(string.ascii_lowercase))
    return string.ascii_lowercase[letter] * (count + 1)


def summaries(result: RDResult, comparisons: Sequence[Comparison]) -> list[Summary]:
    """A table per anchor, in the order of the comparisons; costs nobody has get no column."""
    anchors = dict.fromkeys(row.anchor for row in comparisons)
    return [_summary(result, comparisons, anchor) for anchor in anchors]


def _summary(result: RDResult, comparisons: Sequence[Comparison], anchor: str) -> Summary:
    rows = [row for row in comparisons if row.anchor == anchor and row.clip == MEAN]
    metrics = list(dict.fromkeys(row.metric for row in rows))
    codecs = list(dict.fromkeys(row.codec for row in rows))
    measured = [complexity_of(result, codec) for codec in (*codecs, anchor)]
    costs = [name for name in COSTS if any(found.get(name) is not None for found in measured)]
    conditions = (clip_line(result), cost_line(result, (*codecs, anchor)))
    summary = Summary(
        anchor,
        columns=[spec_of(metric).title for metric in metrics] + [COSTS[name] for name in costs],
        rates=len(metrics),
        conditions=tuple(filter(None, conditions)),
    )
    for codec in codecs:
        by_metric = {row.metric: row for row in rows if row.codec == codec}
        cells = [rate_cell(by_metric.get(metric)) for metric in metrics]
        summary.rows.append((codec, cells + cost_cells(result, codec, costs)))
    cells = [Cell("anchor")] * len(metrics) + cost_cells(result, anchor, costs)
    summary.rows.append((anchor, cells))
    return summary


def rate_tables(comparisons: Sequence[Comparison]) -> list[PageTable]:
    """A table of BD-rates per anchor, in the order of the comparisons; a column per metric."""
    anchors = dict.fromkeys(row.anchor for row in comparisons)
    return [_rate_table([row for row in comparisons if row.anchor == name]) for name in anchors]


def _rate_table(comparisons: Sequence[Comparison]) -> PageTable:
    means = [row for row in comparisons if row.clip == MEAN]
    metrics = list(dict.fromkeys(row.metric for row in means))
    below = "Below a figure: its 95 % interval, from drawing clips again. "
    table = PageTable(
        caption=f"Mean BD-rate over clips against {means[0].anchor}",
        below=below if any(map(interval, means)) else "",
        columns=[spec_of(metric).title for metric in metrics],
    )
    for codec in dict.fromkeys(row.codec for row in means):
        by_metric = {row.metric: row for row in means if row.codec == codec}
        cells = [rate_cell(by_metric.get(metric)) for metric in metrics]
        marked = [replace(cell, mark=table.mark(cell.note)) for cell in cells]
        table.rows.append((codec, marked))
    return table


def cost_table(result: RDResult) -> PageTable | None:
    """Complexity of every codec that was measured; how it was stands below the caption."""
    costs = {name: found for name in result.codecs() if (found := complexity_of(result, name))}
    if not costs:
        return None
    names = [name for name in COSTS if any(found.get(name) is not None for found in costs.values())]
    table = PageTable(
        caption="What coding costs",
        below=cost_line(result, list(costs)),
        columns=[COSTS[name] for name in names],
    )
    table.rows += [(codec, cost_cells(result, codec, names)) for codec in costs]
    return table


def rate_cell(row: Comparison | None) -> Cell:
    """A BD-rate with its interval."""
    if row is None or row.bd_rate_percent is None:
        return Cell("–", note=row.note if row else "")
    return Cell(
        percent(row.bd_rate_percent),
        kind="good" if row.bd_rate_percent < 0 else "bad",
        detail=interval(row),
        note=row.note,
        part=clip_count(row),
    )


def cost_cells(result: RDResult, codec: str, names: Sequence[str]) -> list[Cell]:
    """These fields of a codec's complexity."""
    found = complexity_of(result, codec)
    return [Cell(with_prefix(found.get(name))) for name in names]
