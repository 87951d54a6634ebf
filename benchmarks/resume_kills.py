"""A run of three stages, killed with `kill -9` again and again and started by the same command,
against an undisturbed one.

The moments are random: a step, and a time after it that may reach into validation, the writing of a
checkpoint or the next stage. Of five kills one waits for a checkpoint that is half written and one
for the end of a stage, which chance would rarely hit. `bit_identical_resumes` is 1 where, in the
end, every tensor of the last checkpoint (weights, their average, optimizer) and every logged
training loss is the undisturbed run's, bit by bit.

    python benchmarks/resume_kills.py [--clips FOLDER] [--kills 5] [--seed 0] [--workers 2]
        [--folder KEEP_RUNS] [--json FILE]
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from parts.figures import report
from torch import Tensor

ROOT = Path(__file__).parents[1]
STEPS, STAGES = 6, 3  # steps a stage
IN_WRITING, AT_BOUNDARY, ANYWHERE = "in the writing of a checkpoint", "at a stage's end", "anywhere"
LONGEST = 3.0  # seconds from a step to a kill anywhere
PATIENCE = 600  # seconds for a moment to come


def main() -> None:
    """Train undisturbed, train with kills, compare, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--clips", type=Path, default=None, help="a folder of videos; by default the sample clips"
    )
    parser.add_argument(
        "--kills", type=int, default=5, help=f"1 to {STEPS * STAGES - 4}; default %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default %(default)s")
    parser.add_argument(
        "--workers", type=int, default=2, help="reading processes; default %(default)s"
    )
    parser.add_argument(
        "--folder", type=Path, default=None, help="keep the runs there; must be new"
    )
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    if not 1 <= choice.kills <= STEPS * STAGES - 4:
        parser.error(f"--kills: {choice.kills} given")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (choice.folder or Path(temporary)).resolve()
        finish(command(choice, folder / "undisturbed"))
        kills = kill_again_and_again(command(choice, folder / "killed"), folder / "killed", choice)
        finish(command(choice, folder / "killed"))
        wrong = list(differences(read(folder / "undisturbed"), read(folder / "killed")))
    for place in wrong[:10]:
        print(f"differs: {place}")
    report(
        {"kills": kills, "bit_identical_resumes": int(kills == choice.kills and not wrong)},
        choice.json,
    )


def command(choice: argparse.Namespace, run: Path) -> list[str]:
    """A small training run into `run`."""
    data = (
        ["data=folder", f"data.root={choice.clips.resolve()}"]
        if choice.clips
        else ["data=demo", "data.hold_mb=0"]
    )
    data += [
        f"data.workers={choice.workers}",
        "data.val_clips=1",
        "data.val_frames=2",
        "data.val_crop=64",
    ]
    same = f"steps: {STEPS}, crop: 64, batch: 2, lr: 1e-3, lr_end: 1e-4, validate_every: 4"
    stages = ",".join(
        f"{{name: s{number}, frames: {2 + number}, {same}}}" for number in range(STAGES)
    )
    small = [
        "width=16",
        "training.log_every=1",
        "training.val_qualities=[32]",
        "checkpoint_every=2",
        "wandb=disabled",
    ]
    return [sys.executable, "train.py", *data, *small, f"schedule.stages=[{stages}]", f"run={run}"]


def finish(words: list[str]) -> None:
    """Run to the end."""
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: training failed\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def kill_again_and_again(words: list[str], run: Path, choice: argparse.Namespace) -> int:
    """Start, wait for a moment, kill; says each. How many times it came to that."""
    drawn = random.Random(choice.seed)
    steps = sorted(drawn.sample(range(1, STEPS * STAGES - 3), choice.kills))
    kinds = [IN_WRITING, AT_BOUNDARY, *[ANYWHERE] * choice.kills][: choice.kills]
    drawn.shuffle(kinds)
    kills = 0
    for step, kind in zip(steps, kinds, strict=True):
        delay = drawn.uniform(0, LONGEST) if kind == ANYWHERE else 0
        with subprocess.Popen(
            words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            came = wait_for(kind, step, run, process)
            time.sleep(delay)
            if not came or process.poll() is not None:
                print(f"the run ended before it could be killed after step {step}, {kind}")
                process.kill()
                continue
            process.kill()
        kills += 1
        half = [path.name for path in run.glob(f"*.{process.pid}.part")]
        print(
            f"kill {kills}: {kind}, {delay:.2f} s after step {last_step(run)}; half written: "
            f"{', '.join(half) or 'nothing'}"
        )
    return kills


def wait_for(kind: str, step: int, run: Path, process: subprocess.Popen) -> bool:
    """Whether the moment came: this process has logged, `step` is there, and then what
    `kind` says.
    """
    began = time.time()
    ended = [path.name for path in run.glob("stage_*.ckpt")]
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        if (
            logged_since(began, run)
            and last_step(run) >= step
            and (
                kind == ANYWHERE
                or (kind == IN_WRITING and any(run.glob("*.part")))
                or (
                    kind == AT_BOUNDARY
                    and any(path.name not in ended for path in run.glob("stage_*.ckpt"))
                )
            )
        ):
            return True
        time.sleep(0.001)
    return False


def logged_since(moment: float, run: Path) -> bool:
    """Whether a run has written to its log."""
    file = run / "metrics.jsonl"
    return file.is_file() and file.stat().st_mtime > moment


def last_step(run: Path) -> int:
    """The last step that a run has logged."""
    file = run / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.is_file() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("}\n")), default=0)


def read(run: Path) -> dict[str, Any]:
    """A run's last checkpoint and logged losses."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = {row["step"]: row["train/loss"] for row in rows if "train/loss" in row}
    return {
        "checkpoint": torch.load(run / "last.ckpt", weights_only=True),
        "losses": losses,
        "rows": len(losses),
    }


def differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Where two nested values are not the same, tensors bit by bit."""
    if isinstance(one, dict | list) and type(one) is type(other) and len(one) == len(other):
        pairs = one.items() if isinstance(one, dict) else enumerate(one)
        for name, value in pairs:
            there = name in other if isinstance(other, dict) else True
            yield from (
                differences(value, other[name], f"{place}.{name}")
                if there
                else (f"{place}.{name}",)
            )
    elif isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.dtype != other.dtype or not torch.equal(one, other):
            yield place
    elif one != other:
        yield place


if __name__ == "__main__":
    main()
