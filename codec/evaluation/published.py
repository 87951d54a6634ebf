"""Published JSON of CompressAI and of DCVC, as rows of one clip at one quality."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codec.errors import CodecError

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
EXPORTED = {  # what corvid results export writes beside CompressAI's own
    name.replace("_", "-"): name
    for name in (
        "lpips_alex",
        "lpips_vgg",
        "dists",
        "vmaf",
        "vmaf_neg",
        "temporal_difference",
        "temporal_lpips",
    )
} | {"psnr-yuv-611": "psnr_yuv"}
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


@dataclass(frozen=True)
class Row:
    """One clip at one quality as somebody published it; `facts` are width, height, fps and frames
    as far as they are said.
    """

    codec: str
    clip: str
    quality: int
    metrics: dict[str, float]
    facts: dict[str, Any]
    bpp: float | None = None
    kbps: float | None = None
    group: str = ""
    frame_bpp: list[float] | None = None
    per_frame: dict[str, list[float]] = field(default_factory=dict)
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
        for theirs, ours in (COMPRESSAI_NAMES | EXPORTED).items()
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


def left_out(content: dict[str, Any]) -> list[str]:
    """What CompressAI's or our own exported file scores and no row holds: metrics that we do not
    have or a point lacked.
    """
    found = content["results"]
    known = {*COMPRESSAI_NAMES, *EXPORTED, *NO_METRICS} - (
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
