"""A parallel intra scheme against `intra=directional`, both trained for equal steps.

The parallel one (`parts/parallel_blocks.py`): luma blocks of 8 and chroma blocks of 4 in seven
groups, each predicted at once by small networks from decoded blocks around it, the networks trained
with the rest. Everything else is alike: steps, prices of levels by rate and distortion,
`LevelEntropy`, the learned filter, and the training of conf/experiment/ablate_intra.yaml. Then
frames of clips are coded to real files and decoded again.

    python benchmarks/parallel_intra.py [--train VIDEOS ...] [--clips CLIP ...] [--scale 1.0]
        [--runs FOLDER] [--directional RUN] [--also NAME=RUN ...] [--qualities 4 22 41 55]
        [--frames 1] [--stage NAME] [--json FILE]

Training takes some ten minutes of a core for each of both; runs that are finished are taken as they
are, and so is what is there at the end of `--stage`.

Figures of the parallel scheme, and of what `--also` names, against directional: `bd_rate_percent`
by clip and in the mean, with its 95 % interval (PSNR in RGB, all frames intra; above 0: more rate
is needed); `encode_time_ratio` and `decode_time_ratio`, of processor time of one thread. `points`
are bits a pixel and PSNR by quality.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from parts.figures import report
from prediction import psnr

from codec.checkpoint import load_codec
from codec.evaluation.results.bd_rate import bd_rate, mean_interval
from codec.registry import register
from codec.stream import compress, decompress
from codec.training.run import train
from codec.video import VideoCodec
from common.resources import keep_freed_memory
from data.io.source_clip import SourceClip, read_source
from data.sources.discovery import find_videos

CONF = Path(__file__).parents[1] / "conf"
VIDEOS, CLIPS = ["sample:bikes", "sample:bigbuckbunny"], ["sample:carphone", "sample:city"]
OURS = "directional", "parallel"
register("network", "parallel_intra", "parts.parallel_blocks:ParallelIntra")
register("network", "parallel_entropy", "parts.parallel_blocks:parallel_entropy")


@dataclass(frozen=True)
class Measured:
    """A clip at a quality: bits a pixel, PSNR in RGB in dB, seconds of processor time."""

    bpp: float
    psnr: float
    encoded: float
    decoded: float


def main() -> None:
    """Train what is not trained, measure, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", nargs="+", default=VIDEOS, help="videos; default %(default)s")
    parser.add_argument("--clips", nargs="+", default=CLIPS, help="default %(default)s")
    parser.add_argument("--scale", type=float, default=1.0, help="of the steps of all stages")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are or will be")
    parser.add_argument("--directional", default=None, help="a run of experiment=ablate_intra")
    parser.add_argument("--also", nargs="+", default=[], help="further runs, NAME=RUN")
    parser.add_argument("--qualities", nargs="+", type=int, default=[4, 22, 41, 55])
    parser.add_argument("--frames", type=int, default=1, help="of each clip; default %(default)s")
    parser.add_argument("--stage", default=None, help="compare the states at its end")
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    runs = {name: str(choice.runs / f"intra_{name}") for name in OURS}
    runs["directional"] = choice.directional or runs["directional"]
    for name, folder in runs.items():
        there = (Path(folder) / f"stage_{choice.stage}.ckpt").exists()
        if not there and (name == "parallel" or not choice.directional):
            train(Path(folder), training_config(name, choice.train, choice.scale))
    runs |= dict(each.split("=", 1) for each in choice.also)
    codecs = {name: load_codec(at_stage(run, choice.stage)) for name, run in runs.items()}
    sources = [read_source(path, choice.frames) for path in find_videos(choice.clips)]
    report(compare(codecs, sources, choice.qualities), choice.json)


def at_stage(run: str, stage: str | None) -> Path:
    """The checkpoint at the end of a stage of a run; the run where it is a file or no stage is
    asked for.
    """
    where = Path(run)
    return where / f"stage_{stage}.ckpt" if stage and where.is_dir() else where


def training_config(name: str, videos: Sequence[str], scale: float = 1.0) -> dict[str, Any]:
    """What train.py would be given for one of `OURS`."""
    given = f"data.root=[{','.join(videos)}]", f"schedule.scale={scale}", f"name=intra_{name}"
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=["experiment=ablate_intra", "run=unused", *given])
    plain = OmegaConf.to_container(config, resolve=True)
    if name == "parallel":
        own = parallel_config(plain["intra"])
        plain["intra"] = plain["codec"]["intra"] = own
    return plain


def parallel_config(directional: dict[str, Any]) -> dict[str, Any]:
    """The parallel scheme with everything that it has in common with a directional one."""
    shared = "features", "depth", "lambda_low", "lambda_high", "step", "chroma_step"
    entropy = directional["entropy"] | {
        "type": "parallel_entropy",
        "known": 5,
    }
    common = {key: directional[key] for key in shared}
    return {"type": "parallel_intra", "entropy": entropy, **common}


def compare(
    codecs: dict[str, VideoCodec],
    sources: Sequence[SourceClip],
    qualities: Sequence[int],
) -> dict[str, Any]:
    """The figures: of all codecs against the first."""
    found: dict[str, dict[str, list[Measured]]] = {name: {} for name in codecs}
    for source in sources:
        for name, codec in codecs.items():
            at_quality(codec, source, qualities[0])  # kernels and tables are ready then
            found[name][source.name] = [at_quality(codec, source, q) for q in qualities]
    anchor, figures = next(iter(found)), {}
    for name, clips in found.items():
        rows = [one for ones in clips.values() for one in ones]
        figures[f"{name}_encode_seconds"] = round(sum(one.encoded for one in rows), 3)
        figures[f"{name}_decode_seconds"] = round(sum(one.decoded for one in rows), 3)
        if name != anchor:
            figures |= against(name, found[anchor], clips)
            for kind in ("encode", "decode"):
                own, other = (figures[f"{one}_{kind}_seconds"] for one in (name, anchor))
                figures[f"{name}_{kind}_time_ratio"] = round(own / other, 3)
    points = {
        name: {
            clip: [(round(m.bpp, 5), round(m.psnr, 4)) for m in ms] for clip, ms in clips.items()
        }
        for name, clips in found.items()
    }
    return figures | {"points": points}


def against(
    name: str,
    anchor: dict[str, list[Measured]],
    own: dict[str, list[Measured]],
) -> dict[str, float]:
    """BD-rates of a codec against another, percent, by clip and in the mean."""

    def pairs(rows: list[Measured]) -> list[tuple[float, float]]:
        return [(one.bpp, one.psnr) for one in rows]

    rates = {clip: bd_rate(pairs(anchor[clip]), pairs(rows))[0] for clip, rows in own.items()}
    figures = {f"{name}_{clip}_bd_rate_percent": round(rate, 2) for clip, rate in rates.items()}
    low, high = mean_interval(list(rates.values())) or (None, None)
    mean = {f"{name}_bd_rate_percent": round(statistics.mean(rates.values()), 2)}
    if low is not None:
        mean |= {f"{name}_bd_rate_low": round(low, 2), f"{name}_bd_rate_high": round(high, 2)}
    return figures | mean


def at_quality(codec: VideoCodec, source: SourceClip, quality: int) -> Measured:
    """Write a file of intra frames alone, read it back."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "intra.cvd"
        start = time.process_time()
        compress(codec, source.rgb, source.fps, quality, file, intra_period=1, precision="fp32")
        middle = time.process_time()
        decoded = decompress(file, codec).frames
        end = time.process_time()
        bits = 8 * file.stat().st_size
    pixels = source.width * source.height * source.frames
    pairs = zip(decoded, source.rgb, strict=True)
    level = statistics.mean(psnr(ours.float(), own.float()) for ours, own in pairs)
    return Measured(bits / pixels, level, middle - start, end - middle)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
