"""Check a node before a long run: all checks, and the report."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from codec.doctor import machine, software
from codec.doctor.plan import Finding, Plan, State, failing

LONGEST = 400  # letters of an error
COLORS = {"ok": "green", "warning": "yellow", "failing": "red"}


@dataclass(frozen=True)
class Check:
    """A check: its name in the report, and the remedy where it raises an error."""

    name: str
    run: Callable[[Plan], Finding]
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
    Check("GPU", machine.check_gpus, machine.DRIVER),
    Check("driver", machine.check_driver, machine.DRIVER),
    Check("NCCL", software.check_nccl, software.NCCL),
    Check("gloo", software.check_gloo, software.GLOO),
    Check("disk", machine.check_disk, machine.DISK),
    Check("disk speed", machine.check_writing, machine.DISK),
    Check("shared memory", machine.check_shared_memory, machine.SHARED),
    Check("open files", machine.check_open_files, machine.OPEN_FILES),
    Check("processor", machine.check_processor, machine.PROCESSOR),
    Check("threads", machine.check_threads, machine.THREADS),
    Check("cores", machine.check_cores, machine.CORES),
    Check("memory", machine.check_memory, machine.MEMORY),
    Check("clock", machine.check_clock, machine.CLOCK),
    Check("LPIPS", software.check_lpips, software.LPIPS),
    Check("decoders", software.check_decoders, software.DECODERS),
    Check("encoder", software.check_encoder, software.ENCODER),
    Check("wandb", software.check_wandb, software.WANDB),
    Check("stop signals", software.check_signals, software.SIGNALS),
    Check("SLURM", software.check_job, software.REQUEUE),
    Check("data", software.check_data, software.DATA),
)


def examine(plan: Plan, checks: tuple[Check, ...] = CHECKS) -> Iterator[Item]:
    """Run the checks; yield each line of the report as soon as it is known.

    A check that raises is a failing item.
    """
    for check in checks:
        try:
            finding = check.run(plan)
        except Exception as error:  # a broken installation may raise anything: that is the finding
            found = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST]
            remedy = software.INSTALL if isinstance(error, ImportError) else check.remedy
            finding = failing(found, remedy)
        yield Item(check.name, **asdict(finding))


def report_table(items: list[Item]) -> Table:
    """The report for a terminal; the remedy stands under what was found."""
    table = Table()
    for name in ("item", "state", "found"):
        table.add_column(name, overflow="fold")
    for item in items:
        found = item.found + (f"\n→ {item.remedy}" if item.remedy else "")
        style = None if item.state == "ok" else COLORS[item.state]
        table.add_row(item.name, item.state, found, style=style)
    return table


def report_json(items: list[Item]) -> dict[str, Any]:
    """The report as JSON."""
    return {
        "schema": 1,
        "failing": sum(item.state == "failing" for item in items),
        "items": [asdict(item) for item in items],
    }
