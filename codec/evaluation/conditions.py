"""Results may be put together when they were made under the same conditions; what differs is named."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from codec.errors import CodecError
from codec.evaluation.rd import Point, RDResult
from codec.evaluation.schema import check_together, load

RULES = ("rate",)
OF_A_CLIP = ("sha256", "frames", "size", "fps", "colour", "read", "class")
OF_A_MACHINE = ("versions", "git_commit", "machine")
BY_NAME = ("metrics", "codecs", "clips")
MEASURED = ("complexity",)  # of a codec's settings: differs from run to run
NAMED = 5  # differences
ALL_INTRA = 1


def merge(results: Sequence[RDResult], names: Sequence[str] = ()) -> RDResult:
    """One result of several that were made under the same conditions.

    Codecs with equal settings and points that are the same are taken once. Versions, commit and machine may differ; what does
    stands in `conditions.results` under the result's name.

    Args:
        results: at least one.
        names: what messages call them, for example their files.

    Raises:
        CodecError: they mix conditions (another clip behind a name, other frames, colour path, intra period, metric rule,
            settings of a codec, or other clips); the message names what differs, and the remedy.
    """
    names = list(names) or [f"result {number}" for number in range(1, len(results) + 1)]
    differences = [line for pair in _pairs(results, names) for line in differing(*pair)]
    if differences:
        said = "; ".join(differences[:NAMED]) + f"; and {len(differences) - NAMED} more" * (len(differences) > NAMED)
        raise CodecError(f"results mix conditions: {said}; evaluate them under the same conditions")
    points: dict[Any, Point] = {}
    for point in (point for result in results for point in result.points):
        points[point.place] = _united(points[point.place], point) if point.place in points else point
    merged = RDResult(_merged_conditions(results, names), list(points.values()))
    check_together(merged.points, merged.conditions, " and ".join(names))
    return merged


def merge_files(paths: Sequence[str | Path], output: Path) -> RDResult:
    """Load results (files, or folders that hold an `rd.json`) and merge them.

    Args:
        output: folder of what is made of them: the points' `file` becomes relative to it.

    Raises:
        CodecError: as `load` and `merge`.
    """
    files = [Path(path) / "rd.json" if Path(path).is_dir() else Path(path) for path in paths]
    results = [moved(load(file), file.parent, output) for file in files]
    return merge(results, [str(path) for path in paths])


def moved(result: RDResult, folder: Path, output: Path) -> RDResult:
    """The result of `folder` with its files named relative to `output`."""
    root = Path(os.path.relpath(folder.resolve(), output.resolve()))
    return replace(result, points=[replace(p, file=(root / p.file).as_posix()) if p.file else p for p in result.points])


def differing(first: RDResult, second: RDResult, names: tuple[str, str]) -> Iterator[str]:
    """In words, the conditions in which two results differ and must not."""
    a, b = first.conditions, second.conditions
    for rule in RULES:
        yield from _unequal(rule, a.get(rule), b.get(rule), names)
    for metric in _shared(a, b, "metrics"):
        yield from _unequal(f"metrics.{metric}", a["metrics"][metric], b["metrics"][metric], names)
    for clip in _shared(a, b, "clips"):
        ours, theirs = a["clips"][clip], b["clips"][clip]
        for name in OF_A_CLIP:
            yield from _unequal(f"clips.{clip}.{name}", ours.get(name), theirs.get(name), names)
    for codec in _shared(a, b, "codecs"):
        yield from _other_settings(codec, a["codecs"][codec], b["codecs"][codec], names)
    yield from _intra_periods(first, second, names)
    yield from _clips(first, second, names)
    yield from _points(first, second, names)


def _pairs(results: Sequence[RDResult], names: Sequence[str]) -> Iterator[tuple[RDResult, RDResult, tuple[str, str]]]:
    for later in range(1, len(results)):
        for earlier in range(later):
            yield results[earlier], results[later], (names[earlier], names[later])


def _shared(a: dict[str, Any], b: dict[str, Any], part: str) -> list[str]:
    return [name for name in a.get(part) or {} if name in (b.get(part) or {})]


def _unequal(field: str, ours: Any, theirs: Any, names: tuple[str, str]) -> Iterator[str]:
    """A line when both are known and differ."""
    if None not in (ours, theirs) and ours != theirs:
        yield f"{field} is {ours!r} in {names[0]} and {theirs!r} in {names[1]}"


def _other_settings(codec: str, ours: dict[str, Any], theirs: dict[str, Any], names: tuple[str, str]) -> Iterator[str]:
    """A line when a name stands for two codecs."""
    fields = dict.fromkeys(name for name in (*ours, *theirs) if name not in MEASURED)
    other = [name for name in fields if ours.get(name) != theirs.get(name)]
    if other:
        name = other[0]
        values = f"{ours.get(name)!r} in {names[0]} and {theirs.get(name)!r} in {names[1]}"
        yield f"codecs.{codec}.{name} is {values} (give one of the codecs another name)"


def _intra_periods(first: RDResult, second: RDResult, names: tuple[str, str]) -> Iterator[str]:
    """A line when no codec of one result codes intra frames as often as one of the other; all-intra codecs aside."""
    found = [
        {own["intra_period"] for own in (result.conditions.get("codecs") or {}).values() if own.get("intra_period") is not None}
        - {ALL_INTRA}
        for result in (first, second)
    ]
    if all(found) and not found[0] & found[1]:
        said = [", ".join(map(str, sorted(periods))) for periods in found]
        yield f"codecs.*.intra_period is {said[0]} in {names[0]} and {said[1]} in {names[1]}"


def _clips(first: RDResult, second: RDResult, names: tuple[str, str]) -> Iterator[str]:
    """A line a clip that only one of two results has: means would be over other clips. Imported results may have others."""
    found = [dict.fromkeys(point.clip for point in result.points if not point.imported) for result in (first, second)]
    if all(found):
        for here, there, name in ((*found, names[0]), (*found[::-1], names[1])):
            yield from (f"clip {clip!r} is in {name} only" for clip in here if clip not in there)


def _points(first: RDResult, second: RDResult, names: tuple[str, str]) -> Iterator[str]:
    """A line a point that both results have and that is not the same."""
    theirs = {point.place: point for point in second.points}
    for point in first.points:
        other = theirs.get(point.place)
        if other is None:
            continue
        where = f"{point.codec} at {point.quality} on {point.clip}"
        for name in ("sha256", "bytes", "frames"):
            yield from _unequal(f"{where}: {name}", getattr(point, name) or None, getattr(other, name) or None, names)


def _united(first: Point, second: Point) -> Point:
    """One point of two at the same place: the first, with the metrics that only the second was scored in."""
    metrics, frames = second.metrics | first.metrics, second.per_frame | first.per_frame
    return replace(first, metrics=metrics, per_frame=frames)


def _merged_conditions(results: Sequence[RDResult], names: Sequence[str]) -> dict[str, Any]:
    """The conditions of all: parts by name are united, what is of a machine stands by result where it differs."""
    merged: dict[str, Any] = {}
    for field, value in (item for result in results for item in result.conditions.items()):
        if field in BY_NAME:
            parts = merged.setdefault(field, {})
            parts |= {name: _filled(parts.get(name), inner) for name, inner in (value or {}).items()}
        else:
            merged.setdefault(field, value)
    machines = [{name: value for name, value in result.conditions.items() if name in OF_A_MACHINE} for result in results]
    if any(machine != machines[0] for machine in machines):
        merged = {field: value for field, value in merged.items() if field not in OF_A_MACHINE}
        titles = [f"{number} {Path(name).name}" for number, name in enumerate(names, 1)]
        said = {title: machine for title, machine in zip(titles, machines, strict=True) if machine}
        merged["results"] = merged.get("results", {}) | said
    return merged


def _filled(first: Any, second: Any) -> Any:
    """The first, with what it does not know taken from the second."""
    if not isinstance(first, dict) or not isinstance(second, dict):
        return second if first is None else first
    return first | {name: value for name, value in second.items() if first.get(name) is None}
