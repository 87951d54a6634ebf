"""Rate-distortion points with their conditions, and the `rd.json` that holds them."""

import json
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from codec.errors import CodecError

SCHEMA = 1
DERIVED = ("bpp", "kbps")
NUMBERS = (int, float)


@dataclass(frozen=True)
class Point:
    """One clip coded once.

    `quality` is in the codec's own scale, `bytes` the size of `file` on disk (relative to the folder of `rd.json`),
    `metrics` a value by metric, None where it could not be computed (`extra["notes"]` says why). `extra` holds further
    fields, such as `tune` and `command`; they stand beside the others in the file.
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

    def to_json(self) -> dict[str, Any]:
        """The point as `rd.json` holds it."""
        own = {name: getattr(self, name) for name in ORDER}
        return own | self.extra


ORDER = ("codec", "clip", "quality", "frames", "width", "height", "fps", "bytes", "bpp", "kbps", "metrics")
ORDER += ("encode_seconds", "decode_seconds", "file")


@dataclass(frozen=True)
class RDResult:
    """All points of an evaluation and the conditions they were made under."""

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


def save(result: RDResult, path: Path) -> None:
    """Write `rd.json` at once: whoever reads it meets the old file or the new one."""
    text = {"schema": SCHEMA, "conditions": result.conditions, "points": [point.to_json() for point in result.points]}
    write_json(text, path)


def write_json(content: Any, path: Path) -> None:
    """Write JSON through a `.part` file beside it; NaN and infinity, which JSON does not have, are a ValueError."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(path)


def load(path: str | Path) -> RDResult:
    """Read and check an `rd.json`.

    Raises:
        CodecError: the file is missing, is not JSON, has another schema, lacks a field, or disagrees with itself (a bpp
            that is not its bytes, two points at one place); the message names file, point and field.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CodecError(f"{path}: not a readable rd.json ({error}); write it with eval.py") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise CodecError(f"{path}: schema is {found!r}, this version of corvid reads {SCHEMA}")
    if not isinstance(content.get("conditions"), dict) or not isinstance(content.get("points"), list):
        raise CodecError(f"{path}: conditions must be an object and points a list")
    points = [read_point(raw, f"{path}: points[{index}]") for index, raw in enumerate(content["points"])]
    places = [(point.codec, point.clip, point.quality, point.tune) for point in points]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice:
        raise CodecError(f"{path}: codec, clip, quality and tune {twice} stand there twice; keep one of the points")
    return RDResult(content["conditions"], points)


def read_point(raw: Any, where: str) -> Point:
    """One point out of JSON, checked."""
    if not isinstance(raw, dict):
        raise CodecError(f"{where}: {type(raw).__name__}, an object expected")
    missing = [name for name in ORDER if name not in raw]
    if missing:
        raise CodecError(f"{where}: lacks {', '.join(missing)}")
    for name in fields(Point):
        if name.type in KINDS and not is_a(raw[name.name], name.type):
            raise CodecError(f"{where}.{name.name}: {raw[name.name]!r}, {KINDS[name.type]} expected")
        if name.name in POSITIVE and raw[name.name] <= 0:
            raise CodecError(f"{where}.{name.name}: {raw[name.name]!r}, more than 0 expected")
    check_metrics(raw["metrics"], where)
    extra = {name: value for name, value in raw.items() if name not in ORDER}
    point = Point(**{name: raw[name] for name in ORDER if name not in DERIVED}, extra=extra)
    for name in DERIVED:
        if not is_a(raw[name], float) or not math.isclose(raw[name], getattr(point, name), rel_tol=1e-6):
            raise CodecError(f"{where}.{name}: {raw[name]!r}, but its bytes, size and frames give {getattr(point, name)}")
    return point


KINDS: dict[Any, str] = {str: "text", int: "a whole number", float: "a number"}
POSITIVE = ("frames", "width", "height", "fps", "bytes")


def is_a(value: Any, kind: Any) -> bool:
    """Whether a JSON value is text, a whole number or a finite number."""
    if kind is str:
        return isinstance(value, str)
    wanted = (int,) if kind is int else NUMBERS
    return isinstance(value, wanted) and not isinstance(value, bool) and math.isfinite(value)


def check_metrics(metrics: Any, where: str) -> None:
    """Metrics are numbers or null by name."""
    if not isinstance(metrics, dict):
        raise CodecError(f"{where}.metrics: {type(metrics).__name__}, an object of numbers expected")
    for name, value in metrics.items():
        if value is not None and not is_a(value, float):
            raise CodecError(f"{where}.metrics.{name}: {value!r}, a number or null expected")
