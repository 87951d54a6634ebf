"""What a number was made with: versions, commit, machine. No dates, so equal conditions are equal
text.
"""

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import torch

from codec.device import accelerators, device_name

PACKAGES = ("bjontegaard", "torchvision", "av")


def provenance(threads: int | None = None) -> dict[str, Any]:
    """Versions of what takes part, the git commit of the code, the machine's kind and threads (by
    default torch's).
    """
    from codec.training.run_dir import (
        git_commit,
        versions,
    )  # with Lightning, whose seconds processes that only code need not wait

    own = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "versions": versions() | own,
        "git_commit": git_commit(),
        "machine": machine(threads or torch.get_num_threads()),
    }


def machine(threads: int, device: str = "cpu") -> dict[str, Any]:
    """The kind of machine, without its name; with the kind of GPU where `device` is one."""
    system = f"{platform.system()} {platform.machine()}"
    found = {"system": system, "cpu": processor(), "threads": threads}
    if device == "cpu":
        return found
    return found | {"gpu": device_name(torch.device(device)) if accelerators() else device}


def processor() -> str:
    """What the CPU is called; its architecture where the system does not say."""
    said = Path("/proc/cpuinfo")
    lines = said.read_text().splitlines() if said.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
