"""The BD-rate tables and the summary as Markdown and as LaTeX (for `booktabs`)."""

from collections.abc import Iterable, Sequence

from codec.evaluation.results.bd_rate import Comparison
from codec.evaluation.results.rd import RDResult
from codec.metrics.spec import spec_of
from codec.report.formatting import (
    bd_rate,
    clip_count,
    decibels,
    interval,
    pair_name,
    percent,
    whole_percent,
)
from codec.report.summary import Cell, Summary, summaries

MARKDOWN_COLUMNS = (
    "codecs",
    "clip",
    "metric",
    "BD-rate",
    "95 % interval",
    "Akima",
    "BD-quality",
    "overlap",
    "note",
)
LATEX_SPECIAL = {
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    "µ": r"$\mu$",
}
LATEX_HEAD = "% \\usepackage{booktabs}; BD-rate in percent, negative: less rate at equal quality\n"
LATEX_CAPTION = (
    "Mean BD-rate in percent against {}, negative: less rate at equal quality; "
    "below it the bootstrap 95 % interval over clips."
)


def bd_markdown(comparisons: Sequence[Comparison]) -> str:
    """A row per comparison: codec and anchor, clip, metric, BD-rate and its details."""
    lines = [_markdown_row(MARKDOWN_COLUMNS), "|---|---|---|--:|--:|--:|--:|--:|---|"]
    for row in comparisons:
        cells = (
            pair_name(row),
            row.clip,
            spec_of(row.metric).title,
            bd_rate(row),
            interval(row),
            percent(row.akima_percent),
            decibels(row),
            whole_percent(row.overlap),
            row.note,
        )
        lines.append(_markdown_row(cells))
    return "\n".join(lines) + "\n"


def summary_markdown(result: RDResult, comparisons: Sequence[Comparison]) -> str:
    """Mean BD-rates and costs, a table per anchor, a row per codec; conditions below it."""
    tables = []
    for table in summaries(result, comparisons):
        lines = [_markdown_row((f"mean BD-rate against {table.anchor}", *table.columns))]
        lines.append("|---|" + "--:|" * len(table.columns))
        lines += [_markdown_row((name, *map(_markdown_cell, cells))) for name, cells in table.rows]
        tables.append("\n".join([*lines, "", *table.conditions]) + "\n")
    return "\n".join(tables)


def _markdown_cell(cell: Cell) -> str:
    beside = "; ".join(cell.details)
    return cell.text + (f" ({beside})" if beside else "")


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def bd_latex(comparisons: Sequence[Comparison]) -> str:
    """A table per pair of codecs: clips by metrics, the mean with its interval below."""
    pairs = dict.fromkeys((row.codec, row.anchor) for row in comparisons)
    tables = [
        _bd_latex([row for row in comparisons if (row.codec, row.anchor) == pair]) for pair in pairs
    ]
    return LATEX_HEAD + "\n".join(tables)


def _bd_latex(rows: Sequence[Comparison]) -> str:
    metrics = list(dict.fromkeys(row.metric for row in rows))
    cells = {(row.clip, row.metric): _latex_rate(row) for row in rows}
    clips = list(dict.fromkeys(row.clip for row in rows if not row.is_mean))
    means = list(dict.fromkeys(row.clip for row in rows if row.is_mean))

    def lines(names: list[str]) -> list[str]:
        return [
            _latex_row(escaped(name), [cells.get((name, metric), "--") for metric in metrics])
            for name in names
        ]

    titles = [escaped(spec_of(metric).title) for metric in metrics]
    table = [
        rf"\begin{{tabular}}{{l{'r' * len(metrics)}}}",
        r"\toprule",
        _latex_row(escaped(pair_name(rows[0])), titles),
        r"\midrule",
        *lines(clips),
        r"\midrule",
        *lines(means),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(table) + "\n"


def summary_latex(result: RDResult, comparisons: Sequence[Comparison]) -> str:
    """Mean BD-rates and costs, a table per anchor, a row per codec; conditions in the caption."""
    clips = len(result.clips())
    tables = [_summary_latex(table, clips) for table in summaries(result, comparisons)]
    return LATEX_HEAD + "\n".join(tables)


def _summary_latex(table: Summary, clips: int) -> str:
    caption = " ".join((LATEX_CAPTION.format(table.anchor), *table.conditions))
    columns = [*table.columns[: table.rates], "clips", *table.columns[table.rates :]]
    lines = [
        r"\begin{table*}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{escaped(caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        _latex_row("", [_stacked(map(escaped, name.split())) for name in columns]),
        r"\midrule",
    ]
    for name, cells in table.rows:
        rates = cells[: table.rates]
        costs = [escaped(cell.text) for cell in cells[table.rates :]]
        texts = [cell.text.removesuffix(" %").replace("anchor", "–") for cell in rates]
        lines.append(_latex_row(escaped(name), [*map(escaped, texts), str(clips), *costs]))
        details = [
            _stacked(rf"\scriptsize {escaped(text)}" for text in (cell.detail, cell.part) if text)
            for cell in rates
        ]
        if any(details):
            lines.append(_latex_row("", [*details, *[""] * (1 + len(costs))]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}"]) + "\n"


def _stacked(lines: Iterable[str]) -> str:
    """Lines in one cell: a column of figures is narrower than its title."""
    joined = r" \\ ".join(lines)
    return rf"\shortstack[r]{{{joined}}}" if joined else ""


def _latex_rate(row: Comparison) -> str:
    if row.bd_rate_percent is None:
        return "--"
    text = f"${row.bd_rate_percent:+.1f}$"
    if row.low is not None and row.high is not None:
        text += f" [${row.low:+.1f}$, ${row.high:+.1f}$]"
    return text + (f" ({clip_count(row)})" if clip_count(row) else "")


def _latex_row(name: str, cells: Sequence[str]) -> str:
    return " & ".join([name, *cells]) + r" \\"


def escaped(text: str) -> str:
    """Text with the characters escaped that mean something to LaTeX."""
    return "".join(LATEX_SPECIAL.get(letter, letter) for letter in text)
