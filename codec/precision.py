"""The arithmetic that networks compute in: names, what is fastest on a machine, and a measurement
of it.
"""

import functools
import time

import torch

from codec.device import multiplies_bf16, seconds_of
from codec.errors import CodecError
from codec.layers.blocks import GatedBlock

AUTO = "auto"  # what is fastest on the machine that computes
STREAM = "stream"  # what a stream's header says
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

MEASURED_SECONDS = 0.1  # of each precision
SLOWER = 1.5  # times as slow as another: worth a warning
_SHAPE = (1, 64, 45, 80)  # features at 1/16 of 720p, of `corvid_s`


def check_precision(name: str, field: str = "codec.precision") -> str:
    """Return `name` if it is `auto` or one of `PRECISIONS`; `field` begins the message.

    Raises:
        CodecError: it is not.
    """
    if name not in (AUTO, *PRECISIONS):
        raise CodecError(f"{field}: {name!r} given; choose from {', '.join((AUTO, *PRECISIONS))}")
    return name


def fastest_precision(device: torch.device) -> str:
    """Of `PRECISIONS`, what networks are fastest in on `device`, by what it can: nothing is
        measured.

    Where it multiplies bfloat16, `bf16`. Else `fp16` on a GPU and `fp32` on a CPU, which would
    emulate bfloat16 and take ten to twenty times as long.
    """
    if multiplies_bf16(device):
        return "bf16"
    return "fp32" if device.type in ("cpu", "mps") else "fp16"


def why_fastest(device: torch.device) -> str:
    """What `fastest_precision` goes by, in words: `this CPU multiplies bfloat16`."""
    has = "multiplies" if multiplies_bf16(device) else "does not multiply"
    return f"this {'CPU' if device.type == 'cpu' else 'GPU'} {has} bfloat16"


def resolve_precision(name: str, device: torch.device, field: str = "codec.precision") -> str:
    """One of `PRECISIONS`: `name`, and for `auto` what is fastest on `device`.

    Raises:
        CodecError: an unknown name.
    """
    return fastest_precision(device) if check_precision(name, field) == AUTO else name


def measure_precisions(device: torch.device, *names: str) -> dict[str, float]:
    """Seconds of a gated block, channels last, in each of the precisions `names`: the least of some
        runs.

    It takes a tenth of a second for each, draws nothing from torch's global generators, and keeps
    no memory.
    """
    with torch.random.fork_rng(devices=[]):
        block, values = GatedBlock(_SHAPE[1]), torch.rand(_SHAPE)
    return {name: _seconds(block, values, PRECISIONS[name], device) for name in names}


@torch.inference_mode()
def _seconds(
    block: GatedBlock, values: torch.Tensor, precision: torch.dtype, device: torch.device
) -> float:
    block = block.to(device, precision).to(memory_format=torch.channels_last)
    values = values.to(device, precision, memory_format=torch.channels_last)
    taken: list[float] = []
    began = time.perf_counter()
    block(values)  # once for kernels that are made when they are first needed
    while len(taken) < 2 or time.perf_counter() - began < MEASURED_SECONDS:
        taken.append(seconds_of(lambda: block(values), device)[0])
    return min(taken)


@functools.cache
def slower_here(precision: str, device: torch.device) -> str:
    """What computing in `precision` costs on `device`, in words; "" where nothing else is faster by
    `SLOWER`.

    It is measured once: what a machine can says what is fastest, a measurement may contradict.
    """
    best = fastest_precision(device)
    other = best if precision != best else "bf16" if best == "fp32" else "fp32"
    seconds = measure_precisions(device, precision, other)
    if seconds[precision] < SLOWER * seconds[other]:
        return ""
    return (
        f"a layer takes {seconds[precision] / seconds[other]:.1f} times as long in {precision} as "
        f"in {other} here"
    )
