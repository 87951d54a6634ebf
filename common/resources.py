"""What of the machine this process may use: cores and memory, of the machine, by its affinity and
by the groups (container, job) that hold it; how torch's threads wait, and how freed memory is kept.

Nothing here imports torch: threads are to be settled before it is there.
"""

import ctypes
import os
import platform
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
WAITING = {  # how threads wait, by name of the variable
    "OMP_WAIT_POLICY": "PASSIVE",  # asleep
    "GOMP_SPINCOUNT": "1000",  # after some 10 to 50 microseconds awake, with GNU's OpenMP
}
ALSO_WAITING = ("KMP_BLOCKTIME", "KMP_LIBRARY")  # what Intel's and LLVM's OpenMP call it
_KEPT, _LARGEST = 1 << 29, 1 << 25  # bytes; glibc takes no larger threshold than the latter
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


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


def free_memory() -> int | None:
    """Bytes that are free on this machine, or in the group of processes that this one is held in;
    None where nobody says.
    """
    found = [
        room
        for folder, limit, used in _memory_groups()
        if (room := _room(folder, limit, used)) is not None
    ]
    if MEMINFO.is_file():
        rows = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        found.append(int(rows["MemAvailable"].split()[0]) << 10)
    return min(found) if found else None


def prepare_threads() -> None:
    """Let OpenMP's threads sleep while they wait, and be no more than the cores that may be used.

    OpenMP reads this when its library is loaded, so it is called before torch is imported, first
    thing in a program; processes that this one starts inherit it. What the user has set stays.

    Threads that spin take the core from whatever else runs there, and every parallel region ends
    with the slowest of them: beside one busy process training took several times longer. To be
    woken for every region costs, too: on two free cores a step of the demo takes 1.9 times as long
    with threads that sleep at once, and as long as with spinning ones when they first look 1,000
    times. Where a container or job has a quota of fewer cores than it sees, more threads would
    only be held up.
    """
    if not any(name in os.environ for name in (*WAITING, *ALSO_WAITING)):
        os.environ.update(WAITING)
    if "OMP_NUM_THREADS" not in os.environ and available_cores() < allowed_cores():
        os.environ["OMP_NUM_THREADS"] = str(available_cores())


def keep_freed_memory() -> None:
    """Keep up to 512 MiB of freed memory, in pieces of up to 32 MiB, for all of the process's
    future.

    Coding a frame allocates and frees tensors of megabytes hundreds of times. By default glibc
    gives such memory back to the system at once, and every page of it is cleared anew when it is
    wanted again. Elsewhere than on glibc nothing happens.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)
        library.mallopt(_MMAP_THRESHOLD, _LARGEST)


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


def _memory_groups() -> Iterator[tuple[Path, str, str]]:
    """This process's group and all that hold it: the folder, its file of the limit and that of what
    is used.
    """
    for folder, version in own_groups("memory"):
        if version == 2:
            yield folder, "memory.max", "memory.current"
        else:
            yield folder, "memory.limit_in_bytes", "memory.usage_in_bytes"


def _room(group: Path, limit: str, used: str) -> int | None:
    """Bytes that a group may still take, None where it has no limit; what is cached of files gives
    way, so it is no use.
    """
    most, now, stat = group / limit, group / used, group / "memory.stat"
    if (
        not most.is_file()
        or not now.is_file()
        or not (said := most.read_text().strip()).isdecimal()
    ):
        return None
    rows = dict(line.split() for line in stat.read_text().splitlines()) if stat.is_file() else {}
    cached = int(
        rows.get("total_inactive_file", rows.get("inactive_file", 0))
    )  # version 1: "total" is with groups inside
    return int(said) - max(0, int(now.read_text()) - cached)
