"""All checks, run one after the other; a check that raises is a failing item."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from codec.doctor import accelerators, machine, network, pictures, slurm, software, storage
from codec.doctor.finding import Finding, State, failing
from codec.doctor.plan import Plan

COLOURS = {"ok": "green", "warning": "yellow", "failing": "red"}


@dataclass(frozen=True)
class Check:
    """A check by its name in the table, with the remedy for the case that it raises."""

    name: str
    look: Callable[[Plan], Finding]
    remedy: str


@dataclass(frozen=True)
class Item:
    """A line of the report."""

    name: str
    state: State
    found: str
    remedy: str


CHECKS = (
    Check("packages", software.check_packages, software.INSTALL),
    Check("torch", software.check_torch, software.INSTALL),
    Check("compiled kernels", software.check_kernels, software.KERNELS),
    Check("GPU", accelerators.check_gpus, accelerators.DRIVER),
    Check("driver", accelerators.check_driver, accelerators.DRIVER),
    Check("NCCL", accelerators.check_nccl, accelerators.NCCL),
    Check("gloo", accelerators.check_gloo, accelerators.GLOO),
    Check("disk", storage.check_disk, storage.DISK),
    Check("disk speed", storage.check_writing, storage.DISK),
    Check("shared memory", storage.check_shared_memory, storage.SHARED),
    Check("open files", machine.check_open_files, machine.OPEN_FILES),
    Check("processor", machine.check_processor, machine.PROCESSOR),
    Check("threads", machine.check_threads, machine.THREADS),
    Check("cores", machine.check_cores, machine.CORES),
    Check("memory", machine.check_memory, machine.MEMORY),
    Check("clock", storage.check_clock, storage.CLOCK),
    Check("LPIPS", pictures.check_lpips, pictures.LPIPS),
    Check("decoders", pictures.check_decoders, pictures.DECODERS),
    Check("encoder", pictures.check_encoder, pictures.ENCODER),
    Check("wandb", network.check_wandb, network.WANDB),
    Check("stop signals", slurm.check_signals, slurm.SIGNALS),
    Check("SLURM", slurm.check_job, slurm.REQUEUE),
    Check("data", pictures.check_data, pictures.DATA),
)


def examine(plan: Plan, checks: tuple[Check, ...] = CHECKS) -> Iterator[Item]:
    """The report's lines, each as soon as its check is done."""
    for check in checks:
        try:
            finding = check.look(plan)
        except Exception as error:  # what a broken installation raises may be anything, and is what was found
            said = " ".join(f"{type(error).__name__}: {error}".split())[:400]
            finding = failing(said, software.INSTALL if isinstance(error, ImportError) else check.remedy)
        yield Item(check.name, **asdict(finding))


def report_table(items: list[Item]) -> Table:
    """The report in a terminal; the remedy stands under what was found."""
    table = Table()
    for name in ("item", "state", "found"):
        table.add_column(name, overflow="fold")
    for item in items:
        found = item.found + (f"\n→ {item.remedy}" if item.remedy else "")
        table.add_row(item.name, item.state, found, style=None if item.state == "ok" else COLOURS[item.state])
    return table


def report_json(items: list[Item]) -> dict[str, Any]:
    """The same as the table."""
    return {"schema": 1, "failing": sum(item.state == "failing" for item in items), "items": [asdict(item) for item in items]}
