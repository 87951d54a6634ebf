"""What the run will ask of the node."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codec.errors import CodecError
from codec.stored_yaml import read_yaml

DATA = ("root", "shards", "reader", "exclude_every", "start_method")  # what decides whether a sample can be read


@dataclass(frozen=True)
class Plan:
    """A run, as far as a node must be able to carry it.

    Attributes:
        folder: where the run's files are, or will be.
        data: what it trains on, as arguments of `ClipDataModule`; None is not looked at.
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
    """The plan of a run folder by its `config.yaml`, else of an ordinary run there; `data` and `workers` stand above it.

    Raises:
        CodecError: its config.yaml cannot be read or is not of a run.
    """
    asked = (("data", data and {"root": data}), ("workers", workers))
    given = {name: value for name, value in asked if value is not None}
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
            wandb=config["wandb"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CodecError(f"{file}: not the config of a run ({type(error).__name__}: {error}); give another --run") from error
    return Plan(folder, **known | given)


def _processes(config: dict[str, Any]) -> int:
    """Training processes of this node; what `auto` means here is asked only where it stands, for the answer needs torch."""
    devices = config["trainer"]["devices"]
    if devices == "auto":
        from codec.training.processes import choose_devices
        from codec.training.schedule import schedule_of

        devices = choose_devices(config["trainer"], schedule_of(config["schedule"]).stages)
    return len(devices) if isinstance(devices, list) else int(devices)


def existing(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that exists: what is made in it will be on the same disk."""
    folder = folder.resolve()
    while not folder.is_dir():
        folder = folder.parent
    return folder
