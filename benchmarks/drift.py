"""How far frames drift apart that are decoded in another precision than the encoder computed in,
along a clip.

A stream is written in one precision and decoded in both. Symbols are the same; each frame is made
from the one before, so that rounding could add up. PSNR (RGB) between both decodes, and what the
source loses by it, in windows along the clip.

    python benchmarks/drift.py [--checkpoint FILE] [--clips CLIP ...] [--qualities 13 32 50]
        [--frames 120] [--json FILE]

Figures, for each direction (`bf16_as_fp32`: written in bf16, decoded in fp32) and quality, means
over the clips: `..._between_N`: dB between both decodes in the window that ends at frame N;
`..._source`: dB against the source as written, all frames; `..._lost` and `..._lost_N`: dB against
the source that the other decode has less, all frames and in the window. And `least_between` and
`most_lost`: over all clips and windows.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from parts.figures import report
from torch import Tensor

from codec.checkpoint import load_codec
from codec.stream import compress, decompress
from codec.video import VideoCodec
from common.resources import keep_freed_memory
from data.io.source_clip import SourceClip, read_source
from data.sources.discovery import find_videos

CHECKPOINT = Path(__file__).parents[1] / "docs" / "results" / "corvid_s" / "corvid_s.ckpt"
DIRECTIONS = (("bf16", "fp32"), ("fp32", "bf16"))
WINDOW = 10  # frames
IDENTICAL = 99.0  # dB that equal frames count as


def main() -> None:
    """Measure, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--checkpoint", default=str(CHECKPOINT), help="of an exact codec: file or run folder"
    )
    parser.add_argument("--clips", nargs="+", default=["sample:bigbuckbunny"])
    parser.add_argument("--qualities", nargs="+", type=int, default=[13, 32, 50])
    parser.add_argument("--frames", type=int, default=120, help="of each clip; default %(default)s")
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    keep_freed_memory()
    codec = load_codec(choice.checkpoint)
    sources = [read_source(find_videos(clip)[0], choice.frames) for clip in choice.clips]
    report(drift(codec, sources, choice.qualities), choice.json)


def drift(
    codec: VideoCodec, sources: Sequence[SourceClip], qualities: Sequence[int]
) -> dict[str, float]:
    """The figures; a line on each measurement is printed while they are made."""
    figures, all_between, all_lost = {}, [], []
    for written, read in DIRECTIONS:
        for quality in qualities:
            found = [along_clip(codec, source, quality, written, read) for source in sources]
            for source, (between, _, lost) in zip(sources, found, strict=True):
                all_between += windows(between).values()
                all_lost += windows(lost).values()
                print(
                    f"{source.name} quality {quality}, {written} as {read}: {windows(between)} dB, "
                    f"lost {windows(lost)}"
                )
            figures |= summary(f"q{quality}_{written}_as_{read}", found)
    return figures | {"least_between": min(all_between), "most_lost": max(all_lost)}


def along_clip(
    codec: VideoCodec, source: SourceClip, quality: int, written: str, read: str
) -> tuple[list[float], ...]:
    """dB, frame by frame: between both decodes, of the source as written, and what the other decode
    has less.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.cvd"
        compress(codec, source.rgb, source.fps, quality, file, precision=written)
        first, other = (
            decompress(file, codec, precision=precision).frames for precision in ("stream", read)
        )
    own, away = psnr_by_frame(first, source.rgb), psnr_by_frame(other, source.rgb)
    return psnr_by_frame(first, other), own, [a - b for a, b in zip(own, away, strict=True)]


def psnr_by_frame(first: Tensor, second: Tensor) -> list[float]:
    """dB of each frame, uint8 `(T, 3, H, W)` both."""
    errors = [(a.float() - b.float()).square().mean() for a, b in zip(first, second, strict=True)]
    values = 10 * torch.log10(255**2 / torch.stack(errors).clamp(min=1e-9))
    return values.clamp(max=IDENTICAL).tolist()


def windows(values: Sequence[float]) -> dict[int, float]:
    """Means of the windows that end at a quarter, a half, three quarters and all of the frames, by
    the frame they end at.
    """
    ends = sorted({max(1, len(values) * part // 4) for part in range(1, 5)})
    return {end: round(statistics.mean(values[max(0, end - WINDOW) : end]), 3) for end in ends}


def summary(name: str, found: Sequence[tuple[list[float], ...]]) -> dict[str, float]:
    """Figures of a quality and direction, means over clips; windows of clips that differ in length
    stand by themselves.
    """
    figures: dict[str, float] = {}
    for part, column in (("between", 0), ("lost", 2)):
        ends = sorted({end for values in found for end in windows(values[column])})
        for end in ends:
            there = [
                windows(values[column])[end] for values in found if end in windows(values[column])
            ]
            figures[f"{name}_{part}_{end}"] = round(statistics.mean(there), 3)
    figures[f"{name}_source"] = round(
        statistics.mean(statistics.mean(values[1]) for values in found), 3
    )
    figures[f"{name}_lost"] = round(
        statistics.mean(statistics.mean(values[2]) for values in found), 3
    )
    return figures


if __name__ == "__main__":
    main()
