"""The report of an index: one HTML page that opens from disk and asks the network for nothing, and
a CSV of what was left out.
"""

from __future__ import annotations

import base64
import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, FuncFormatter, LogFormatter, MaxNLocator

from data.errors import DataError
from data.index.options import said
from data.index.store import StoredIndex

PAGE = Path(__file__).with_name("report.html")  # plain HTML, no script, nothing fetched
SHOWN = 300  # rows of a table on the page; the CSV has them all
LEFT_OUT = ["path", "first", "frames", "reason", "detail", "remedy"]
TOP = 10  # sizes, rates and formats that are listed
BINS = 40
STYLE: dict[Any, Any] = {  # ink that is read on light and dark paper; no paper of its own
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), "#808690"
    ),
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
FILL = "#3d8fc4"


def report_paths(output: Path) -> tuple[Path, Path]:
    """The page and the CSV beside an index."""
    return output.with_suffix(".report.html"), output.with_suffix(".rejected.csv")


def write_report(stored: StoredIndex, output: Path) -> None:
    """Write both, each whole or not at all; DataError when that fails."""
    page, listing = report_paths(output)
    try:
        with (
            _replacing(listing) as part,
            open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(LEFT_OUT)
            for batch in stored.dropped.select(LEFT_OUT).to_batches(65_536):
                writer.writerows(
                    zip(*(column.to_pylist() for column in batch.columns), strict=True)
                )
        with _replacing(page) as part:
            Path(part).write_text(page_of(stored, listing.name), encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(
            f"{page}: cannot be written ({error.strerror}); free the disk, or give another output"
        ) from error


def page_of(stored: StoredIndex, listing: str) -> str:
    """The page; `listing` is the name of the CSV that it points to."""
    dropped = stored.dropped
    whole = pc.equal(dropped["frames"], 0)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["clock"] = clock
    return environment.from_string(PAGE.read_text(encoding="utf-8")).render(
        where=stored.where,
        root=stored.root,
        part=stored.part,
        counts=counts_of(stored),
        reasons=reasons_of(dropped),
        options={
            name: value for name, value in said(stored.options).items() if value not in ("", ())
        },
        pictures=figures(stored.rows) if len(stored.rows) else [],
        tables=[(title, common_of(stored.rows, columns)) for title, columns in COMMON.items()]
        if len(stored.rows)
        else [],
        rejected=dropped.filter(whole).slice(0, SHOWN).select(LEFT_OUT).to_pylist(),
        left_out=dropped.filter(pc.invert(whole)).slice(0, SHOWN).select(LEFT_OUT).to_pylist(),
        left_out_total=pc.sum(pc.invert(whole)).as_py() or 0,
        listing=listing,
    )


COMMON = {
    "size": ("width", "height"),
    "frames/s": ("fps_num", "fps_den"),
    "format": ("codec", "pixel_format"),
    "colour": ("matrix", "colour_origin"),
    "licence": ("licence",),
}


def common_of(rows: pa.Table, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """The most common values of some columns, with sequences and seconds; what is rarer is one last
    row.
    """
    joined = rows.select(list(columns)).append_column("seconds", pa.array(seconds_of(rows)))
    groups = joined.group_by(list(columns)).aggregate([("seconds", "count"), ("seconds", "sum")])
    ranked = groups.sort_by(
        [("seconds_sum", "descending"), *((name, "ascending") for name in columns)]
    ).to_pylist()
    found = [_common_row(_value(columns, row), [row]) for row in ranked[:TOP]]
    return found + (
        [_common_row(f"{len(ranked) - TOP} others", ranked[TOP:])] if len(ranked) > TOP else []
    )


def _common_row(value: str, groups: list[dict[str, Any]]) -> dict[str, Any]:
    sums = {
        name: sum(group[f"seconds_{how}"] for group in groups)
        for name, how in (("sequences", "count"), ("seconds", "sum"))
    }
    return {"value": value, **sums}


def reasons_of(dropped: pa.Table) -> list[dict[str, Any]]:
    """Of each reason: how often, seconds, and the remedy that comes with it most."""
    timed = dropped.append_column("seconds", pa.array(seconds_of(_rated(dropped))))
    groups = timed.group_by(["reason"]).aggregate(
        [("seconds", "count"), ("seconds", "sum"), ("remedy", "min")]
    )
    return groups.sort_by([("seconds_count", "descending"), ("reason", "ascending")]).to_pylist()


def _rated(dropped: pa.Table) -> pa.Table:
    """Rows of files without a frame rate have 0 frames, at any rate."""
    for name in ("fps_num", "fps_den"):
        place = dropped.schema.get_field_index(name)
        dropped = dropped.set_column(place, name, pc.fill_null(dropped[name], 1))
    return dropped


def _value(columns: tuple[str, ...], row: dict[str, Any]) -> str:
    if columns == ("width", "height"):
        return f"{row['width']}×{row['height']}"
    if columns == ("fps_num", "fps_den"):
        return f"{row['fps_num'] / row['fps_den']:.3f}".rstrip("0").rstrip(".")
    return " ".join(str(row[name]) for name in columns if row[name]) or "not stated"


class _replacing:
    """A name of its own for a file to write, which takes the place of `path` when it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{uuid4().hex}.part")

    def __enter__(self) -> Path:
        return self._part

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            os.replace(self._part, self._path)
        else:
            self._part.unlink(missing_ok=True)


def counts_of(stored: StoredIndex) -> dict[str, Any]:
    """Files, sequences, hours, GB, and what was left out by reason: `dropped` counts sequences,
    `rejected` whole files.
    """
    rows = stored.rows
    dropped = stored.dropped
    files = pc.count_distinct(rows["path"]).as_py()
    whole = pc.equal(dropped["frames"], 0)
    bytes_of = rows.group_by("path").aggregate([("bytes", "max")])["bytes_max"]
    return {
        "files": len(
            pc.unique(
                pa.chunked_array([*rows["path"].chunks, *dropped["path"].chunks], pa.string())
            )
        ),
        "files_used": files,
        "files_rejected": pc.sum(whole).as_py() or 0,
        "sequences": len(rows),
        "frames": pc.sum(rows["frames"]).as_py() or 0,
        "hours": float(seconds_of(rows).sum() / 3600),
        "hours_dropped": float(seconds_of(dropped.filter(pc.invert(whole))).sum() / 3600),
        "gigabytes": (pc.sum(bytes_of).as_py() or 0) / 1e9,
        "left_out": by_reason(dropped),
    }


def seconds_of(rows: pa.Table) -> np.ndarray:
    """float64, of each sequence."""
    frames, top, bottom = (rows[name].to_numpy() for name in ("frames", "fps_num", "fps_den"))
    return frames * (bottom / np.maximum(top, 1))


def clock(seconds: float) -> str:
    """Seconds in the unit that suits: "12.3 s", "4.5 min", "1,234.5 h"."""
    unit, size = next(
        ((unit, size) for unit, size in (("h", 3600), ("min", 60)) if seconds >= 2 * size), ("s", 1)
    )
    return f"{seconds / size:,.1f} {unit}"


def by_reason(dropped: pa.Table) -> dict[str, int]:
    """How many rows each reason has, most first."""
    counted = pc.value_counts(dropped["reason"]).to_pylist()
    return {
        one["values"]: one["counts"]
        for one in sorted(counted, key=lambda one: (-one["counts"], one["values"]))
    }


@dataclass(frozen=True)
class Picture:
    """A histogram: title, what it says in words, and the PNG as a data URI."""

    title: str
    words: str
    uri: str


def figures(rows: pa.Table) -> list[Picture]:
    """Size, length, rate, motion, luma and bytes a pixel, weighed by time; at least one row."""
    column = {
        name: rows[name].to_numpy()
        for name in ("width", "height", "fps_num", "fps_den", "motion", "luma", "bytes")
    }
    pixels = column["width"].astype(np.float64) * column["height"]
    seconds = seconds_of(rows)
    per_pixel = 8 * column["bytes"] / (pixels * np.maximum(rows["file_frames"].to_numpy(), 1))
    short = np.minimum(column["width"], column["height"]).astype(np.float64)
    return [
        _histogram("Shorter side, pixels", short, seconds, log=True),
        _histogram("Length of a sequence, seconds", seconds, seconds, log=True),
        _histogram("Frames per second", column["fps_num"] / column["fps_den"], seconds),
        _histogram("Motion: mean change of luma, 0..255", column["motion"], seconds, log=True),
        _histogram("Mean luma, 0..255", column["luma"], seconds),
        _histogram("Bits a pixel of the files", per_pixel, seconds, log=True),
    ]


def _histogram(title: str, values: np.ndarray, seconds: np.ndarray, log: bool = False) -> Picture:
    values = np.maximum(values, 1e-3) if log else values
    low, middle, high = np.percentile(values, [0, 50, 100])
    edges = _edges(low, high, log)
    with rc_context(STYLE):
        figure = Figure(figsize=(5, 2.4), layout="constrained")
        axes = figure.add_subplot()
        unit, size = ("hours", 3600) if seconds.sum() >= 2 * 3600 else ("minutes", 60)
        axes.hist(values, edges.tolist(), weights=seconds / size, color=FILL)
        axes.set_ylabel(unit)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(_few(np.log10(edges[-1] / edges[0])))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160, transparent=True, metadata={"Software": None})
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Picture(title, f"{low:.3g} to {high:.3g}, median of sequences {middle:.3g}", uri)


def _edges(low: float, high: float, log: bool) -> np.ndarray:
    if log:
        margin = 1.1 if high > 1.5 * low else 1.5
        return np.geomspace(low / margin, high * margin, BINS + 1)
    margin = max(0.5, 0.02 * (high - low))
    return np.linspace(low - margin, high + margin, BINS + 1)


def _few(decades: float) -> Formatter:
    """Numbers at 2 and 5 between powers of ten where these are few."""
    if decades > 3:
        return LogFormatter(minor_thresholds=(0, 0))
    marks = (2, 5) if decades > 1 else (2, 3, 4, 5, 6, 8)

    def first_digits(value: float) -> float:
        return round(value / 10 ** np.floor(np.log10(value) + 1e-9), 3)

    return FuncFormatter(lambda value, _: f"{value:g}" if first_digits(value) in marks else "")
