"""Results may be put together when they were made under the same conditions; what
differs is named.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from codec.errors import CodecError
from codec.evaluation.results.rd import Point, RDResult, check_together, load

RULES = ("rate",)
OF_A_CLIP = ("frames", "size", "fps", "colour", "read", "class", "sha256")
OF_A_POINT = ("frames", "bytes", "sha256")
OF_A_MACHINE = ("versions", "git_commit", "machine")
BY_NAME = ("metrics", "codecs", "clips")
MEASURED = ("complexity",)  # of a codec's settings: differs from run to run
NAMED = 5  # differences
ALL_INTRA = 1


def merge(results: Sequence[RDResult], names: Sequence[str] = ()) -> RDResult:
    """One result of several that were made under the same conditions.

    Codecs with equal settings and points that are the same are taken once. Versions, commit and
    machine may differ; what does stands in `conditions.results` under the result's name.

    Args:
        results: at least one.
        names: what messages call them, for example their files.

    Raises:
        CodecError: they mix conditions (another clip behind a name, other frames, colour path,
            intra period, metric rule, settings of a codec, or other clips); the message names what
            differs, and the remedy.
    """
    names = list(names) or [f"result {number}" for number in range(1, len(results) + 1)]
    differences = [
        line for pair in _pairs(results, names) for line in list(differing(*pair)) or _points(*pair)
    ]
    if differences:
        said = "; ".join(differences[:NAMED]) + f"; and {len(differences) - NAMED} more" * (
            len(differences) > NAMED
        )
        raise CodecError(f"results mix conditions: {said}; evaluate them under the same conditions")
    points: dict[Any, Point] = {}
    for point in (point for result in results for point in result.points):
        points[point.place] = (
            _united(points[point.place], point) if point.place in points else point
        )
    merged = RDResult(_merged_conditions(results, names), list(points.values()))
    check_together(merged.points, merged.conditions, " and ".join(names))
    return merged


def merge_files(paths: Sequence[str | Path], output: Path, metrics: Sequence[str] = ()) -> RDResult:
    """Load results (files, or folders that hold an `rd.json`) and merge them.

    Args:
        output: folder of what is made of them: the points' `file` becomes relative to it.
        metrics: only these; the rules of others may differ then. Default: all.

    Raises:
        CodecError: one is not there, a metric is in none; as `load` and `merge`.
    """
    files = [file_of(Path(path)) for path in paths]
    results = [moved(load(file), file.parent, output) for file in files]
    if metrics:
        there = list(dict.fromkeys(name for result in results for name in result.metrics()))
        if unknown := [name for name in metrics if name not in there]:
            raise CodecError(
                f"metrics: {', '.join(unknown)} not in the results; choose from {', '.join(there)}"
            )
        results = [only(result, metrics) for result in results]
    return merge(results, [str(path) for path in paths])


def file_of(path: Path) -> Path:
    """The `rd.json` that a file or folder stands for.

    Raises:
        CodecError: it is not there.
    """
    file = path / "rd.json" if path.is_dir() else path
    if not file.exists():
        what = "holds no rd.json" if path.is_dir() else "not there"
        raise CodecError(f"{path}: {what}; give an rd.json or a folder that holds one")
    return file


def only(result: RDResult, metrics: Sequence[str]) -> RDResult:
    """The result with only these of its metrics."""

    def kept(values: dict[str, Any]) -> dict[str, Any]:
        return {metric: value for metric, value in values.items() if metric in metrics}

    points = [
        replace(p, metrics=kept(p.metrics), per_frame=kept(p.per_frame)) for p in result.points
    ]
    return RDResult(
        result.conditions | {"metrics": kept(result.conditions.get("metrics") or {})}, points
    )


def moved(result: RDResult, folder: Path, output: Path) -> RDResult:
    """The result of `folder` with its files named relative to `output`."""
    root = Path(os.path.relpath(folder.resolve(), output.resolve()))
    return replace(
        result,
        points=[
            replace(p, file=(root / p.file).as_posix()) if p.file else p for p in result.points
        ],
    )


def differing(first: RDResult, second: RDResult, names: tuple[str, str]) -> Iterator[str]:
    """In words, the conditions in which two results differ and must not."""
    a, b = first.conditions, second.conditions
    for rule in RULES:
        yield from _unequal(rule, a.get(rule), b.get(rule), names)
    for metric in _shared(a, b, "metrics"):
        yield from _unequal(f"metrics.{metric}", a["metrics"][metric], b["metrics"][metric], names)
    yield from _clip_facts(a, b, names)
    for codec in _shared(a, b, "codecs"):
        yield from _other_settings(codec, a["codecs"][codec], b["codecs"][codec], names)
    yield from _intra_periods(first, second, names)
    yield from _clips(first, second, names)


def _pairs(
    results: Sequence[RDResult], names: Sequence[str]
) -> Iterator[tuple[RDResult, RDResult, tuple[str, str]]]:
    for later in range(1, len(results)):
        for earlier in range(later):
            yield results[earlier], results[later], (names[earlier], names[later])


def _shared(a: dict[str, Any], b: dict[str, Any], part: str) -> list[str]:
    return [name for name in a.get(part) or {} if name in (b.get(part) or {})]


def _unequal(field: str, ours: Any, theirs: Any, names: tuple[str, str]) -> Iterator[str]:
    """A line when both are known and differ."""
    if None not in (ours, theirs) and ours != theirs:
        yield f"{field} is {ours!r} in {names[0]} and {theirs!r} in {names[1]}"


def _clip_facts(a: dict[str, Any], b: dict[str, Any], names: tuple[str, str]) -> Iterator[str]:
    """A line a fact in which clips differ: of the first such clip, and how many more there are."""
    for fact in OF_A_CLIP:
        pairs = (
            (clip, a["clips"][clip].get(fact), b["clips"][clip].get(fact))
            for clip in _shared(a, b, "clips")
        )
        lines = [
            line
            for clip, ours, theirs in pairs
            for line in _unequal(f"clips.{clip}.{fact}", ours, theirs, names)
        ]
        yield from (line + _more(len(lines) - 1, "clip") for line in lines[:1])


def _more(count: int, what: str) -> str:
    return f" (and {count} more {what}{'s' * (count > 1)})" if count else ""


def _other_settings(
    codec: str, ours: dict[str, Any], theirs: dict[str, Any], names: tuple[str, str]
) -> Iterator[str]:
    """A line when a name stands for two codecs."""
    fields = dict.fromkeys(name for name in (*ours, *theirs) if name not in MEASURED)
    other = [name for name in fields if ours.get(name) != theirs.get(name)]
    if other:
        name = other[0]
        values = f"{ours.get(name)!r} in {names[0]} and {theirs.get(name)!r} in {names[1]}"
        yield f"codecs.{codec}.{name} is {values} (give one of the codecs another name)"


def _intra_periods(first: RDResult, second: RDResult, names: tuple[str, str]) -> Iterator[str]:
    """A line when no codec of one result codes intra frames as often as one of the other; all-intra
    codecs aside.
    """
    found = [
        {
            own["intra_period"]
            for own in (result.conditions.get("codecs") or {}).values()
            if own.get("intra_period") is not None
        }
        - {ALL_INTRA}
        for result in (first, second)
    ]
    if all(found) and not found[0] & found[1]:
        said = [", ".join(map(str, sorted(periods))) for periods in found]
        yield f"codecs.*.intra_period is {said[0]} in {names[0]} and {said[1]} in {names[1]}"


def _clips(first: RDResult, second: RDResult, names: tuple[str, str]) -> Iterator[str]:
    """A line a result that alone has clips: means would be over other clips. Imported results may
    have others.
    """
    found = [
        dict.fromkeys(point.clip for point in result.points if not point.imported)
        for result in (first, second)
    ]
    if all(found):
        for here, there, name in ((*found, names[0]), (*found[::-1], names[1])):
            alone = [clip for clip in here if clip not in there]
            yield from (
                f"clip {clip!r} is in {name} only" + _more(len(alone) - 1, "clip")
                for clip in alone[:1]
            )


def _points(first: RDResult, second: RDResult, names: tuple[str, str]) -> Iterator[str]:
    """A line on the points that both results have and that are not the same, where no condition
    explains it.
    """
    theirs = {point.place: point for point in second.points}
    lines = []
    for point in (point for point in first.points if point.place in theirs):
        where = f"{point.codec} at {point.quality} on {point.clip}"
        values = (
            (name, getattr(point, name) or None, getattr(theirs[point.place], name) or None)
            for name in OF_A_POINT
        )
        lines += [
            line
            for name, one, other in values
            for line in _unequal(f"{where}: {name}", one, other, names)
        ][:1]
    yield from (line + _more(len(lines) - 1, "point") for line in lines[:1])


def _united(first: Point, second: Point) -> Point:
    """One point of two at the same place: the first, with the metrics that only the second was
    scored in.
    """
    metrics, frames = second.metrics | first.metrics, second.per_frame | first.per_frame
    return replace(first, metrics=metrics, per_frame=frames)


def _merged_conditions(results: Sequence[RDResult], names: Sequence[str]) -> dict[str, Any]:
    """The conditions of all: parts by name are united, what is of a machine stands by result where
    it differs.
    """
    merged: dict[str, Any] = {}
    for field, value in (item for result in results for item in result.conditions.items()):
        if field in BY_NAME:
            parts = merged.setdefault(field, {})
            parts |= {
                name: _filled(parts.get(name), inner) for name, inner in (value or {}).items()
            }
        else:
            merged.setdefault(field, value)
    machines = [
        {name: value for name, value in result.conditions.items() if name in OF_A_MACHINE}
        for result in results
    ]
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
