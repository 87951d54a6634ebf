"""Tables for the terminal: mean BD-rates, and what coding costs (the latter also as JSON)."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from codec.evaluation.complexity.profiler import (
    Complexity,
    Cost,
    FrameComplexity,
    header_line,
    parts_of,
    total,
)
from codec.evaluation.conditions import provenance
from codec.evaluation.results.bd_rate import MEAN, Comparison
from codec.metrics.spec import spec_of
from codec.report.formatting import interval, percent, whole_percent

BD_COLUMNS = ("BD-rate", "95 % interval", "overlap", "clips")
COST_COLUMNS = (
    "parameters",
    "encoding\nkMAC/px",
    "encoding\nms",
    "decoding\nkMAC/px",
    "decoding\nms",
)
UNBOUNDED = 1000  # letters of a console that cuts nothing
CAPTION = "Every clip: bd_rate.md"


def bd_tables(comparisons: Sequence[Comparison]) -> list[Table]:
    """Means over all clips by codec and metric, a table per anchor.

    The last one says where the clips are.
    """
    means = [row for row in comparisons if row.clip == MEAN]
    anchors = dict.fromkeys(row.anchor for row in means)
    tables = [bd_table([row for row in means if row.anchor == anchor]) for anchor in anchors]
    for table in tables[-1:]:
        caption = Text(CAPTION)
        if isinstance(table.caption, Text):
            caption = Text("\n").join([table.caption, caption])
        table.caption = caption
    return tables


def bd_table(means: Sequence[Comparison]) -> Table:
    """Means against one anchor; a console that is too narrow for names does not break them."""
    metrics = list(dict.fromkeys(spec_of(row.metric).title for row in means))
    single = len(metrics) == 1
    metric = f", {metrics[0]}" if single else ""
    table = Table(
        title=f"Mean BD-rate against {means[0].anchor}{metric} "
        "(negative: less rate at equal quality)",
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        caption_style="",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("codec" if single else "codec and metric", no_wrap=True)
    for name in BD_COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for codec in dict.fromkeys(row.codec for row in means):
        own = [row for row in means if row.codec == codec]
        if not single:
            table.add_row(codec, style="bold")
        for row in own:
            name = codec if single else f"  {spec_of(row.metric).title}"
            table.add_row(name, *bd_cells(row), end_section=row is own[-1] and not single)
    table.caption = Text("\n").join(map(Text, note_lines(means))) or None
    table.width = Console(width=UNBOUNDED).measure(table).maximum
    return table


def bd_cells(row: Comparison) -> tuple[str, ...]:
    """The figures of a row."""
    clips = f"{row.clips} of {row.of_clips}" if row.clips < row.of_clips else f"{row.clips}"
    return percent(row.bd_rate_percent), interval(row), whole_percent(row.overlap), clips


def note_lines(means: Sequence[Comparison]) -> list[str]:
    """The notes, each once with its metrics and codecs, unless it holds for all of these."""
    metrics_of: dict[tuple[str, str], tuple[str, ...]] = {}
    for row in means:
        for note in filter(None, row.note.split("; ")):
            earlier = metrics_of.get((row.codec, note), ())
            metrics_of[row.codec, note] = (*earlier, spec_of(row.metric).title)
    codecs_of: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (codec, note), metrics in metrics_of.items():
        codecs_of.setdefault((note, metrics), []).append(codec)
    all_metrics = len({row.metric for row in means})
    all_codecs = len({row.codec for row in means})
    lines = []
    for (note, metrics), codecs in codecs_of.items():
        named = []
        if len(metrics) < all_metrics:
            named.append(", ".join(metrics))
        if len(codecs) < all_codecs:
            named.append(", ".join(codecs))
        lines.append(note + (f" ({'; '.join(named)})" if named else ""))
    return lines


def complexity_tables(complexity: Complexity) -> list[Table]:
    """A table for the intra frame, one for the predicted frame, one of the symbols of both."""
    frames = {"Intra frame": complexity.intra, "Predicted frame": complexity.predicted}
    tables = [_frame_table(title, frame, complexity) for title, frame in frames.items()]
    symbols = _cost_table("Symbols a frame", ("frame", "component"), ("coded", "skipped"))
    for title, frame in frames.items():
        for component, count in frame.coded.items():
            symbols.add_row(title, component, f"{count:,}", f"{frame.skipped[component]:,}")
        coded = f"{sum(frame.coded.values()):,}"
        skipped = f"{sum(frame.skipped.values()):,}"
        symbols.add_row(title, "total", coded, skipped, style="bold", end_section=True)
    return [*tables, symbols]


def measuring_conditions(complexity: Complexity) -> str:
    """How complexity was measured, in a line."""
    timed = f"medians of {complexity.repeats}" if complexity.repeats else "not timed"
    return (
        f"{complexity.width}×{complexity.height}, quality {complexity.quality}, "
        f"{complexity.precision} on the CPU, {complexity.threads} threads, {timed}"
    )


def complexity_json(complexity: Complexity, title: str) -> dict[str, Any]:
    """The figures of the tables, with totals, versions and commit."""
    content = {"schema": 1, "of": title, **asdict(complexity)}
    for kind in ("intra", "predicted"):
        frame = getattr(complexity, kind)
        content[kind]["total"] = {
            "encoding": asdict(total(frame.encoding)),
            "decoding": asdict(total(frame.decoding)),
        }
    return content | {"header": header_line(complexity), "conditions": provenance()}


def _frame_table(title: str, frame: FrameComplexity, complexity: Complexity) -> Table:
    table = _cost_table(title, ("part",), COST_COLUMNS)
    parts = parts_of(frame)
    for part in parts:
        count = complexity.parameters.get(part)
        costs = _cost_cells(frame.encoding.get(part)) + _cost_cells(frame.decoding.get(part))
        last = part == parts[-1]
        table.add_row(part, f"{count:,}" if count else "", *costs, end_section=last)
    count = sum(complexity.parameters.get(part, 0) for part in parts)
    costs = _cost_cells(total(frame.encoding)) + _cost_cells(total(frame.decoding))
    table.add_row("total", f"{count:,}", *costs, style="bold")
    return table


def _cost_cells(cost: Cost | None) -> list[str]:
    if cost is None:
        return ["–", "–"]
    kmac = f"{cost.kmac_per_pixel:.2f}" if cost.kmac_per_pixel else ""
    return [kmac, f"{cost.milliseconds:.1f}"]


def _cost_table(title: str, names: Sequence[str], figures: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in names:
        table.add_column(name, no_wrap=True)
    for name in figures:
        table.add_column(name, justify="right")
    return table
