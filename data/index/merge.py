"""Merging the parts of an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from data.errors import DataError
from data.index.build import finish
from data.index.exclude import check_places
from data.index.store import BESIDE, Stored, read_index


def part_path(output: Path, part: tuple[int, int]) -> Path:
    """`index.part-03-of-64.parquet` beside `index.parquet`; with as many digits as sort well."""
    digits = max(2, len(str(part[1])))
    return output.with_name(f"{output.stem}.part-{part[0]:0{digits}d}-of-{part[1]:0{digits}d}{output.suffix}")


def merge_parts(output: Path, parts: Sequence[Path], exclude: tuple[str, ...] = ()) -> Stored:
    """Join all parts of an index: duplicates are looked for across them, and the whole is written with its report.

    Args:
        output: the .parquet file.
        parts: all of them, in any order; the `.dropped.parquet` beside each, which a glob finds too, is left out.
        exclude: test sets besides those that the parts were made with.

    Raises:
        DataError: a part is missing, given twice or damaged, or parts are of other roots or options.
    """
    parts = [part for part in parts if not part.name.endswith(BESIDE)]
    if not parts:
        raise DataError(f"{output}: no parts to merge; give the files that corvid data index --part wrote")
    check_places(exclude)
    stored = [read_index(part) for part in parts]
    first = stored[0]
    for path, one in zip(parts, stored, strict=True):
        if one.part is None:
            raise DataError(f"{path}: is a whole index; give the files that corvid data index --part wrote")
        for what, mine, its in (("root", first.root, one.root), ("options", first.options, one.options)):
            if mine != its:
                raise DataError(f"{path}: its {what} is {its}, but {mine} in {parts[0]}; make all parts with the same")
    _check_all_there(output, [one.part for one in stored])
    rows, dropped = (pa.concat_tables(getattr(one, name) for one in stored) for name in ("rows", "dropped"))
    both = tuple(dict.fromkeys((*first.options.exclude, *exclude)))
    rows, dropped = rows.replace_schema_metadata(None), dropped.replace_schema_metadata(None)
    return finish(Stored(first.root, replace(first.options, exclude=both), None, first.where, rows, dropped), output)


def _check_all_there(output: Path, parts: list[tuple[int, int]]) -> None:
    totals = {total for _, total in parts}
    numbers = [number for number, _ in parts]
    if len(totals) > 1:
        raise DataError(f"{output}: parts of {' and '.join(map(str, sorted(totals)))} parts; give those of one division")
    (total,) = totals
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    missing = sorted(set(range(1, total + 1)) - set(numbers))
    if twice or missing:
        what = f"parts {_listed(missing)} are missing" if missing else f"parts {_listed(twice)} are given twice"
        raise DataError(f"{output}: of {total} parts, {what}; run corvid data index --part for each, and give each once")


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:20])) + (", ..." if len(numbers) > 20 else "")
