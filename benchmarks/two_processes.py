"""A run of two stages on one process and the same on two: the loss curves must agree.

Both get the same global batch, seed and samples; what differs is the order of additions. In
float32, because bfloat16 rounds gradients of half a batch otherwise than those of a whole one. The
stages have an update a clip and an update a frame.

    python benchmarks/two_processes.py [--clips FOLDER] [--steps 20] [--json FILE]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from parts.figures import report

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Train twice, compare every logged loss, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--clips", type=Path, default=None, help="a folder of videos; by default the sample clips"
    )
    parser.add_argument("--steps", type=int, default=20, help="of each stage; default %(default)s")
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one, two = (losses(choice, Path(folder) / f"processes_{n}", n) for n in (1, 2))
    assert [name for name, _ in one] == [name for name, _ in two], "they logged at other steps"
    apart = max(abs(b - a) / a for (_, a), (_, b) in zip(one, two, strict=True))
    report({"logged_losses": len(one), "largest_relative_difference": apart}, choice.json)


def losses(choice: argparse.Namespace, run: Path, processes: int) -> list[tuple[str, float]]:
    """Every loss that a run of so many processes logs, with its name and step."""
    data = (
        ["data=folder", f"data.root={choice.clips.resolve()}"]
        if choice.clips
        else ["data=demo", "data.hold_mb=0"]
    )
    same = f"steps: {choice.steps}, crop: 64, lr: 1e-3, lr_end: 1e-4, validate_every: 10"
    stages = (
        f"[{{name: pairs, frames: 2, batch: 4, {same}}}, "
        f"{{name: frames, frames: 3, batch: 2, update: frame, {same}}}]"
    )
    small = [
        "width=32",
        "wandb=disabled",
        "training.log_every=1",
        "data.workers=1",
        "data.val_clips=3",
        "data.val_crop=64",
    ]
    how = [
        "trainer.accelerator=cpu",
        f"trainer.devices={processes}",
        "trainer.precision=32-true",
        f"run={run}",
    ]
    subprocess.run(
        [sys.executable, "train.py", *data, *small, *how, f"schedule.stages={stages}"],
        cwd=ROOT,
        check=True,
    )
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        (f"{name} {row['step']}", row[name])
        for row in rows
        for name in ("train/loss", "val/loss")
        if name in row
    ]


if __name__ == "__main__":
    main()
