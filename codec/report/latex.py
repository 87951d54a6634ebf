"""The BD-rate tables in LaTeX, for `booktabs`."""

from collections.abc import Sequence

from codec.evaluation.axes import axis_of
from codec.evaluation.bd_rate import Comparison
from codec.report.text import pair

SPECIAL = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"}
SPECIAL |= {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
HEAD = "% \\usepackage{booktabs}; BD-rate in percent, negative: less rate at equal quality\n"


def bd_latex(comparisons: Sequence[Comparison]) -> str:
    """A table a pair of codecs: a row a clip, a column a metric, the mean with its interval below."""
    pairs = dict.fromkeys((row.codec, row.anchor) for row in comparisons)
    return HEAD + "\n".join(_table([row for row in comparisons if (row.codec, row.anchor) == names]) for names in pairs)


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
    return f"${row.bd_rate_percent:+.1f}${between}"


def _line(name: str, cells: Sequence[str]) -> str:
    return " & ".join([name, *cells]) + r" \\"


def escaped(text: str) -> str:
    """Text as LaTeX shows it."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)
