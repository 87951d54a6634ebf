"""What a run folder says about itself: versions, commit, command."""

import json
import logging
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from pytorch_lightning.utilities import rank_zero_only

from codec.files import write_text
from codec.precision import AUTO
from codec.stored_yaml import read_yaml

_PACKAGES = [
    "torch",
    "pytorch-lightning",
    "hydra-core",
    "compressai",
    "decord",
    "lpips",
    "wandb",
    "numpy",
]


log = logging.getLogger(__name__)


@rank_zero_only
def write_record(folder: Path, step: int = 0, precision: str | None = None) -> None:
    """Append how the run was started to `record.json`: a list, an entry a start. A resume, from
        `step`, adds one.

    `precision` is the trainer's; None: nothing is trained. Warns where the source is not that of
    the first start.
    """
    path = folder / "record.json"
    entries = json.loads(path.read_text()) if path.is_file() else []
    command, commit, threads = (
        [Path(sys.argv[0]).name, *sys.argv[1:]],
        git_commit(),
        torch.get_num_threads(),
    )
    how = {"threads": threads} | ({"precision": precision} if precision else {})
    entries.append(
        {"command": command, "step": step, "commit": commit, **how, "versions": versions()}
    )
    write_text(path, json.dumps(entries, indent=2) + "\n")
    if commit != entries[0]["commit"]:
        log.warning(
            "%s: started with commit %s, goes on with %s; results may differ",
            folder,
            entries[0]["commit"],
            commit,
        )
    if threads != (first := entries[0].get("threads", threads)):
        log.warning(
            "%s: started with %d threads, goes on with %d; weights will not be the same bit by bit",
            folder,
            first,
            threads,
        )


def precision_of_run(folder: Path, start: int = -1) -> str | None:
    """What the run in `folder` computed in when it was last started, or at another `start`; None
    where that is not known.

    Runs older than the record's field say it in their config.
    """
    record, config = folder / "record.json", folder / "config.yaml"
    entries = json.loads(record.read_text()) if record.is_file() else []
    if entries and "precision" in entries[start]:
        return entries[start]["precision"]
    trainer = read_yaml(config).get("trainer") if config.is_file() else None
    asked = trainer.get("precision") if isinstance(trainer, dict) else None
    return None if asked in (None, AUTO) else asked


def versions() -> dict[str, str]:
    """Versions of Python, Corvid and what results depend on."""
    found = {"python": platform.python_version()}
    for package in ["corvid", *_PACKAGES]:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_commit() -> str:
    """The commit of the source, with `+changes` where the working tree differs; `unknown` outside a
    checkout.
    """
    root = Path(__file__).parents[2]
    git = ["git", "-C", str(root)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+changes" if changed else "")
