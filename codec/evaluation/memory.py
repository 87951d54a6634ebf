"""How many jobs fit into the memory that is left."""

from collections.abc import Iterator
from pathlib import Path

import torch

from data.cores import own_groups

PROCESS = 700 << 20  # bytes of a process that has loaded torch, metrics and a codec
# Bytes a pixel of every frame: source and decoded as planes and RGB, raw planes on their way, a
# metric's floats.
SAMPLE = 26
FRAME = 2000  # bytes a pixel of one frame: networks' features
MEMINFO = Path("/proc/meminfo")


def need(width: int, height: int, frames: int, processes: int = 1) -> int:
    """Bytes that a job takes for a clip, roughly; `processes` is 2 for codecs that decode in
    another one.
    """
    return processes * (PROCESS + width * height * (SAMPLE * frames + FRAME))


def left() -> int | None:
    """Bytes that are free on this machine, or in the group of processes that this one is held in;
    None where nobody says.
    """
    found = [
        room
        for folder, limit, used in _groups()
        if (room := _room(folder, limit, used)) is not None
    ]
    if MEMINFO.is_file():
        rows = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        found.append(int(rows["MemAvailable"].split()[0]) << 10)
    return min(found) if found else None


def _groups() -> Iterator[tuple[Path, str, str]]:
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


def fitting(jobs: int, needed: int, device: str = "cpu") -> int:
    """At most `jobs` that need so many bytes each, at least one."""
    rooms = [left()]
    if device != "cpu":
        rooms.append(torch.get_device_module(device).mem_get_info()[0])
    return max(1, min([jobs, *(int(room // needed) for room in rooms if room is not None)]))
