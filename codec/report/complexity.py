"""What coding costs, in a terminal and as JSON."""

from dataclasses import asdict
from typing import Any

from rich.table import Table

from codec.evaluation.complexity import Complexity, Cost, FrameComplexity, header_line, parts_of, total
from codec.evaluation.provenance import provenance

_FIGURES = ("parameters", "encoding\nkMAC/px", "encoding\nms", "decoding\nkMAC/px", "decoding\nms")


def complexity_tables(complexity: Complexity) -> list[Table]:
    """A table for the intra frame, one for the predicted frame, one of the symbols of both."""
    frames = {"Intra frame": complexity.intra, "Predicted frame": complexity.predicted}
    tables = [_frame_table(title, frame, complexity) for title, frame in frames.items()]
    symbols = _table("Symbols a frame", "frame", "component", ("coded", "skipped"))
    for title, frame in frames.items():
        for component, coded in frame.coded.items():
            symbols.add_row(title, component, f"{coded:,}", f"{frame.skipped[component]:,}")
        sums = (sum(frame.coded.values()), sum(frame.skipped.values()))
        symbols.add_row(title, "total", *(f"{value:,}" for value in sums), style="bold", end_section=True)
    return [*tables, symbols]


def conditions(complexity: Complexity) -> str:
    """How it was measured, in a line."""
    timed = f"medians of {complexity.repeats}" if complexity.repeats else "not timed"
    return (
        f"{complexity.width}×{complexity.height}, quality {complexity.quality}, {complexity.precision} on the CPU, "
        f"{complexity.threads} threads, {timed}"
    )


def complexity_json(complexity: Complexity, title: str) -> dict[str, Any]:
    """The same as the tables, with totals, versions and commit."""
    content = {"schema": 1, "of": title, **asdict(complexity)}
    for kind in ("intra", "predicted"):
        frame = getattr(complexity, kind)
        content[kind]["total"] = {"encoding": asdict(total(frame.encoding)), "decoding": asdict(total(frame.decoding))}
    return content | {"header": header_line(complexity), "conditions": provenance()}


def _frame_table(title: str, frame: FrameComplexity, complexity: Complexity) -> Table:
    table = _table(title, "part", None, _FIGURES)
    parts = parts_of(frame)
    for part in parts:
        count = complexity.parameters.get(part)
        costs = _cells(frame.encoding.get(part)) + _cells(frame.decoding.get(part))
        table.add_row(part, f"{count:,}" if count else "", *costs, end_section=part == parts[-1])
    count = sum(complexity.parameters.get(part, 0) for part in parts)
    table.add_row("total", f"{count:,}", *_cells(total(frame.encoding)), *_cells(total(frame.decoding)), style="bold")
    return table


def _cells(cost: Cost | None) -> list[str]:
    if cost is None:
        return ["–", "–"]
    return [f"{cost.kmac_per_pixel:.2f}" if cost.kmac_per_pixel else "", f"{cost.milliseconds:.1f}"]


def _table(title: str, first: str, second: str | None, figures: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in (first, second) if second else (first,):
        table.add_column(name, no_wrap=True)
    for name in figures:
        table.add_column(name, justify="right")
    return table
