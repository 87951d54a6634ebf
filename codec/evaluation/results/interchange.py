"""Results of others and for others: published JSON of CompressAI and of DCVC as codecs that say in
their name and in every point that they were not measured here, and ours as CompressAI's JSON.
"""

import hashlib
import json
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from codec import registry
from codec.errors import CodecError
from codec.evaluation.results.rd import Point, RDResult, check_together, write_json
from codec.metrics.spec import spec_of

COMPRESSAI, DCVC = "compressai", "dcvc"
COMPRESSAI_NAMES = {
    "psnr-rgb": "psnr_rgb",
    "psnr": "psnr_rgb",
    "psnr-y": "psnr_y",
    "psnr-u": "psnr_u",
    "psnr-v": "psnr_v",
    "ms-ssim-rgb": "ms_ssim",
    "ms-ssim": "ms_ssim",
}
NO_METRICS = (
    "q",
    "qp",
    "bpp",
    "bitrate",
    "psnr-yuv",
    "encoding_time",
    "decoding_time",
)  # psnr-yuv: made of the planes'
DATASETS = {
    "UVG-1080p": {"width": 1920, "height": 1080, "fps": 120, "frames": 600}
}  # what CompressAI's folders stand for
PIXELS = {2073600: (1920, 1080), 921600: (1280, 720), 399360: (832, 480), 99840: (416, 240)}
IN_A_NAME = re.compile(
    r"_(?P<width>\d+)x(?P<height>\d+)(?:_(?P<fps>\d+(?:\.\d+)?)(?:fps)?)?(?=[_.]|$)"
)
QUALITY_IN_A_NAME = re.compile(r"-(\d+)(?=-|$)")
LABEL = " (imported)"
RATE = "as published, of files or estimated"
NTSC = (24, 30, 60, 120)
OUR_NAMES = {"psnr_rgb": "psnr-rgb", "ms_ssim": "ms-ssim-rgb"}
PLANES_EXPORTED = ("psnr-y", "psnr-u", "psnr-v")
COMPRESSAI_WEIGHTS = (4, 1, 1)
EXPORT_NOTE = "psnr-yuv is 4:1:1 as in CompressAI, psnr-yuv-611 is 6:1:1"

Table = dict[str, list[Any]]


@dataclass(frozen=True)
class Row:
    """One clip at one quality as somebody published it; `facts` are width, height, fps and frames
    as far as they are said.
    """

    codec: str
    clip: str
    quality: int
    metrics: dict[str, float | None]
    facts: dict[str, Any]
    bpp: float | None = None
    kbps: float | None = None
    group: str = ""
    frame_bpp: list[float] | None = None
    per_frame: dict[str, list[float | None]] = field(default_factory=dict)
    seconds: tuple[float, float] = (0.0, 0.0)


def rows_of(content: Any, path: Path) -> tuple[str, list[Row]]:
    """The rows of a published file, and whose format it is in.

    Raises:
        CodecError: it is in neither format, or lacks a field that its format has.
    """
    if not isinstance(content, dict) or not content:
        raise CodecError(
            f"{path}: {type(content).__name__}, an object as CompressAI or DCVC writes it expected"
        )
    try:
        if isinstance(content.get("results"), dict):
            return COMPRESSAI, list(compressai_rows(content, path))
        return DCVC, list(dcvc_rows(content, path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = (
            f"lacks {error}"
            if isinstance(error, KeyError)
            else f"not as CompressAI or DCVC writes it ({error})"
        )
        raise CodecError(
            f"{path}: {what}; give a file of CompressAI's results/, or of DCVC's test_video.py"
        ) from error


def compressai_rows(content: dict[str, Any], path: Path) -> Iterator[Row]:
    """A curve of lists (a set's mean, as in `results/video`), or the figures of one sequence at one
    quality.

    PSNR-YUV is made 6:1:1 out of the planes' (CompressAI weighs 4:1:1).
    """
    results = content["results"]
    single = not any(isinstance(value, list) for value in results.values())
    table = {name: [value] for name, value in results.items()} if single else results
    clip = content.get("source") or f"{path.parent.name or path.stem} (mean of clips)"
    said = {name: content[name] for name in ("width", "height", "fps", "frames") if name in content}
    count = len(next(iter(table.values())))
    labels = table.get("q") or table.get("qp") or ([path.stem] if single else range(count))
    metrics = {
        ours: table[theirs]
        for theirs, ours in (COMPRESSAI_NAMES | exported_names()).items()
        if theirs in table
    }
    if all(f"psnr_{plane}" in metrics for plane in "yuv"):
        planes = zip(metrics["psnr_y"], metrics["psnr_u"], metrics["psnr_v"], strict=True)
        metrics["psnr_yuv"] = [(6 * y + u + v) / 8 for y, u, v in planes]
    for index, label in enumerate(labels):
        yield Row(
            codec=content.get("name", path.stem),
            clip=clip,
            quality=quality_of(label, index),
            metrics={name: float(values[index]) for name, values in metrics.items()},
            facts=DATASETS.get(path.parent.name, {}) | in_name(clip) | said,
            bpp=float(table["bpp"][index]) if "bpp" in table else None,
            kbps=float(table["bitrate"][index]) if "bpp" not in table else None,
        )


def exported_names() -> dict[str, str]:
    """Our metrics by the names that `corvid results export` writes beside CompressAI's own."""
    apart = {*COMPRESSAI_NAMES.values(), "psnr_yuv"}
    ours = [name for name in registry.names_of("metric") if name not in apart]
    return {name.replace("_", "-"): name for name in ours} | {"psnr-yuv-611": "psnr_yuv"}


def left_out(content: dict[str, Any]) -> list[str]:
    """What CompressAI's or our own exported file scores and no row holds: metrics that we do not
    have or a point lacked.
    """
    found = content["results"]
    known = {*COMPRESSAI_NAMES, *exported_names(), *NO_METRICS} - (
        {"psnr-yuv"} if "psnr-y" not in found else set()
    )
    return [name for name in found if name not in known] + list(content.get("left_out", []))


def quality_of(label: Any, index: int) -> int:
    """The quality in `ssf2020-mse-3-9c8b998d-ans` or in a QP; else the row's number."""
    if isinstance(label, int | float):
        return round(label)
    found = QUALITY_IN_A_NAME.search(label)
    return int(found.group(1)) if found else index


def dcvc_rows(content: dict[str, Any], path: Path) -> Iterator[Row]:
    """Sets of sequences of rates, as `test_video.py` of DCVC, DCVC-DC, DCVC-FM and DCVC-RT writes
    them.

    Where planes were scored, their `psnr` is 6:1:1; their MS-SSIM of planes is another metric than
    ours and left out.
    """
    for group, sequences in content.items():
        for sequence, rates in sequences.items():
            for index, (rate, found) in enumerate(rates.items()):
                quality = quality_of(found.get("qp", found.get("qp_i", int(rate))), index)
                yield dcvc_row(path.stem, group, sequence, found, quality)


def dcvc_row(codec: str, group: str, sequence: str, found: dict[str, Any], quality: int) -> Row:
    """One sequence at one rate."""
    planes = "ave_all_frame_psnr_y" in found
    names = (
        {"psnr_yuv": "psnr", "psnr_y": "psnr_y", "psnr_u": "psnr_u", "psnr_v": "psnr_v"}
        if planes
        else {"psnr_rgb": "psnr"}
    )
    if not planes and found.get("ave_all_frame_msssim"):  # 0 where it was not asked for
        names["ms_ssim"] = "msssim"
    frames, pixels = found["i_frame_num"] + found["p_frame_num"], found["frame_pixel_num"]
    said = in_name(sequence)
    if not said and pixels in PIXELS:
        said = dict(zip(("width", "height"), PIXELS[pixels], strict=True))
    if said and said["width"] * said["height"] != pixels:
        raise ValueError(
            f"{sequence}: frame_pixel_num is {pixels}, its name says "
            f"{said['width']}x{said['height']}"
        )
    return Row(
        codec=codec,
        clip=sequence.removesuffix(".yuv"),
        quality=quality,
        metrics={ours: float(found[f"ave_all_frame_{theirs}"]) for ours, theirs in names.items()},
        facts=said | {"frames": frames},
        bpp=float(found["ave_all_frame_bpp"]),
        group=group,
        frame_bpp=found.get("frame_bpp"),
        per_frame={
            ours: found[f"frame_{theirs}"]
            for ours, theirs in names.items()
            if f"frame_{theirs}" in found
        },
        seconds=(
            frames * (found.get("avg_frame_encoding_time") or 0.0),
            frames * (found.get("avg_frame_decoding_time") or 0.0),
        ),
    )


def in_name(name: str) -> dict[str, Any]:
    """Size and frame rate out of names such as `BQMall_832x480_60` and
    `Beauty_1920x1080_120fps_420_8bit_YUV`.
    """
    found = IN_A_NAME.search(name)
    if not found:
        return {}
    size = {"width": int(found["width"]), "height": int(found["height"])}
    return size | ({"fps": float(found["fps"])} if found["fps"] else {})


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
    if row.bpp is not None:
        bits = row.bpp * width * height
    else:
        assert row.kbps is not None  # a row has one of the two
        bits = row.kbps * 1000 / float(fps)
    sizes = [round(bpp * width * height / 8) for bpp in row.frame_bpp or ()]
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


def export_compressai(result: RDResult, folder: Path) -> list[Path]:
    """Write a file a codec, tuning and clip as CompressAI's `results/video` has them.

    They go to `CLIP/CODEC.json`. Where there are several clips and every quality is on each, the
    mean over clips at equal quality goes to `mean/CODEC.json`, which is how CompressAI publishes
    (BD-rates are never taken from it, but per clip). A standard codec's tuning comes with the
    metrics that it is fair to; a metric that a point lacks is left out, and named.

    Args:
        folder: made when it is not there.

    Returns:
        The files.

    Raises:
        CodecError: two codecs or clips have names that are one file.
    """
    written: dict[Path, dict[str, Any]] = {}
    for codec, tune in dict.fromkeys((point.codec, point.tune) for point in result.points):
        own = [point for point in result.points if (point.codec, point.tune) == (codec, tune)]
        by_clip = {
            clip: [point for point in own if point.clip == clip]
            for clip in dict.fromkeys(point.clip for point in own)
        }
        name = f"{codec} ({tune})" if tune else codec
        for place, content in contents(name, by_clip).items():
            path = folder / safe(place) / f"{safe(name)}.json"
            if path in written:
                raise CodecError(
                    f"{path}: two of the codecs or clips would be this file; rename one of "
                    f"{name!r}, {place!r}"
                )
            written[path] = content
    for path, content in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(content, path)
    return list(written)


def contents(name: str, by_clip: dict[str, list[Point]]) -> dict[str, dict[str, Any]]:
    """What the files of a codec hold, by clip, and by `mean`."""
    found, tables = {}, {}
    for clip, points in by_clip.items():
        one, (table, left_out) = points[0], table_of(points)
        facts = {
            "source": clip,
            "width": one.width,
            "height": one.height,
            "fps": one.fps,
            "frames": one.frames,
        }
        said = f"{one.extra.get('command', 'measured by corvid')}; {EXPORT_NOTE}"
        tables[clip] = table
        found[clip] = {
            "name": name,
            "description": said,
            **facts,
            "left_out": left_out,
            "results": table,
        }
    if len(tables) > 1 and len({tuple(sorted(table["q"])) for table in tables.values()}) == 1:
        said = f"mean over {len(tables)} clips at equal q; {EXPORT_NOTE}"
        found["mean"] = {
            "name": name,
            "description": said,
            "results": mean_table(list(tables.values())),
        }
    return found


def table_of(points: Sequence[Point]) -> tuple[Table, list[str]]:
    """Lists by CompressAI's names, by rising rate; and the metrics that are not in it because a
    point lacks them.
    """
    points = sorted(points, key=lambda point: point.bytes)
    table: Table = {
        "q": [p.quality for p in points],
        "bpp": [p.bpp for p in points],
        "bitrate": [p.kbps for p in points],
    }
    left_out = []
    for metric in dict.fromkeys(name for point in points for name in point.metrics):
        if points[0].tune not in (None, spec_of(metric).tuning):
            continue
        values = [point.metrics.get(metric) for point in points]
        if None in values:
            left_out.append(metric)
        else:
            table[OUR_NAMES.get(metric, metric.replace("_", "-"))] = values
    if "psnr-yuv" in table:
        table["psnr-yuv-611"] = table.pop("psnr-yuv")
    if all(plane in table for plane in PLANES_EXPORTED):
        rows = zip(*(table[plane] for plane in PLANES_EXPORTED), strict=True)
        weighted = [
            sum(w * v for w, v in zip(COMPRESSAI_WEIGHTS, row, strict=True))
            / sum(COMPRESSAI_WEIGHTS)
            for row in rows
        ]
        table["psnr-yuv"] = weighted
    return table, left_out


def mean_table(tables: Sequence[Table]) -> Table:
    """The mean of tables at equal quality, by rising rate."""
    first, *others = ({q: row for row, q in enumerate(table["q"])} for table in tables)
    keys = [key for key in tables[0] if key != "q" and all(key in table for table in tables)]
    mean: Table = {"q": list(first)}
    for key in keys:
        columns = [
            [table[key][rows[q]] for q in first]
            for table, rows in zip(tables, (first, *others), strict=True)
        ]
        mean[key] = [statistics.fmean(values) for values in zip(*columns, strict=True)]
    order = sorted(range(len(mean["q"])), key=lambda row: mean["bpp"][row])
    return {key: [values[row] for row in order] for key, values in mean.items()}


def safe(name: str) -> str:
    """A name for a file: CompressAI takes what stands before the first dot."""
    return re.sub(r"[^\w+-]+", "_", name).strip("_") or "_"
