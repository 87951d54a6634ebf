"""The summary: a row a codec, its mean BD-rates against an anchor and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from codec.evaluation.axes import axis_of
from codec.evaluation.bd_rate import MEAN, Comparison
from codec.evaluation.rd import RDResult
from codec.report.captions import clip_line, cost_line
from codec.report.content import complexity_of
from codec.report.text import amount, interval, part, percent

COSTS = {
    "parameters": "parameters",
    "encode_kmac": "kMAC/pixel to encode",
    "decode_kmac": "kMAC/pixel to decode",
    "encode_fps": "fps to encode",
    "decode_fps": "fps to decode",
}


@dataclass(frozen=True)
class Cell:
    """A figure as a reader sees it.

    `kind` is good or bad, `detail` its interval, `note` what must be known about it; `part` says when it is a mean over some
    of the clips only, and stands wherever the figure stands; `mark` is that of its footnote where notes stand below.
    """

    text: str
    kind: str = ""
    detail: str = ""
    note: str = ""
    part: str = ""
    mark: str = ""

    @property
    def details(self) -> tuple[str, ...]:
        """What stands below the figure, a line each."""
        return tuple(filter(None, (self.part, self.detail)))


@dataclass(frozen=True)
class Summary:
    """All codecs against one anchor: titles of the columns, then name and cells of every row; how many columns are BD-rates.

    `conditions` are what BD-rates and costs are of, a line each.
    """

    anchor: str
    columns: list[str]
    rates: int = 0
    conditions: tuple[str, ...] = ()
    rows: list[tuple[str, list[Cell]]] = field(default_factory=list)


def summaries(result: RDResult, comparisons: Sequence[Comparison]) -> list[Summary]:
    """A table an anchor, in the order of the comparisons; costs that no codec of a table has get no column."""
    return [_summary(result, comparisons, anchor) for anchor in dict.fromkeys(row.anchor for row in comparisons)]


def _summary(result: RDResult, comparisons: Sequence[Comparison], anchor: str) -> Summary:
    rows = [row for row in comparisons if row.anchor == anchor and row.clip == MEAN]
    metrics = list(dict.fromkeys(row.metric for row in rows))
    codecs = list(dict.fromkeys(row.codec for row in rows))
    costs = [name for name in COSTS if any(complexity_of(result, codec).get(name) is not None for codec in (*codecs, anchor))]
    conditions = tuple(filter(None, (clip_line(result), cost_line(result, (*codecs, anchor)))))
    titles = [axis_of(metric).title for metric in metrics] + [COSTS[name] for name in costs]
    summary = Summary(anchor, titles, len(metrics), conditions)
    for codec in codecs:
        by_metric = {row.metric: row for row in rows if row.codec == codec}
        cells = [rate_cell(by_metric.get(metric)) for metric in metrics]
        summary.rows.append((codec, cells + cost_cells(result, codec, costs)))
    summary.rows.append((anchor, [Cell("anchor")] * len(metrics) + cost_cells(result, anchor, costs)))
    return summary


def rate_cell(row: Comparison | None) -> Cell:
    """A BD-rate with its interval."""
    if row is None or row.bd_rate_percent is None:
        return Cell("–", note=row.note if row else "")
    kind = "good" if row.bd_rate_percent < 0 else "bad"
    return Cell(percent(row.bd_rate_percent), kind, interval(row), row.note, part(row))


def cost_cells(result: RDResult, codec: str, names: Sequence[str]) -> list[Cell]:
    """What a codec costs, in these fields of its complexity."""
    found = complexity_of(result, codec)
    return [Cell(amount(found.get(name))) for name in names]
