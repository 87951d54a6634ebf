"""How many jobs fit into the memory that is left."""

import torch

from common.resources import free_memory

PROCESS = 700 << 20  # bytes of a process that has loaded torch, metrics and a codec
# Bytes a pixel of every frame: source and decoded as planes and RGB, raw planes on their way, a
# metric's floats.
SAMPLE = 26
FRAME = 2000  # bytes a pixel of one frame: networks' features


def need(width: int, height: int, frames: int, processes: int = 1) -> int:
    """Bytes that a job takes for a clip, roughly; `processes` is 2 for codecs that decode in
    another one.
    """
    return processes * (PROCESS + width * height * (SAMPLE * frames + FRAME))


def fitting(jobs: int, needed: int, device: str = "cpu") -> int:
    """At most `jobs` that need so many bytes each, at least one."""
    rooms = [free_memory()]
    if device != "cpu":
        rooms.append(torch.get_device_module(device).mem_get_info()[0])
    return max(1, min([jobs, *(int(room // needed) for room in rooms if room is not None)]))
