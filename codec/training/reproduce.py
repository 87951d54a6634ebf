"""Reproduction: a run's config is trained again, and its figures are compared with the
first ones.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from codec.checkpoint import read_checkpoint
from codec.errors import CodecError
from codec.training.run import train
from codec.training.run_dir import check_stored, git_commit, precision_of_run, read_config, versions
from codec.training.schedule import schedule_of

DECIBELS = 5.0  # that a tolerance of 1 stands for: 0.1 dB at 2 %
ABSOLUTE = ("psnr",)  # figures in dB; all others are compared relatively


@dataclass(frozen=True)
class Figure:
    """A number of the last validation: in the run, in the reproduction (None: it has none), and how
    far apart they may be.
    """

    name: str
    before: float
    after: float | None
    allowed: float

    @property
    def difference(self) -> float:
        """In dB, or as a share of `before`."""
        if self.after is None:
            return math.nan
        away = self.after - self.before
        return (
            away
            if _in_decibels(self.name) or not away
            else away / abs(self.before)
            if self.before
            else math.inf
        )

    @property
    def holds(self) -> bool:
        """Whether the two are near enough."""
        return abs(self.difference) <= self.allowed


def reproduce(run: Path, folder: Path) -> None:
    """Train what `run` was trained by, into `folder`; when that was begun before, go on, and when
    it is finished, nothing.

    Raises:
        CodecError: `run` is no run or not finished, or `folder` holds another one; and what `train`
            raises.
    """
    config = config_of(run)
    check_finished(run, config)
    if folder.resolve() == run.resolve():
        raise CodecError(f"-o {folder}: the run itself; give another folder")
    computed_in = precision_of_run(run, start=0)
    if computed_in:  # as there, whatever this machine is fast in
        config["trainer"]["precision"] = computed_in
    train(folder, config | {"resume": None})


def config_of(run: Path) -> dict[str, Any]:
    """What a run was trained by; CodecError where `run` is no run."""
    _check_is_there(run)
    missing = [
        name for name in ("config.yaml", "metrics.jsonl", "last.ckpt") if not (run / name).is_file()
    ]
    if missing:
        raise CodecError(
            f"{run}: no {' and no '.join(missing)} in it; give the folder of a finished run of "
            "train.py"
        )
    config = read_config(run)
    if not isinstance(config, dict) or not {"schedule", "codec", "data"} <= set(config):
        raise CodecError(
            f"{run}/config.yaml: not the config of a run of train.py; give another folder"
        )
    check_stored(config, run / "config.yaml")
    return config


def check_finished(run: Path, config: dict[str, Any]) -> None:
    """CodecError where the run has steps left: its figures are not those of its config yet."""
    schedule = schedule_of(config["schedule"])
    training = read_checkpoint(run / "last.ckpt")["training"]
    done = training["codec_steps"] if training else 0
    if done < schedule.steps:
        raise CodecError(
            f"{run}: stopped at step {done} of {schedule.steps}; finish it first: python train.py "
            f"resume={run}"
        )


def changes(run: Path) -> list[str]:
    """What is different today from when the run was started, a line each: commit and versions;
    CodecError without the folder.
    """
    _check_is_there(run)
    file = run / "record.json"
    if not file.is_file():
        return [f"{file} is missing: its versions and commit are unknown"]
    entry, today = json.loads(file.read_text())[0], {"commit": git_commit(), **versions()}
    then = {"commit": entry["commit"], **entry["versions"]}
    lines = [
        f"{name}: {value} then, {today.get(name, 'unknown')} now"
        for name, value in then.items()
        if value != today.get(name)
    ]
    if then["commit"] == today["commit"] and then["commit"].endswith("+changes"):
        lines.append(f"commit: {then['commit']} both times; which changes is not known")
    return lines


def compare_figures(run: Path, folder: Path, tolerance: float) -> list[Figure]:
    """The last validations of both, figure by figure.

    Args:
        run, folder: the run and its reproduction.
        tolerance: share by which figures may differ; PSNR by `DECIBELS` times as many dB.
    """
    before, after = last_validation(run), last_validation(folder)
    allowed = {name: tolerance * (DECIBELS if _in_decibels(name) else 1) for name in before}
    return [Figure(name, value, after.get(name), allowed[name]) for name, value in before.items()]


def last_validation(run: Path) -> dict[str, float]:
    """The last row of `metrics.jsonl` with figures of validation; only these.

    Raises:
        CodecError: there is none.
    """
    file = run / "metrics.jsonl"
    for line in reversed(file.read_text().splitlines()):
        row = json.loads(line) if line.endswith("}") else {}
        figures = {name: value for name, value in row.items() if name.startswith("val/")}
        if figures:
            return figures
    raise CodecError(f"{file}: no validation in it; there is nothing to compare with")


def compare_weights(run: Path, folder: Path) -> str:
    """Whether the weights at the end are the same, in a line."""
    before, after = (read_checkpoint(where / "last.ckpt")["codec"] for where in (run, folder))
    if {name: value.shape for name, value in before.items()} != {
        name: value.shape for name, value in after.items()
    }:
        return "weights: of other names or shapes, so the code has changed"
    unequal = [name for name in before if not torch.equal(before[name], after[name])]
    if not unequal:
        return "weights: identical bit by bit"
    apart = {
        name: (before[name].double() - after[name].double()).abs().max().item() for name in unequal
    }
    largest = max(apart, key=lambda name: apart[name])
    return (
        f"weights: {len(unequal)} of {len(before)} tensors differ, by {apart[largest]:.3g} at most "
        f"(in {largest})"
    )


def figures_table(figures: list[Figure]) -> Table:
    """The comparison in a terminal."""
    table = Table()
    table.add_column("figure")
    for name in ("run", "again", "difference"):
        table.add_column(name, justify="right")
    table.add_column("")
    for figure in figures:
        away = (
            f"{figure.difference:+.3f} dB"
            if _in_decibels(figure.name)
            else f"{figure.difference:+.3%}"
        )
        again = ["–", "–"] if figure.after is None else [f"{figure.after:.4f}", away]
        style, word = (
            (None, "")
            if figure.holds
            else ("red", "missing" if figure.after is None else "too far")
        )
        table.add_row(figure.name, f"{figure.before:.4f}", *again, word, style=style)
    return table


def evaluation_command(run: Path, folder: Path) -> str | None:
    """How to evaluate the reproduction as the run was, or None when the run's folder holds no
    evaluation.
    """
    where = run / "evaluation"
    if not (where / "rd.json").is_file() or not (where / "record.json").is_file():
        return None
    words = json.loads((where / "record.json").read_text())[-1]["command"]
    ours = {"checkpoint": str(folder), "output": str(folder / "evaluation")}
    kept = [word for word in words[1:] if word.partition("=")[0] not in ours]
    return " ".join(
        ["python", words[0], *(f"{name}={value}" for name, value in ours.items()), *kept]
    )


def _check_is_there(run: Path) -> None:
    if not run.is_dir():
        raise CodecError(
            f"{run}: the folder does not exist; give the folder of a finished run of train.py"
        )


def _in_decibels(name: str) -> bool:
    return any(word in name for word in ABSOLUTE)
