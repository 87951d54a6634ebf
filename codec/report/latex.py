"""The BD-rate tables in LaTeX, for `booktabs`."""

from collections.abc import Iterable, Sequence

from codec.evaluation.axes import axis_of
from codec.evaluation.bd_rate import Comparison
from codec.evaluation.rd import RDResult
from codec.report.summary import Summary, summaries
from codec.report.text import pair, part

SPECIAL = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"}
SPECIAL |= {
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
HEAD = "% \\usepackage{booktabs}; BD-rate in percent, negative: less rate at equal quality\n"
CAPTION = (
    "Mean BD-rate in percent against {}, negative: less rate at equal quality; below it the bootstrap 95 % interval over clips."
)


def bd_latex(comparisons: Sequence[Comparison]) -> str:
    """A table a pair of codecs: a row a clip, a column a metric, the mean with its interval below."""
    pairs = dict.fromkeys((row.codec, row.anchor) for row in comparisons)
    return HEAD + "\n".join(_table([row for row in comparisons if (row.codec, row.anchor) == names]) for names in pairs)


def summary_latex(result: RDResult, comparisons: Sequence[Comparison]) -> str:
    """A table an anchor: a row a codec, a column a metric with the mean BD-rate, then costs; the caption says of what."""
    return HEAD + "\n".join(_summary(table, len(result.clips())) for table in summaries(result, comparisons))


def _summary(table: Summary, clips: int) -> str:
    caption = " ".join((CAPTION.format(table.anchor), *table.conditions))
    columns = [*table.columns[: table.rates], "clips", *table.columns[table.rates :]]
    lines = [
        r"\begin{table*}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{escaped(caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        _line("", [_stacked(map(escaped, name.split())) for name in columns]),
        r"\midrule",
    ]
    for name, cells in table.rows:
        rates, costs = cells[: table.rates], cells[table.rates :]
        shown = [escaped(cell.text.removesuffix(" %").replace("anchor", "–")) for cell in rates]
        lines.append(_line(escaped(name), [*shown, str(clips), *(escaped(cell.text) for cell in costs)]))
        below = [_stacked(rf"\scriptsize {escaped(text)}" for text in (cell.detail, cell.part) if text) for cell in rates]
        lines += [_line("", [*below, *[""] * (1 + len(costs))])] * any(below)
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}"]) + "\n"


def _stacked(lines: Iterable[str]) -> str:
    """Lines in one cell: a column of figures is narrower than its title."""
    found = r" \\ ".join(lines)
    return rf"\shortstack[r]{{{found}}}" if found else ""


def _table(rows: Sequence[Comparison]) -> str:
    metrics = list(dict.fromkeys(row.metric for row in rows))
    cells = {(row.clip, row.metric): _rate(row) for row in rows}
    clips, means = (list(dict.fromkeys(row.clip for row in rows if row.is_mean == wanted)) for wanted in (False, True))
    lines = [
        rf"\begin{{tabular}}{{l{'r' * len(metrics)}}}",
        r"\toprule",
        _line(escaped(pair(rows[0])), [escaped(axis_of(metric).title) for metric in metrics]),
        r"\midrule",
        *(_line(escaped(clip), [cells.get((clip, metric), "--") for metric in metrics]) for clip in clips),
        r"\midrule",
        *(_line(escaped(clip), [cells.get((clip, metric), "--") for metric in metrics]) for clip in means),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _rate(row: Comparison) -> str:
    if row.bd_rate_percent is None:
        return "--"
    between = f" [${row.low:+.1f}$, ${row.high:+.1f}$]" if row.low is not None and row.high is not None else ""
    return f"${row.bd_rate_percent:+.1f}${between}" + (f" ({part(row)})" if part(row) else "")


def _line(name: str, cells: Sequence[str]) -> str:
    return " & ".join([name, *cells]) + r" \\"


def escaped(text: str) -> str:
    """Text as LaTeX shows it."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)
