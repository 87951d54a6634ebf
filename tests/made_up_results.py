"""Points made up for tests of results."""

from typing import Any

from codec.evaluation import Point, RDResult

RATES = (100, 200, 400, 800)
DECIBELS = (30.0, 33.0, 36.0, 39.0)


def points(
    codec: str, rates: Any = RATES, values: Any = DECIBELS, clip: str = "clip", **extra: Any
) -> list[Point]:
    """Points of a codec: sizes in bytes of one second of one frame a second, and PSNR."""
    size = {"frames": 1, "width": 64, "height": 64, "fps": 1.0}
    rest = {
        "encode_seconds": 0.0,
        "decode_seconds": 0.0,
        "file": f"streams/{codec}/f",
        "extra": extra,
    }
    return [
        Point(codec, clip, quality, **size, bytes=round(rate), metrics={"psnr_rgb": value}, **rest)
        for quality, (rate, value) in enumerate(zip(rates, values, strict=True))
    ]


def result(*codecs: str, clips: tuple[str, ...] = ("one", "two"), **conditions: Any) -> RDResult:
    """A result with the conditions that an evaluation writes."""
    said = {
        "versions": {"torch": "2"},
        "git_commit": "abc",
        "rate": "size of the file",
        "metrics": {"psnr_rgb": "dB per frame"},
        "codecs": {codec: {"intra_period": -1, "command": f"{codec} --qp QP"} for codec in codecs},
        "clips": {
            clip: {"sha256": "0" * 64, "frames": 1, "size": "64x64", "fps": "1", "colour": "bt709"}
            for clip in clips
        },
    }
    made = [point for clip in clips for codec in codecs for point in points(codec, clip=clip)]
    return RDResult(said | conditions, made)
