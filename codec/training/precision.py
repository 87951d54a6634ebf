"""What a run's trainer computes in: as it was told, as the run did before, as its sweep does, or
what is fastest here.
"""

import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from codec.device import GPU_NAMES, default_device, multiplies_bf16, multiplies_bf16_in_tiles
from codec.precision import AUTO, fastest_precision, slower_here, why_fastest

# Training needs bf16's range.
TRAINER_NAMES = {"bf16": "bf16-mixed", "fp32": "32-true", "fp16": "32-true"}
_OURS = {"bf16-mixed": "bf16", "32-true": "fp32"}


@dataclass(frozen=True)
class TrainerPrecision:
    """`name`, of `codec.training.stage.PRECISIONS`, and a line that says why."""

    name: str
    line: str


def choose_precision(
    trainer: dict[str, Any], before: str | None, sweep: Path | None
) -> TrainerPrecision:
    """Choose once, in the first process of a run; its others are told.

    Args:
        trainer: of the run's config. `precision` is one of Lightning's names, which is then chosen,
            or `auto`.
        before: what the run computed in so far; None for a new run.
        sweep: folder of the sweep that the run is a job of, whose jobs compute alike; None: it is
            no job of one.
    """
    device, asked = device_of(trainer), trainer.get("precision", AUTO)
    if asked != AUTO:
        changed = f", {before} until now" if before not in (None, asked) else ""
        return TrainerPrecision(
            asked, f"precision: {asked}, as given{changed}{_cost(asked, device)}"
        )
    best = best_precision(trainer)
    if before:
        remedy = f"; trainer.precision={best} goes on in that" if before != best else ""
        return TrainerPrecision(
            before, f"precision: {before}, as until now{_cost(before, device)}{remedy}"
        )
    if sweep and (agreed := agree(sweep, best, device)) != best:
        return TrainerPrecision(
            agreed, f"precision: {agreed}, as the first job of the sweep{_cost(agreed, device)}"
        )
    why = f"as {_why(device)} (trainer.precision=auto)"
    return TrainerPrecision(best, f"precision: {best}, {why}{_cost(best, device)}")


def best_precision(trainer: dict[str, Any]) -> str:
    """What the `trainer` part of a config means on this machine alone."""
    asked, device = trainer.get("precision", AUTO), device_of(trainer)
    if asked != AUTO:
        return asked
    return TRAINER_NAMES["fp32" if _only_in_vectors(device) else fastest_precision(device)]


def _only_in_vectors(device: torch.device) -> bool:
    """Whether this is a CPU that multiplies bfloat16, but not in AMX's tiles.

    Backward passes are slower in it then: `corvid_s` trained 18 frames a second in float32 and 15
    in bfloat16, the demo's step took 0.98 s and 1.09 s. Coding is faster in bfloat16 all the same.
    """
    return device.type == "cpu" and multiplies_bf16(device) and not multiplies_bf16_in_tiles(device)


def _why(device: torch.device) -> str:
    if _only_in_vectors(device):
        return "this CPU multiplies bfloat16, but not in AMX's tiles: float32 trains faster"
    return why_fastest(device)


def device_of(trainer: dict[str, Any]) -> torch.device:
    """The kind of device that the `trainer` part of a config trains on."""
    on_gpu = trainer.get("accelerator", "auto") in ("auto", *GPU_NAMES)
    return default_device() if on_gpu else torch.device("cpu")


def agree(sweep: Path, best: str, device: torch.device) -> str:
    """What the first job of a sweep on a device of this kind took; this one's `best` where it is
    the first.
    """
    file = sweep / f"precision_{device.type}.txt"
    sweep.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{platform.node()}.{os.getpid()}.part")
    part.write_text(f"{best}\n")
    with suppress(FileExistsError):
        os.link(part, file)  # whole at once, and never over another's
    part.unlink()
    return file.read_text().strip()


def _cost(name: str, device: torch.device) -> str:
    """What it costs here that `name` is not the fastest; "" where it is, or nearly."""
    slower = slower_here(_OURS[name], device)
    return f"; {slower}" if slower else ""
