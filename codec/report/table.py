"""The mean BD-rates in a terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from codec.evaluation.axes import axis_of
from codec.evaluation.bd_rate import MEAN, Comparison
from codec.report.text import interval, percent, share

FIGURES = ("BD-rate", "95 % interval", "overlap", "clips")
UNBOUNDED = 1000
ELSEWHERE = "Every clip: bd_rate.md"


def bd_tables(comparisons: Sequence[Comparison]) -> list[Table]:
    """A table an anchor, of the means over all clips: by codec and metric. The last says where the clips are."""
    means = [row for row in comparisons if row.clip == MEAN]
    tables = [bd_table([row for row in means if row.anchor == name]) for name in dict.fromkeys(row.anchor for row in means)]
    for table in tables[-1:]:
        table.caption = Text("\n").join(filter(None, (table.caption, Text(ELSEWHERE))))
    return tables


def bd_table(means: Sequence[Comparison]) -> Table:
    """The means against one anchor; names stay whole in a console that is too narrow for them."""
    metrics = list(dict.fromkeys(axis_of(row.metric).title for row in means))
    alone = f", {metrics[0]}" if len(metrics) == 1 else ""
    title = f"Mean BD-rate against {means[0].anchor}{alone} (negative: less rate at equal quality)"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    table.title_justify = table.caption_justify = "left"
    table.title_style, table.caption_style = "bold", ""
    table.add_column("codec" if alone else "codec and metric", no_wrap=True)
    for name in FIGURES:
        table.add_column(name, justify="right", no_wrap=True)
    for codec in dict.fromkeys(row.codec for row in means):
        own = [row for row in means if row.codec == codec]
        if not alone:
            table.add_row(codec, style="bold")
        for row in own:
            table.add_row(
                codec if alone else f"  {axis_of(row.metric).title}", *cells(row), end_section=row is own[-1] and not alone
            )
    table.caption = Text("\n").join(map(Text, notes(means))) or None
    table.width = Console(width=UNBOUNDED).measure(table).maximum
    return table


def cells(row: Comparison) -> tuple[str, ...]:
    """The figures of a row."""
    clips = f"{row.clips} of {row.of_clips}" if row.clips < row.of_clips else f"{row.clips}"
    return percent(row.bd_rate_percent), interval(row), share(row.overlap), clips


def notes(means: Sequence[Comparison]) -> list[str]:
    """What must be known, a line a note with the metrics and codecs that it is about; all of them are not named."""
    about: dict[tuple[str, str], tuple[str, ...]] = {}
    for row in means:
        for note in filter(None, row.note.split("; ")):
            about[row.codec, note] = (*about.get((row.codec, note), ()), axis_of(row.metric).title)
    whom: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (codec, note), metrics in about.items():
        whom.setdefault((note, metrics), []).append(codec)
    count = [len({getattr(row, name) for row in means}) for name in ("metric", "codec")]
    lines = []
    for (note, metrics), codecs in whom.items():
        named = [", ".join(names) for names, every in zip((metrics, codecs), count, strict=True) if len(names) < every]
        lines.append(note + (f" ({'; '.join(named)})" if named else ""))
    return lines
