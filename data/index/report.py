"""The report of an index: one HTML page that opens from disk and asks the network for nothing, and a CSV of what was left out."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import jinja2
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import DataError
from data.index.counts import clock, counts_of, seconds_of
from data.index.figures import figures
from data.index.options import said
from data.index.page import PAGE
from data.index.store import Stored

SHOWN = 300  # rows of a table on the page; the CSV has them all
LEFT_OUT = ["path", "first", "frames", "reason", "detail", "remedy"]
TOP = 10  # sizes, rates and formats that are listed


def report_paths(output: Path) -> tuple[Path, Path]:
    """The page and the CSV beside an index."""
    return output.with_suffix(".report.html"), output.with_suffix(".rejected.csv")


def write_report(stored: Stored, output: Path) -> None:
    """Write both, each whole or not at all; DataError when that fails."""
    page, listing = report_paths(output)
    try:
        with _replacing(listing) as part, open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file)
            writer.writerow(LEFT_OUT)
            for batch in stored.dropped.select(LEFT_OUT).to_batches(65_536):
                writer.writerows(zip(*(column.to_pylist() for column in batch.columns), strict=True))
        with _replacing(page) as part:
            Path(part).write_text(page_of(stored, listing.name), encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{page}: cannot be written ({error.strerror}); free the disk, or give another output") from error


def page_of(stored: Stored, listing: str) -> str:
    """The page; `listing` is the name of the CSV that it points to."""
    dropped = stored.dropped
    whole = pc.equal(dropped["frames"], 0)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["clock"] = clock
    return environment.from_string(PAGE).render(
        where=stored.where,
        root=stored.root,
        part=stored.part,
        counts=counts_of(stored),
        reasons=reasons_of(dropped),
        options={name: value for name, value in said(stored.options).items() if value not in ("", ())},
        pictures=figures(stored.rows) if len(stored.rows) else [],
        tables=[(title, common_of(stored.rows, columns)) for title, columns in COMMON.items()] if len(stored.rows) else [],
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
    """The most common values of some columns, with sequences and seconds; what is rarer is one last row."""
    joined = rows.select(list(columns)).append_column("seconds", pa.array(seconds_of(rows)))
    groups = joined.group_by(list(columns)).aggregate([("seconds", "count"), ("seconds", "sum")])
    ranked = groups.sort_by([("seconds_sum", "descending"), *((name, "ascending") for name in columns)]).to_pylist()
    found = [_common_row(_value(columns, row), [row]) for row in ranked[:TOP]]
    return found + ([_common_row(f"{len(ranked) - TOP} others", ranked[TOP:])] if len(ranked) > TOP else [])


def _common_row(value: str, groups: list[dict[str, Any]]) -> dict[str, Any]:
    sums = {name: sum(group[f"seconds_{how}"] for group in groups) for name, how in (("sequences", "count"), ("seconds", "sum"))}
    return {"value": value, **sums}


def reasons_of(dropped: pa.Table) -> list[dict[str, Any]]:
    """Of each reason: how often, seconds, and the remedy that comes with it most."""
    timed = dropped.append_column("seconds", pa.array(seconds_of(_rated(dropped))))
    groups = timed.group_by(["reason"]).aggregate([("seconds", "count"), ("seconds", "sum"), ("remedy", "min")])
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
        self._path, self._part = path, path.with_name(f".{path.name}.{uuid4().hex}.part")

    def __enter__(self) -> Path:
        return self._part

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            os.replace(self._part, self._path)
        else:
            self._part.unlink(missing_ok=True)
