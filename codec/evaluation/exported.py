"""Results as CompressAI's JSON, which its plotting command reads."""

import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codec.errors import CodecError
from codec.evaluation.axes import axis_of
from codec.evaluation.rd import Point, RDResult, write_json

OUR_NAMES = {"psnr_rgb": "psnr-rgb", "ms_ssim": "ms-ssim-rgb"}
PLANES = ("psnr-y", "psnr-u", "psnr-v")
WEIGHTS = (4, 1, 1)
NOTE = "psnr-yuv is 4:1:1 as in CompressAI, psnr-yuv-611 is 6:1:1"

Table = dict[str, list[Any]]


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
        said = f"{one.extra.get('command', 'measured by corvid')}; {NOTE}"
        tables[clip] = table
        found[clip] = {
            "name": name,
            "description": said,
            **facts,
            "left_out": left_out,
            "results": table,
        }
    if len(tables) > 1 and len({tuple(sorted(table["q"])) for table in tables.values()}) == 1:
        said = f"mean over {len(tables)} clips at equal q; {NOTE}"
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
        if points[0].tune not in (None, axis_of(metric).tune):
            continue
        values = [point.metrics.get(metric) for point in points]
        if None in values:
            left_out.append(metric)
        else:
            table[OUR_NAMES.get(metric, metric.replace("_", "-"))] = values
    if "psnr-yuv" in table:
        table["psnr-yuv-611"] = table.pop("psnr-yuv")
    if all(plane in table for plane in PLANES):
        rows = zip(*(table[plane] for plane in PLANES), strict=True)
        weighted = [
            sum(w * v for w, v in zip(WEIGHTS, row, strict=True)) / sum(WEIGHTS) for row in rows
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
