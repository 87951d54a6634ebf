"""What a planned run needs of a node, and what a check found."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from codec.errors import CodecError
from codec.stored_yaml import read_yaml

# what decides whether a sample can be read
DATA = ("root", "shards", "reader", "exclude_every", "start_method")

State = Literal["ok", "warning", "failing"]


@dataclass(frozen=True)
class Finding:
    """What a check found, in a few words, and what to do where it is not ok."""

    state: State
    found: str
    remedy: str = ""


def ok(found: str) -> Finding:
    """A finding with nothing to do."""
    return Finding("ok", found)


def warning(found: str, remedy: str) -> Finding:
    """A finding with which a run works, but slowly, or not for long."""
    return Finding("warning", found, remedy)


def failing(found: str, remedy: str) -> Finding:
    """A finding with which a run would fail."""
    return Finding("failing", found, remedy)


@dataclass(frozen=True)
class Plan:
    """What a run needs of a node.

    Attributes:
        folder: where the run's files are, or will be.
        data: what it trains on, as arguments of `ClipDataModule`; None: not checked.
        workers: reading processes of each training process.
        processes: training processes of this node.
        batch_mb: MB of the largest batch of any stage, uint8, of one process.
        hold_mb: MiB of decoded frames in the memory of each worker.
        stages: of the schedule; a checkpoint is kept of each.
        wandb: as in the config, "auto", "online", "offline" or "disabled".
    """

    folder: Path
    data: dict[str, Any] | None = None
    workers: int = 2
    processes: int = 1
    batch_mb: float = 8 * 7 * 3 * 256 * 256 / 1e6
    hold_mb: int = 0
    stages: int = 3
    wandb: str = "auto"


def plan_of(folder: Path, data: str | None = None, workers: int | None = None) -> Plan:
    """The plan of a run folder by its `config.yaml`, else of an ordinary run in it.

    Args:
        data, workers: used instead of those in the config.

    Raises:
        CodecError: its config.yaml cannot be read or is not of a run.
    """
    asked = (("data", data and {"root": data}), ("workers", workers))
    given: dict[str, Any] = {name: value for name, value in asked if value is not None}
    file = folder / "config.yaml"
    if not file.is_file():
        return Plan(folder, **given)
    try:
        config = read_yaml(file)
        stages, processes = config["schedule"]["stages"], _processes(config)
        largest = max(stage["batch"] * stage["frames"] * stage["crop"] ** 2 for stage in stages)
        known = dict(
            data={name: config["data"][name] for name in DATA if name in config["data"]},
            workers=config["data"]["workers"],
            processes=processes,
            batch_mb=3 * largest / processes / 1e6,
            hold_mb=config["data"]["hold_mb"],
            stages=len(stages),
            wandb=config["wandb"] if "wandb" in config.get("logger", ["wandb"]) else "disabled",
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CodecError(
            f"{file}: not the config of a run ({type(error).__name__}: {error}); give another --run"
        ) from error
    return Plan(folder, **known | given)


def _processes(config: dict[str, Any]) -> int:
    """Training processes of this node; torch is imported only where that is `auto`."""
    devices = config["trainer"]["devices"]
    if devices == "auto":
        from codec.training.distributed import choose_devices
        from codec.training.schedule import schedule_of

        devices = choose_devices(config["trainer"], schedule_of(config["schedule"]).stages)
    return len(devices) if isinstance(devices, list) else int(devices)


def existing(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that exists, which is on the same disk."""
    folder = folder.resolve()
    while not folder.is_dir():
        folder = folder.parent
    return folder
