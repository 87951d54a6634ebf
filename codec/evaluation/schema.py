"""Read an `rd.json` and check it: docs/rd.schema.json in Python and what a schema cannot say, a
remedy in every message.
"""

import json
import math
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from codec.errors import CodecError
from codec.evaluation.rd import ORDER, SCHEMA, SINCE_2, Point, RDResult

READABLE = (1, SCHEMA)
DERIVED = ("bpp", "kbps")
NUMBERS = (int, float)
KINDS: dict[Any, str] = {str: "text", int: "a whole number", float: "a number"}
POSITIVE = ("frames", "width", "height", "fps", "bytes")
SAME_ON_A_CLIP = ("frames", "width", "height", "fps")
AGAIN = "code it again with eval.py"


def load(path: str | Path) -> RDResult:
    """Read and check an `rd.json` of schema 1 or 2.

    Raises:
        CodecError: the file is missing, is not JSON, has another schema, lacks a field, or
            disagrees with itself (a bpp that is not its bytes, two points at one place, points of
            one clip with other frames); the message names file, point, field and remedy.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CodecError(
            f"{path}: not a readable rd.json ({error}); write it with eval.py"
        ) from error
    return read_result(content, str(path))


def read_result(content: Any, where: str) -> RDResult:
    """A result out of JSON, checked; `where` begins every message.

    Raises:
        CodecError: something is not as docs/rd.md says.
    """
    if not isinstance(content, dict) or content.get("schema") not in READABLE:
        found = content.get("schema") if isinstance(content, dict) else type(content).__name__
        remedy = (
            f"this version of corvid reads {' and '.join(map(str, READABLE))}; update corvid or "
            "run eval.py again"
        )
        raise CodecError(f"{where}: schema is {found!r}, {remedy}")
    if not isinstance(content.get("conditions"), dict) or not isinstance(
        content.get("points"), list
    ):
        raise CodecError(
            f"{where}: conditions must be an object and points a list; write the file with eval.py"
        )
    check_conditions(content["conditions"], where)
    since = SINCE_2 if content["schema"] == SCHEMA else ()
    points = [
        read_point(raw, f"{where}: points[{index}]", since)
        for index, raw in enumerate(content["points"])
    ]
    check_together(points, content["conditions"], where)
    return RDResult(content["conditions"], points)


def check_conditions(conditions: dict[str, Any], where: str) -> None:
    """Metrics, codecs and clips, where they are given, are objects by name."""
    for part, inner in (("metrics", str), ("codecs", dict), ("clips", dict)):
        given = conditions.get(part, {})
        if not isinstance(given, dict):
            raise CodecError(
                f"{where}: conditions.{part}: {type(given).__name__}, an object by name expected; "
                f"{AGAIN}"
            )
        for name, value in given.items():
            if not isinstance(value, inner):
                wanted = "text" if inner is str else "an object"
                raise CodecError(
                    f"{where}: conditions.{part}.{name}: {value!r}, {wanted} expected; {AGAIN}"
                )


def read_point(raw: Any, where: str, since: tuple[str, ...] = SINCE_2) -> Point:
    """One point out of JSON, checked; `since` are the fields that its schema adds to those of
    schema 1.
    """
    if not isinstance(raw, dict):
        raise CodecError(f"{where}: {type(raw).__name__}, an object expected")
    missing = [name for name in (*ORDER, *since) if name not in raw]
    if missing:
        raise CodecError(f"{where}: lacks {', '.join(missing)}; {AGAIN}")
    for name in fields(Point):
        if name.name not in raw:
            continue
        if name.type in KINDS and not is_a(raw[name.name], name.type):
            raise CodecError(
                f"{where}.{name.name}: {raw[name.name]!r}, {KINDS[name.type]} expected; {AGAIN}"
            )
        if name.name in POSITIVE and raw[name.name] <= 0:
            raise CodecError(
                f"{where}.{name.name}: {raw[name.name]!r}, more than 0 expected; {AGAIN}"
            )
    check_metrics(raw["metrics"], where)
    check_frames(raw, where)
    own = {
        name.name: raw[name.name]
        for name in fields(Point)
        if name.name in raw and name.name != "extra"
    }
    point = Point(
        **own, extra={name: value for name, value in raw.items() if name not in (*ORDER, *SINCE_2)}
    )
    for name in DERIVED:
        if not is_a(raw[name], float) or not math.isclose(
            raw[name], getattr(point, name), rel_tol=1e-6
        ):
            given = f"{raw[name]!r}, but its bytes, size and frames give {getattr(point, name)}"
            raise CodecError(f"{where}.{name}: {given}; put that, or {AGAIN}")
    return point


def is_a(value: Any, kind: Any) -> bool:
    """Whether a JSON value is text, a whole number or a finite number."""
    if kind is str:
        return isinstance(value, str)
    wanted = (int,) if kind is int else NUMBERS
    return isinstance(value, wanted) and not isinstance(value, bool) and math.isfinite(value)


def check_metrics(metrics: Any, where: str) -> None:
    """Metrics are numbers or null by name."""
    if not isinstance(metrics, dict):
        raise CodecError(
            f"{where}.metrics: {type(metrics).__name__}, an object of numbers expected; {AGAIN}"
        )
    for name, value in metrics.items():
        if value is not None and not is_a(value, float):
            raise CodecError(
                f"{where}.metrics.{name}: {value!r}, a number or null expected; {AGAIN}"
            )


def check_frames(raw: dict[str, Any], where: str) -> None:
    """The hash is one, every frame has its bytes, and no metric has more values than there are
    frames.
    """
    digest, sizes, values = raw.get("sha256", ""), raw.get("frame_bytes"), raw.get("per_frame", {})
    if digest and not re.fullmatch("[0-9a-f]{64}", digest):
        raise CodecError(
            f"{where}.sha256: {digest!r}, 64 hexadecimal digits or empty text expected; {AGAIN}"
        )
    if sizes is not None and (
        not isinstance(sizes, list) or not all(is_a(size, int) and size >= 0 for size in sizes)
    ):
        raise CodecError(f"{where}.frame_bytes: null or a list of whole numbers expected; {AGAIN}")
    if sizes is not None and len(sizes) != raw["frames"]:
        raise CodecError(
            f"{where}.frame_bytes: {len(sizes)} sizes for {raw['frames']} frames; {AGAIN}"
        )
    if not isinstance(values, dict):
        raise CodecError(
            f"{where}.per_frame: {type(values).__name__}, an object of lists expected; {AGAIN}"
        )
    for name, own in values.items():
        if not isinstance(own, list) or not all(
            value is None or is_a(value, float) for value in own
        ):
            raise CodecError(
                f"{where}.per_frame.{name}: a list of numbers or null expected; {AGAIN}"
            )
        if len(own) > raw["frames"]:
            raise CodecError(
                f"{where}.per_frame.{name}: {len(own)} values for {raw['frames']} frames; {AGAIN}"
            )


def check_together(points: list[Point], conditions: dict[str, Any], where: str) -> None:
    """No two points at one place, and all points of a clip on the same frames: else the rates are
    of different things.
    """
    seen: dict[Any, int] = {}
    first: dict[str, int] = {}
    for index, point in enumerate(points):
        if point.place in seen:
            what = f"codec, clip, quality and tune {point.place} stand there twice"
            raise CodecError(
                f"{where}: {what} (points {seen[point.place]} and {index}); keep one of the points"
            )
        seen[point.place] = index
        other = first.setdefault(point.clip, index)
        for name in SAME_ON_A_CLIP:
            here, there = getattr(point, name), getattr(points[other], name)
            if here != there:
                what = (
                    f"points[{index}].{name}: {here}, points[{other}] of the same clip has {there}"
                )
                raise CodecError(f"{where}: {what}; code both with the same frames")
    for clip, index in first.items():
        count = (conditions.get("clips") or {}).get(clip, {}).get("frames", points[index].frames)
        if count != points[index].frames:
            what = (
                f"points[{index}].frames: {points[index].frames}, conditions.clips.{clip} has "
                f"{count}"
            )
            raise CodecError(f"{where}: {what}; {AGAIN}")
