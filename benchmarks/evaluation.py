"""Evaluation two points at once against one at a time, and again from the store: 5 clips, 6
qualities, 3 anchors; medians.

Of the function `evaluate`: what starting Python, figures and pictures take comes on top, the same
each time.

python benchmarks/evaluation.py [--jobs 2] [--frames 32] [--size 352x288] [--repeats 3]
    [--json FILE]
"""

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from fractions import Fraction
from io import StringIO
from pathlib import Path

from parts.figures import report

from codec.anchors import X264, X265, StandardCodec, SvtAv1
from codec.evaluation import evaluate
from codec.evaluation.complexity.profiler import panning_clip
from codec.evaluation.measure import Measure
from codec.evaluation.points.executor import Running
from data.io.writer import write_video

CLIPS = 5
ANCHORS: list[StandardCodec] = [
    X265(
        tunes=("psnr",),
        parameters="bframes=0:rc-lookahead=0:scenecut=0:frame-threads=1:wpp=0:pools=none",
    ),
    X264(tunes=("psnr",)),
    SvtAv1(preset=6, tunes=("psnr",)),
]


def main() -> None:
    """Measure, print, and write JSON where wanted."""
    choice = arguments()
    width, height = map(int, choice.size.split("x"))
    logging.getLogger("codec").setLevel(logging.ERROR)
    measure = Measure(["psnr_rgb", "psnr_yuv"])
    parallel, cached, remade = [], [], set()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        clips = made_clips(root, choice.frames, width, height)
        for repeat in range(choice.repeats):
            one = timed(clips, measure, root / f"one{repeat}", 1)
            many = timed(clips, measure, root / f"many{repeat}", choice.jobs)
            again = timed(clips, measure, root / f"many{repeat}", choice.jobs)
            print(
                f"one at a time {one:.1f} s, {choice.jobs} at once {many:.1f} s, again {again:.2f} "
                "s"
            )
            parallel.append(many / one)
            cached.append(again / one)
        store = root / "many0" / "store"
        before = points(store)
        write_clip(clips[-1], choice.frames, width, height, CLIPS + 1)
        timed(clips, measure, root / "many0", choice.jobs)
        remade = points(store) - before
    report(
        {
            "parallel_fraction": round(statistics.median(parallel), 3),
            "cached_fraction": round(statistics.median(cached), 4),
            "points": CLIPS * sum(len(anchor.qualities) for anchor in ANCHORS),
            "points_remade_after_one_clip_changed": len(remade),
        },
        choice.json,
    )


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--size", default="352x288")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None)
    return parser.parse_args()


def made_clips(folder: Path, frames: int, width: int, height: int) -> list[Path]:
    """Clips of different content."""
    clips = [folder / f"clip{number}.mkv" for number in range(CLIPS)]
    for number, clip in enumerate(clips):
        write_clip(clip, frames, width, height, number)
    return clips


def write_clip(clip: Path, frames: int, width: int, height: int, number: int) -> None:
    """A part of a pan."""
    write_video(panning_clip(frames * (number + 1), width, height)[-frames:], Fraction(25), clip)


def timed(clips: Sequence[Path], measure: Measure, folder: Path, jobs: int) -> float:
    """Seconds of an evaluation whose store and output lie in `folder`."""
    start = time.perf_counter()
    with redirect_stderr(StringIO()):
        evaluate(
            [],
            ANCHORS,
            clips,
            folder / "output",
            measure,
            running=Running(jobs=jobs, cache=folder / "store"),
        )
    return time.perf_counter() - start


def points(store: Path) -> set[str]:
    """Names of what is kept."""
    return {path.parent.name for path in store.glob("points/*/*/scores_*.json")}


if __name__ == "__main__":
    main()
