"""A made-up result with everything that a report shows, and frames whose colours say which they
are.
"""

import colorsys

import torch
from torch import Tensor

from codec.evaluation import Point, RDResult

SIZE = (48, 64)
FRAMES = 6
CLIPS = ("clip <0> & co", "one_1")
CODECS = (("ours", None, 1.5), ("x265", "psnr", 1.0), ("x265", "default", 1.1))
COMPLEXITY = {
    "parameters": 2_900_000,
    "encode_kmac": 60.0,
    "decode_kmac": 28.0,
    "encode_fps": 4.2,
    "decode_fps": 8.1,
}


def result(clips: int = 2) -> RDResult:
    """Two codecs, one of them with two tunings, on clips with awkward names; one point without
    LPIPS.
    """
    points = []
    for clip in CLIPS[:clips]:
        for codec, tune, dearer in CODECS:
            for quality, psnr in enumerate((30, 33, 36, 39)):
                metrics = {
                    "psnr_rgb": float(psnr),
                    "lpips_alex": 10 ** (-psnr / 25) if quality or tune else None,
                }
                size = {"frames": FRAMES, "width": SIZE[1], "height": SIZE[0], "fps": 25.0}
                cost = {
                    "bytes": int(dearer * 300 * 2**quality),
                    "encode_seconds": 1.0,
                    "decode_seconds": 0.5,
                }
                frames = {
                    "frame_bytes": [cost["bytes"] // FRAMES] * FRAMES,
                    "per_frame": {
                        "psnr_rgb": [psnr + 0.1 * t for t in range(FRAMES)],
                        "lpips_alex": [0.1, 0.2, None],
                    },
                }
                kinds = {"intra": {"bpp": 0.5, "psnr_rgb": 41.256}}
                extra = {"tune": tune, "per_frame_every": {"lpips_alex": 2}} | (
                    {} if tune else {"by_kind": kinds}
                )
                points.append(
                    Point(
                        codec,
                        clip,
                        quality,
                        **size,
                        **cost,
                        **frames,
                        metrics=metrics,
                        file=f"{codec}_{tune}",
                        extra=extra,
                    )
                )
    conditions = {
        "versions": {"torch": "2"},
        "metrics": {"psnr_rgb": "dB"},
        "note": "<b>",
        "codecs": {"ours": {"complexity": COMPLEXITY}, "x265": {"complexity": None}},
        "clips": {
            clip: {"frames": FRAMES, "size": f"{SIZE[1]}x{SIZE[0]}"} for clip in CLIPS[:clips]
        },
    }
    return RDResult(conditions, points)


def colour_of(what: str, frame: int) -> tuple[int, int, int]:
    """The one colour of a frame: a hue for who shows it, darker with time."""
    hue = {"source": 0.0, "ours": 0.33, "x265": 0.6}[what]
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.7, 0.9 - 0.1 * frame))


class FlatFrames:
    """Stands where `DecodedFrames` does: frames of one colour each."""

    def frames_of(self, point: Point, frames: int) -> Tensor:
        """Of the point's codec."""
        return flat(point.codec, frames)

    def source_of(self, clip: str, frames: int) -> Tensor:
        """Of the original."""
        return flat("source", frames)


def flat(what: str, frames: int) -> Tensor:
    """uint8 `(T, 3, H, W)`."""
    colours = torch.tensor([colour_of(what, t) for t in range(frames)], dtype=torch.uint8)
    return colours[:, :, None, None].expand(-1, -1, *SIZE).contiguous()
