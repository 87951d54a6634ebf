"""Rate-distortion points with their conditions, and the `rd.json` that holds them: written, read
and checked.

The checks are docs/rd.schema.json in Python and what a schema cannot say, a remedy in every
message.
"""

import json
import math
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from codec.errors import CodecError

SCHEMA = 2
READABLE = (1, SCHEMA)
DERIVED = ("bpp", "kbps")
NUMBERS = (int, float)
KINDS: dict[Any, str] = {str: "text", int: "a whole number", float: "a number"}
POSITIVE = ("frames", "width", "height", "fps", "bytes")
SAME_ON_A_CLIP = ("frames", "width", "height", "fps")
AGAIN = "code it again with eval.py"


@dataclass(frozen=True)
class Point:
    """One clip coded once.

    `quality` is in the codec's own scale, `bytes` the size of `file` on disk (relative to the
    folder of `rd.json`) and `sha256` its hash, `metrics` a value by metric, None where it could not
    be computed (`extra["notes"]` says why). `frame_bytes` are the bytes of each frame in the order
    of showing, `per_frame` the values of the frames that were scored by metric. `extra` holds
    further fields, such as `tune` and `command`; they stand beside the others in the file.
    """

    codec: str
    clip: str
    quality: int
    frames: int
    width: int
    height: int
    fps: float
    bytes: int
    metrics: dict[str, float | None]
    encode_seconds: float
    decode_seconds: float
    file: str
    sha256: str = ""
    frame_bytes: list[int] | None = None
    per_frame: dict[str, list[float | None]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def bpp(self) -> float:
        """Bits of the file over the original pixels of all frames."""
        return 8 * self.bytes / (self.width * self.height * self.frames)

    @property
    def kbps(self) -> float:
        """Thousand bits a second of the file at the clip's frame rate."""
        return 8 * self.bytes * self.fps / self.frames / 1000

    @property
    def tune(self) -> str | None:
        """Which of its codec's curves the point lies on."""
        return self.extra.get("tune")

    @property
    def imported(self) -> str | None:
        """Where the numbers come from when they were not measured here (`compressai`, `dcvc`), else
        None.
        """
        return self.extra.get("imported")

    @property
    def place(self) -> tuple[str, str, int, str | None]:
        """What no two points of a result share: codec, clip, quality and tune."""
        return self.codec, self.clip, self.quality, self.tune

    def to_json(self) -> dict[str, Any]:
        """The point as `rd.json` holds it."""
        own = {name: getattr(self, name) for name in (*ORDER, *SINCE_2)}
        return own | self.extra


ORDER = (
    "codec",
    "clip",
    "quality",
    "frames",
    "width",
    "height",
    "fps",
    "bytes",
    "bpp",
    "kbps",
    "metrics",
    "encode_seconds",
    "decode_seconds",
    "file",
)
SINCE_2 = ("sha256", "frame_bytes", "per_frame")


@dataclass(frozen=True)
class RDResult:
    """All points of an evaluation and the conditions they were made under (docs/rd.md says what
    they hold).
    """

    conditions: dict[str, Any]
    points: list[Point]

    def clips(self) -> list[str]:
        """Names of the clips, in the order they were coded."""
        return list(dict.fromkeys(point.clip for point in self.points))

    def codecs(self) -> list[str]:
        """Names of the codecs, in the order they were coded."""
        return list(dict.fromkeys(point.codec for point in self.points))

    def metrics(self) -> list[str]:
        """Names of the metrics, in the order they were computed."""
        return list(dict.fromkeys(name for point in self.points for name in point.metrics))

    def class_of(self, clip: str) -> str:
        """The class of a clip, such as `HEVC_B`; empty where clips have none."""
        return (self.conditions.get("clips") or {}).get(clip, {}).get("class") or ""


def save(result: RDResult, path: Path) -> None:
    """Write `rd.json` at once: whoever reads it meets the old file or the new one."""
    write_json(document(result), path)


def document(result: RDResult) -> dict[str, Any]:
    """A result as `rd.json` holds it."""
    return {
        "schema": SCHEMA,
        "conditions": result.conditions,
        "points": [point.to_json() for point in result.points],
    }


def write_json(content: Any, path: Path) -> None:
    """Write JSON through a `.part` file beside it; NaN and infinity, which JSON does not have, are
    a ValueError.
    """
    part = path.with_name(path.name + ".part")
    part.write_text(
        json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
    part.replace(path)


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
    for derived in DERIVED:
        follows = getattr(point, derived)
        if not is_a(raw[derived], float) or not math.isclose(raw[derived], follows, rel_tol=1e-6):
            given = f"{raw[derived]!r}, but its bytes, size and frames give {follows}"
            raise CodecError(f"{where}.{derived}: {given}; put that, or {AGAIN}")
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
