"""Whether Corvid is fast on this machine and on one without bfloat16 or AVX-512, which environment
variables imitate.

Training: a step of the demo with `trainer.precision=auto`, against the better of bf16-mixed and
32-true. Decoding: 416×240 with `codec.precision=auto`, against the better of bf16 and fp32. Both as
the machine is and in a process that starts with ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2.
Busy neighbour: `train.py` with two threads on two cores, beside a process that keeps one core busy
against alone. Medians of interleaved rounds.

    python benchmarks/machine.py [--rounds 5] [--threads N] [--checkpoint FILE]
        [--only ratios] [--json FILE]

Figures: `train_step_ratio`, `decode_ratio`, `train_step_ratio_avx2`, `decode_ratio_avx2` (at most
1.1), and `busy_neighbour_ratio` (at most 2.5); status 1 where one is above.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from coding_speed import resized
from drift import CHECKPOINT
from parts.figures import report
from train_step import our_step

from codec.checkpoint import load_codec
from codec.stream import compress, decompress
from common.resources import WAITING, keep_freed_memory, prepare_threads
from data.io.source_clip import read_source
from data.sources.discovery import find_videos

ROOT = Path(__file__).parents[1]
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
# What a figure may be, by the beginning of its name.
MOST = {"train_step_ratio": 1.1, "decode_ratio": 1.1, "busy_neighbour_ratio": 2.5}
DEMO_BATCH, DEMO_FRAMES, DEMO_CROP = 6, 4, 160  # of the demo's longest stage
SIZE, FRAMES = (240, 416), 6
TRAINED_STEPS = 10
SHORT_RUN = (
    *("data.root=sample:bikes", "data.workers=0", "data.val_clips=1", "data.val_frames=2"),
    *("data.val_crop=64", "training.log_every=1", "training.val_qualities=[32]", "wandb=disabled"),
    "trainer.accelerator=cpu",
)
NEIGHBOUR = (
    "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"  # ends with this process
)
STAGE = (
    "{name: pairs, frames: 2, crop: 128, batch: 8, lr: 1e-3, lr_end: 1e-3, validate_every: 1000}"
)


def main() -> int:
    """Measure, print, and write JSON where wanted; 1 where a ratio is above what it may be."""
    choice = arguments()
    if choice.part:
        print(json.dumps(measured_here(choice)))
        return 0
    prepare_threads()  # of the processes that measure
    figures: dict[str, float] = {}
    if choice.only != "neighbour":
        for where, environment in (("", {}), ("_avx2", AVX2)):
            found = ratios(in_a_process(choice, environment), where)
            print(found, flush=True)
            figures |= found
    if choice.only != "ratios":
        figures["busy_neighbour_ratio"] = round(busy_neighbour_ratio(choice.rounds), 2)
    report(figures, choice.json)
    return int(any(figures[name] > most_of(name) for name in figures if most_of(name)))


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="of torch; default %(default)s"
    )
    parser.add_argument(
        "--checkpoint",
        default=str(CHECKPOINT),
        help="of the codec that decodes: file or run folder",
    )
    parser.add_argument("--clip", default="sample:bigbuckbunny")
    parser.add_argument(
        "--only", choices=("ratios", "neighbour"), default=None, help="leave out the others"
    )
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument(
        "--part", action="store_true", help=argparse.SUPPRESS
    )  # of the figures, in an environment
    return parser.parse_args()


def most_of(name: str) -> float:
    """What a figure may be; 0: anything."""
    return next((most for beginning, most in MOST.items() if name.startswith(beginning)), 0.0)


def in_a_process(
    choice: argparse.Namespace, environment: dict[str, str]
) -> dict[str, dict[str, list[float]]]:
    """What `measured_here` gives where these variables are set: torch looks at them when it is
    imported.
    """
    given = (
        f"--{name}={getattr(choice, name)}" for name in ("rounds", "threads", "checkpoint", "clip")
    )
    command = [sys.executable, __file__, "--part", *given]
    done = subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def measured_here(choice: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Seconds of a training step and of decoding a clip, by precision and round."""
    keep_freed_memory()
    torch.set_num_threads(choice.threads)
    torch.manual_seed(0)
    found = {"train_step": in_turns(training_steps(), choice.rounds)}
    with tempfile.TemporaryDirectory() as folder:
        works = decodings(choice.checkpoint, choice.clip, Path(folder))
        return found | {"decode": in_turns(works, 3 * choice.rounds)}


def training_steps() -> dict[str, Callable[[], object]]:
    """The demo's step on random frames, by `trainer.precision`."""
    frames = torch.rand(DEMO_BATCH, DEMO_FRAMES, 3, DEMO_CROP, DEMO_CROP)
    named = {"auto": "auto", "bf16": "bf16-mixed", "fp32": "32-true"}
    steps = {
        name: our_step("experiment=demo", f"trainer.precision={given}")
        for name, given in named.items()
    }
    return {name: lambda step=step: step(frames) for name, step in steps.items()}


def decodings(checkpoint: str, clip: str, folder: Path) -> dict[str, Callable[[], object]]:
    """Decoding a stream of six frames, by the `codec.precision` that it was written in."""
    codec = load_codec(checkpoint)
    frames = resized(read_source(find_videos(clip)[0], FRAMES).rgb, SIZE)
    files = {name: folder / f"{name}.cvd" for name in ("auto", "bf16", "fp32")}
    for name, file in files.items():
        compress(codec, frames, 30, 32, file, precision=name)
    return {name: lambda file=file: decompress(file, codec) for name, file in files.items()}


def in_turns(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each piece of work in each round; every round begins with another. A round before
    the first is not counted.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            works[name]()
            if turn:
                taken[name].append(time.perf_counter() - start)
    return taken


def ratios(measured: dict[str, dict[str, list[float]]], where: str) -> dict[str, float]:
    """The median ratio of `auto` to the better of the two others, round by round; and the median
    seconds of all three.
    """
    figures: dict[str, float] = {}
    for what, seconds in measured.items():
        better = min(("bf16", "fp32"), key=lambda name: statistics.median(seconds[name]))
        ratio = statistics.median(
            a / b for a, b in zip(seconds["auto"], seconds[better], strict=True)
        )
        figures[f"{what}_ratio{where}"] = round(ratio, 3)
        figures |= {
            f"{what}_{name}_seconds{where}": round(statistics.median(value), 4)
            for name, value in seconds.items()
        }
    return figures


def busy_neighbour_ratio(rounds: int) -> float:
    """How many times slower `train.py` steps with two threads on two cores beside a process that
    keeps one of them busy.

    What `train.py` sets for its threads takes effect: how they wait is taken out of the
    environment.
    """
    runs: list[tuple[float, float]] = []
    with on_two_cores():
        for _ in range(max(1, rounds // 2)):
            alone = frames_per_second()
            neighbour = subprocess.Popen([sys.executable, "-c", NEIGHBOUR])
            try:
                runs.append((alone, frames_per_second()))
            finally:
                neighbour.kill()
                neighbour.wait()
    return statistics.median(alone for alone, _ in runs) / statistics.median(
        beside for _, beside in runs
    )


def frames_per_second() -> float:
    """The median over the rows that a short run of `train.py` with two threads logs, without its
    first steps.
    """
    kept = {name: value for name, value in os.environ.items() if name not in WAITING}
    environment = kept | {"OMP_NUM_THREADS": "2"}
    with tempfile.TemporaryDirectory() as folder:
        stages = f"[{STAGE[:-1]}, steps: {TRAINED_STEPS}}}]"
        words = ["experiment=demo", *SHORT_RUN, f"run={folder}/run", f"schedule.stages={stages}"]
        command = [sys.executable, "train.py", *words]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(command, cwd=ROOT, env=environment, check=True, **quiet)
        return rate_of(Path(folder, "run", "metrics.jsonl").read_text().splitlines())


def rate_of(lines: Sequence[str]) -> float:
    """Frames a second: the median of logged rows of training but for the first two."""
    rates = [
        row["speed/frames_per_s"] for row in map(json.loads, lines) if "speed/frames_per_s" in row
    ]
    return statistics.median(rates[2:])


@contextmanager
def on_two_cores() -> Iterator[None]:
    """Let this process, and those it starts, use two of its cores for a while, where the system can
    say so.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:2])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    sys.exit(main())
