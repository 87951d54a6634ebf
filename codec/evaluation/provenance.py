"""What a number was made with: versions, commit, threads. No dates, so equal conditions are equal text."""

import importlib.metadata
import platform
from typing import Any

import torch

from codec.training.record import git_commit, versions

PACKAGES = ("bjontegaard", "torchvision", "av")


def provenance() -> dict[str, Any]:
    """Versions of what takes part, the git commit of the code, the machine's kind and threads."""
    own = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "versions": versions() | own,
        "git_commit": git_commit(),
        "machine": {"system": f"{platform.system()} {platform.machine()}", "threads": torch.get_num_threads()},
    }
