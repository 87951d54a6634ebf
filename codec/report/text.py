"""Numbers as a reader sees them, the same in terminal, picture and page."""

from codec.evaluation.bd_rate import Comparison

STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def percent(value: float | None) -> str:
    """A BD-rate with its sign, `−12.3 %`, or a dash when there is none."""
    return "–" if value is None else f"{value:+.1f} %".replace("-", "−")


def part(row: Comparison) -> str:
    """`1 of 2 clips` for a mean that is not over all clips, else nothing."""
    return f"{row.clips} of {row.of_clips} clips" if row.is_of_part else ""


def rate(row: Comparison) -> str:
    """A BD-rate with its sign; a mean over a part of the clips says so: `−12.3 % (1 of 2 clips)`."""
    return percent(row.bd_rate_percent) + (f" ({part(row)})" if part(row) else "")


def interval(row: Comparison) -> str:
    """The bootstrap interval of a mean, `−15.1 to −9.4`, or nothing when there is none."""
    if row.low is None or row.high is None:
        return ""
    return f"{row.low:+.1f} to {row.high:+.1f}".replace("-", "−")


def decibels(row: Comparison) -> str:
    """A BD-quality with its sign, or a dash when there is none."""
    return "–" if row.bd_quality is None else f"{row.bd_quality:+.2f}".replace("-", "−")


def share(value: float | None) -> str:
    """An overlap as whole percent, or a dash when there is none."""
    return "–" if value is None else f"{100 * value:.0f} %"


def rounded(value: float | None) -> str:
    """A metric's value with four significant digits, or a dash when there is none."""
    return "–" if value is None else f"{value:.4g}"


def amount(value: float | None) -> str:
    """A count or a speed with three digits, `2.94 M`, or a dash when there is none."""
    if value is None:
        return "–"
    size, unit = next(((size, unit) for size, unit in STEPS if value >= size), (1, ""))
    return f"{value / size:.3g} {unit}".rstrip()


def pair(comparison: Comparison) -> str:
    """Who is compared with whom."""
    return f"{comparison.codec} against {comparison.anchor}"
