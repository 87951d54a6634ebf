"""Building an index: scan what is new, drop duplicates and test pictures, write it with its report;
and merging parts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import DataError
from data.index.duplicates import duplicates
from data.index.exclude import check_places, hash_test_sets, matches
from data.index.options import IndexOptions
from data.index.pool import scan_all
from data.index.report import counts_of, write_report
from data.index.scan import Scan
from data.index.schema import COLUMNS
from data.index.source_files import Source, Stamp, find_sources, stamp_of
from data.index.store import (
    BESIDE,
    DROPPED,
    Journal,
    StoredIndex,
    read_index,
    table_of,
    write_index,
)

COPY = "duplicate"
NEAR = "near duplicate"
EXCLUDED = "in a test set"
AFTERWARDS = (COPY, NEAR, EXCLUDED)  # reasons that depend on other files, judged anew each time
log = logging.getLogger(__name__)


def build_index(
    where: str | Path,
    output: Path,
    options: IndexOptions,
    part: tuple[int, int] | None = None,
    workers: int = 1,
) -> StoredIndex:
    """Index a collection, or bring its index up to date.

    Files of unchanged size and time are taken from the index that is there, and from the journal of
    an interrupted run beside it.

    Args:
        where: as for `find_sources`.
        output: the .parquet file; its folder must exist.
        options: what is wanted.
        part: (3, 64) indexes the third of 64 parts.
        workers: processes.

    Returns:
        What was written.

    Raises:
        DataError: nothing is found, `output` is the index of another collection, or a file cannot
            be written.
    """
    check_places(options.exclude)
    root, sources = find_sources(where, part)
    heading = {
        "root": str(root),
        "scan": asdict(options.scan),
        "part": list(part) if part else None,
    }  # as JSON gives it back
    before = _before(output, root=str(root), options=options, part=part)
    journal = Journal(output.with_suffix(".journal"), heading)
    try:
        todo, kept = _todo(sources, before, journal)
        log.info("%s: %d files, %d of them known", where, len(sources), len(sources) - len(todo))
        scan_all(todo, options=options.scan, workers=workers, keep=journal.add)
        names = {source.name for source in sources}
        fresh = [scan for name, scan in journal.done.items() if name in names and name not in kept]
        rows, dropped = _joined(before, kept, fresh)
        stored = finish(
            StoredIndex(
                str(root), options=options, part=part, where=str(where), rows=rows, dropped=dropped
            ),
            output,
        )
    except BaseException:
        journal.close()
        raise
    journal.close(remove=True)
    return stored


def finish(stored: StoredIndex, output: Path) -> StoredIndex:
    """Drop duplicates and test pictures among all rows, then write the index and its report.

    Args:
        stored: rows before or after an earlier `finish`: what that dropped is judged anew.
        output: the .parquet file.
    """
    afterwards = pc.is_in(stored.dropped["reason"], pa.array(AFTERWARDS))
    back = stored.dropped.filter(afterwards).select(COLUMNS.names).cast(COLUMNS)
    rows = (
        pa.concat_tables([stored.rows, back])
        .sort_by([("path", "ascending"), ("first", "ascending")])
        .combine_chunks()
    )
    dropped = [stored.dropped.filter(pc.invert(afterwards))]
    if stored.options.exclude and len(rows):
        found, details = matches(
            rows, hash_test_sets(stored.options.exclude), stored.options.exclude_bits
        )
        dropped.append(
            _with_words(
                rows,
                chosen=found,
                reason=EXCLUDED,
                details=details,
                remedy="it must not be trained on",
            )
        )
        rows = rows.filter(pa.array(~found)).combine_chunks()
    if len(rows):
        instead, apart = duplicates(rows, stored.options.duplicates)
        for reason, gone in (
            (COPY, (instead >= 0) & (apart < 0)),
            (NEAR, (instead >= 0) & (apart >= 0)),
        ):
            dropped.append(
                _with_words(
                    rows,
                    chosen=gone,
                    reason=reason,
                    details=_kept_instead(rows, gone=gone, instead=instead, apart=apart),
                    remedy="none is needed",
                )
            )
        rows = rows.filter(pa.array(instead < 0))
    whole = pa.concat_tables(dropped).sort_by([("path", "ascending"), ("first", "ascending")])
    result = StoredIndex(
        stored.root,
        options=stored.options,
        part=stored.part,
        where=stored.where,
        rows=rows,
        dropped=whole,
    )
    write_index(output, result, counts_of(result))
    write_report(result, output)
    return result


def _before(
    output: Path, root: str, options: IndexOptions, part: tuple[int, int] | None
) -> StoredIndex | None:
    """The index that is there, if its rows can be kept."""
    if not output.exists():
        return None
    found = read_index(output)
    if (found.root, found.part) != (root, part):
        what = f"of {found.root}" + (
            f", part {found.part[0]} of {found.part[1]}" if found.part else ""
        )
        raise DataError(f"{output}: is an index {what}; give another output, or remove it")
    if found.options.scan != options.scan:
        log.warning("%s: was made with other options; all files are scanned again", output)
        return None
    return found


def _todo(
    sources: list[Source], before: StoredIndex | None, journal: Journal
) -> tuple[list[Source], set[str]]:
    """Sources to scan, and names of those whose rows are kept from `before`."""
    known: dict[str, Stamp | None] = {}
    for table in () if before is None else (before.rows, before.dropped):
        columns = (table[name].to_pylist() for name in ("path", "bytes", "mtime_ns"))
        known.update(
            (name, None if size is None else Stamp(size, time))
            for name, size, time in zip(*columns, strict=True)
        )
    gone = known.keys() - {source.name for source in sources}
    if gone:
        log.warning(
            "%d files of the index are gone and their sequences dropped, %s among them",
            len(gone),
            min(gone),
        )
    todo = []
    kept = set()
    for source in sources:
        stamp = _stamp(source)
        noted = journal.done.get(source.name)
        if stamp is not None and known.get(source.name) == stamp:
            kept.add(source.name)
        elif stamp is None or noted is None or noted.stamp != stamp:
            todo.append(source)
    again = sum(source.name in known and known[source.name] is None for source in todo)
    if again:
        log.info("%d files are scanned again: what they were rejected for may have passed", again)
    return todo, kept


def _stamp(source: Source) -> Stamp | None:
    try:
        return stamp_of(source.sequence.path)
    except DataError:  # it is scanned, and rejected with this reason
        return None


def _joined(
    before: StoredIndex | None, kept: set[str], fresh: Iterable[Scan]
) -> tuple[pa.Table, pa.Table]:
    """Rows and dropped rows, those from before and the new ones."""
    scans = list(fresh)
    rows = [table_of((row for scan in scans for row in scan.rows), COLUMNS)]
    dropped = [table_of((row for scan in scans for row in scan.dropped), DROPPED)]
    if before is not None:
        names = pa.array(sorted(kept), pa.string())
        rows.append(
            before.rows.filter(pc.is_in(before.rows["path"], names)).replace_schema_metadata(None)
        )
        dropped.append(
            before.dropped.filter(pc.is_in(before.dropped["path"], names)).replace_schema_metadata(
                None
            )
        )
    return pa.concat_tables(rows), pa.concat_tables(dropped)


def _with_words(
    rows: pa.Table, chosen: np.ndarray, reason: str, details: list[str], remedy: str
) -> pa.Table:
    """The chosen rows as dropped ones."""
    table = rows.filter(pa.array(chosen))
    words = {"reason": [reason] * len(table), "detail": details, "remedy": [remedy] * len(table)}
    for name, values in words.items():
        table = table.append_column(name, pa.array(values, pa.string()))
    return table.cast(DROPPED)


def _kept_instead(
    rows: pa.Table, gone: np.ndarray, instead: np.ndarray, apart: np.ndarray
) -> list[str]:
    numbers = np.flatnonzero(gone)
    better = rows.take(pa.array(instead[numbers])).select(["path", "first"]).to_pylist()
    return [
        f"of {row['path']} from frame {row['first']}"
        + (f", {apart[number]:.1f} bits of 64 apart" if apart[number] >= 0 else "")
        for number, row in zip(numbers, better, strict=True)
    ]


def part_path(output: Path, part: tuple[int, int]) -> Path:
    """`index.part-03-of-64.parquet` beside `index.parquet`; with as many digits as sort well."""
    digits = max(2, len(str(part[1])))
    return output.with_name(
        f"{output.stem}.part-{part[0]:0{digits}d}-of-{part[1]:0{digits}d}{output.suffix}"
    )


def merge_parts(output: Path, parts: Sequence[Path], exclude: tuple[str, ...] = ()) -> StoredIndex:
    """Join all parts of an index: duplicates are looked for across them, and the whole is written
    with its report.

    Args:
        output: the .parquet file.
        parts: all of them, in any order; the `.dropped.parquet` beside each, which a glob finds
            too, is left out.
        exclude: test sets besides those that the parts were made with.

    Raises:
        DataError: a part is missing, given twice or damaged, or parts are of other roots or
            options.
    """
    parts = [part for part in parts if not part.name.endswith(BESIDE)]
    if not parts:
        raise DataError(
            f"{output}: no parts to merge; give the files that corvid data index --part wrote"
        )
    check_places(exclude)
    stored = [read_index(part) for part in parts]
    first = stored[0]
    which: list[tuple[int, int]] = []
    for path, one in zip(parts, stored, strict=True):
        if one.part is None:
            raise DataError(
                f"{path}: is a whole index; give the files that corvid data index --part wrote"
            )
        which.append(one.part)
        for what, mine, its in (
            ("root", first.root, one.root),
            ("options", first.options, one.options),
        ):
            if mine != its:
                raise DataError(
                    f"{path}: its {what} is {its}, but {mine} in {parts[0]}; make all parts with "
                    "the same"
                )
    _check_all_there(output, which)
    rows, dropped = (
        pa.concat_tables(getattr(one, name) for one in stored) for name in ("rows", "dropped")
    )
    both = tuple(dict.fromkeys((*first.options.exclude, *exclude)))
    rows = rows.replace_schema_metadata(None)
    dropped = dropped.replace_schema_metadata(None)
    return finish(
        StoredIndex(
            first.root,
            options=replace(first.options, exclude=both),
            part=None,
            where=first.where,
            rows=rows,
            dropped=dropped,
        ),
        output,
    )


def _check_all_there(output: Path, parts: list[tuple[int, int]]) -> None:
    totals = {total for _, total in parts}
    numbers = [number for number, _ in parts]
    if len(totals) > 1:
        raise DataError(
            f"{output}: parts of {' and '.join(map(str, sorted(totals)))} parts; give those of one "
            "division"
        )
    (total,) = totals
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    missing = sorted(set(range(1, total + 1)) - set(numbers))
    if twice or missing:
        what = (
            f"parts {_listed(missing)} are missing"
            if missing
            else f"parts {_listed(twice)} are given twice"
        )
        raise DataError(
            f"{output}: of {total} parts, {what}; run corvid data index --part for each, and give "
            "each once"
        )


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:20])) + (", ..." if len(numbers) > 20 else "")
