"""Numbers as a reader sees them, the same in terminal, picture and page."""

from codec.evaluation.bd_rate import Comparison


def percent(value: float | None) -> str:
    """A BD-rate with its sign, `−12.3 %`, or a dash when there is none."""
    return "–" if value is None else f"{value:+.1f} %".replace("-", "−")


def share(value: float) -> str:
    """An overlap as whole percent."""
    return f"{100 * value:.0f} %"


def rounded(value: float | None) -> str:
    """A metric's value with four significant digits, or a dash when there is none."""
    return "–" if value is None else f"{value:.4g}"


def pair(comparison: Comparison) -> str:
    """Who is compared with whom."""
    return f"{comparison.codec} against {comparison.anchor}"
