"""Results that others published, as codecs that say in their name and in every point that they were
not measured here.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from codec.errors import CodecError
from codec.evaluation.published import COMPRESSAI, Row, left_out, rows_of
from codec.evaluation.rd import Point, RDResult
from codec.evaluation.schema import check_together

LABEL = " (imported)"
RATE = "as published, of files or estimated"
NTSC = (24, 30, 60, 120)


@dataclass(frozen=True)
class Given:
    """What the user says and the files do not; it goes before what the files say.

    Attributes:
        name: of the codec.
        size: width and height in pixels.
        fps, frames: of the clips.
        clips: our name of a clip by theirs.
    """

    name: str | None = None
    size: tuple[int, int] | None = None
    fps: float | None = None
    frames: int | None = None
    clips: Mapping[str, str] = field(default_factory=dict)

    def facts(self, row: Row) -> dict[str, Any]:
        """Width, height, fps and frames of a row, as far as anybody says them."""
        size = dict(zip(("width", "height"), self.size, strict=True)) if self.size else {}
        own = size | {
            name: value for name in ("fps", "frames") if (value := getattr(self, name)) is not None
        }
        return row.facts | own


NOTHING = Given()


def import_results(paths: Sequence[Path], given: Given = NOTHING) -> RDResult:
    """Read published results: CompressAI's (`results/video`, or its evaluation of one sequence) or
        DCVC's.

    Every codec's name ends in ` (imported)`, its points have `imported`, `file` and `sha256` are
    empty, and seconds are 0 where they are not published. Bytes are the published rate times pixels
    and frames, rounded. The clips are known by name, size and frames only, not by a hash. Metrics
    of the files that no point holds stand in the codec's `left_out`.

    Raises:
        CodecError: a file cannot be read, is in neither format, or does not say size, frame rate or
            frames.
    """
    points: list[Point] = []
    codecs: dict[str, Any] = {}
    clips: dict[str, Any] = {}
    for path in paths:
        content, digest = read_json(path)
        origin, rows = rows_of(content, path)
        for row in rows:
            point = point_of(row, given, origin, path)
            points.append(point)
            settings = codecs.setdefault(
                point.codec, {"imported": origin, "rate": RATE, "sources": {}}
            )
            settings["sources"][path.name] = digest
            if isinstance(content.get("description"), str):
                settings["description"] = content["description"]
            if origin == COMPRESSAI and (dropped := left_out(content)):
                settings["left_out"] = sorted({*settings.get("left_out", []), *dropped})
            clips[point.clip] = clip_conditions(point, row)
    check_together(points, {}, " and ".join(map(str, paths)))
    return RDResult({"codecs": codecs, "clips": clips, "metrics": {}}, points)


def read_json(path: Path) -> tuple[Any, str]:
    """The content of a file and its hash."""
    try:
        raw = Path(path).read_bytes()
        return json.loads(raw), hashlib.sha256(raw).hexdigest()
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CodecError(
            f"{path}: not readable JSON ({error}); give a file of CompressAI's or DCVC's results"
        ) from error


def point_of(row: Row, given: Given, origin: str, path: Path) -> Point:
    """A row as a point of ours."""
    facts = given.facts(row)
    for name, option in (
        ("width", "--size WxH"),
        ("height", "--size WxH"),
        ("fps", "--fps N"),
        ("frames", "--frames N"),
    ):
        if name not in facts:
            raise CodecError(f"{path}: does not say the {name} of {row.clip}; give {option}")
    width, height, frames, fps = (
        facts["width"],
        facts["height"],
        facts["frames"],
        exact_fps(facts["fps"]),
    )
    bits = row.bpp * width * height if row.bpp is not None else row.kbps * 1000 / float(fps)
    sizes = row.frame_bpp and [round(bpp * width * height / 8) for bpp in row.frame_bpp]
    return Point(
        codec=(given.name or row.codec) + LABEL,
        clip=given.clips.get(row.clip, row.clip),
        quality=row.quality,
        **{"frames": frames, "width": width, "height": height, "fps": float(fps)},
        bytes=max(1, round(bits * frames / 8)),
        metrics=dict(row.metrics),
        encode_seconds=row.seconds[0],
        decode_seconds=row.seconds[1],
        file="",
        frame_bytes=sizes or None,
        per_frame=dict(row.per_frame),
        extra={"tune": None, "imported": origin},
    )


def exact_fps(fps: float) -> Fraction:
    """The frame rate that a rounded one such as 29.97 stands for."""
    return next(
        (Fraction(1000 * n, 1001) for n in NTSC if abs(fps - n / 1.001) < 0.006),
        Fraction(fps).limit_denominator(1001),
    )


def clip_conditions(point: Point, row: Row) -> dict[str, Any]:
    """What is known of a clip that was not seen."""
    size, fps = f"{point.width}x{point.height}", str(exact_fps(point.fps))
    known = {"file": None, "sha256": None, "size": size, "frames": point.frames, "fps": fps}
    return known | ({"class": row.group} if row.group else {})
