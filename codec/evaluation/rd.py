"""Rate-distortion points with their conditions, and the `rd.json` that holds them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCHEMA = 2


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
)
ORDER += ("encode_seconds", "decode_seconds", "file")
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
