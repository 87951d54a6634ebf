"""How many cores a process may use: of the machine, by its affinity and by the groups (container,
job) that hold it.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")


def available_cores() -> int:
    """Cores that this process may keep busy, at least 1; a quota of 2.5 cores counts as 2."""
    quotas = [int(quota) for quota in _quotas()]
    return max(1, min([allowed_cores(), *quotas]))


def allowed_cores() -> int:
    """Cores that this process may run on, whatever share of them it is given."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def own_groups(controller: str) -> Iterator[tuple[Path, int]]:
    """This process's control group for `controller` ("cpu", "memory") and all groups that hold it.

    Yields:
        A folder, which may not be there, and the version (1 or 2) that names its files.
    """
    for line in OWN_GROUPS.read_text().splitlines() if OWN_GROUPS.is_file() else ():
        _, controllers, path = line.split(":", 2)
        folders = [
            str(folder).lstrip("/")
            for folder in (PurePosixPath(path), *PurePosixPath(path).parents)
        ]
        if not controllers:
            yield from ((GROUPS / folder, 2) for folder in folders)
        elif controller in controllers.split(","):
            yield from ((GROUPS / controller / folder, 1) for folder in folders)


def _quotas() -> Iterator[float]:
    """In cores, of every group that has one."""
    for folder, version in own_groups("cpu"):
        if version == 2:
            words = _words(folder / "cpu.max")
        else:
            words = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
            yield int(words[0]) / int(words[1])  # "max" and -1: no quota


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:  # not there, or not for us to read: no quota that we know of
        return []
