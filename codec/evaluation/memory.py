"""How many jobs fit into the memory that is left."""

from pathlib import Path

import torch

PROCESS = 700 << 20  # bytes of a process that has loaded torch, metrics and a codec
SAMPLE = 26  # bytes a pixel of every frame: source and decoded as planes and RGB, raw planes on their way, a metric's floats
FRAME = 1500  # bytes a pixel of one frame: networks' features
_GROUPS = {"memory.max": "memory.current", "memory/memory.limit_in_bytes": "memory/memory.usage_in_bytes"}


def need(width: int, height: int, frames: int, processes: int = 1) -> int:
    """Bytes that a job takes for a clip, roughly; `processes` is 2 for codecs that decode in another one."""
    return processes * (PROCESS + width * height * (SAMPLE * frames + FRAME))


def left() -> int | None:
    """Bytes that are free on this machine, or in the group of processes that this one is held in; None where nobody says."""
    found = []
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        rows = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        found.append(int(rows["MemAvailable"].split()[0]) << 10)
    for limit, used in _GROUPS.items():
        most, now = (Path("/sys/fs/cgroup") / name for name in (limit, used))
        if most.is_file() and now.is_file() and (said := most.read_text().strip()).isdecimal():
            found.append(int(said) - int(now.read_text()))
    return min(found) if found else None


def fitting(jobs: int, needed: int, device: str = "cpu") -> int:
    """At most `jobs` that need so many bytes each, at least one."""
    rooms = [left()]
    if device != "cpu":
        rooms.append(torch.get_device_module(device).mem_get_info()[0])
    return max(1, min([jobs, *(int(room // needed) for room in rooms if room is not None)]))
