"""What the project asks of accelerators. The one file that names CUDA in code; without a device all
of it works on the CPU.
"""

import os
import resource
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from codec.errors import CodecError

GPU_NAMES = ("gpu", "cuda")  # what Lightning calls the accelerators that this file speaks to
PEAK_SIDE = {"cpu": 768, "cuda": 8192}  # of matrices large enough to reach the peak
PEAK_SECONDS = 0.15
_CAPABILITIES_WITHOUT_BF16 = ("DEFAULT", "NO AVX", "AVX", "AVX2")  # as torch calls them
_ISA_WITHOUT_BF16 = (
    "SSE41",
    "AVX",
    "AVX2",
    "AVX2_VNNI",
    "AVX2_VNNI_2",
    "AVX512_CORE",
    "AVX512_CORE_VNNI",
)  # as oneDNN does
_ISA_WITHOUT_AMX = (*_ISA_WITHOUT_BF16, "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX10_1_512")


def accelerators() -> list[str]:
    """Names of the GPUs that torch can use, in their order; none: []."""
    return (
        [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        if torch.cuda.is_available()
        else []
    )


def driver() -> dict[str, str]:
    """GPUs and driver as `nvidia-smi` tells them, and versions that torch was built with; "" where
    there is none.
    """
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        said = (
            subprocess.run(query, capture_output=True, text=True, timeout=60, check=True)
            .stdout.strip()
            .splitlines()
        )
    except (OSError, subprocess.SubprocessError):
        said = []
    found = [line.rsplit(", ", 1) for line in said if ", " in line]  # or a sentence
    nccl = (
        torch.distributed.is_available()
        and torch.distributed.is_nccl_available()
        and torch.cuda.is_available()
    )
    return {
        "gpus": ", ".join(name for name, _ in found),
        "driver": found[0][1] if found else "",
        "runtime": torch.version.cuda or "",
        "cudnn": str(torch.backends.cudnn.version() or ""),
        "nccl": ".".join(map(str, torch.cuda.nccl.version())) if nccl else "",
    }


def default_device() -> torch.device:
    """The first GPU, or the CPU where torch can use none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_device(name: str) -> None:
    """Raise CodecError where a device, such as `cuda:1`, is not there."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise CodecError(
            f"device: {name!r} cannot be used ({why}); give cpu, or look at corvid doctor"
        ) from error


def device_name(device: torch.device) -> str:
    """For people: the GPU's name, or "CPU"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


def synchronise(device: torch.device) -> None:
    """Wait until `device` has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """What `work` takes, all that it starts on `device` included, and what it gives."""
    synchronise(device)
    start = time.perf_counter()
    result = work()
    synchronise(device)
    return time.perf_counter() - start, result


def answers_late(device: torch.device) -> bool:
    """Whether operations are queued, so that looking at a value waits for all before it."""
    return device.type == "cuda"


def count_waits(work: Callable[[], Any]) -> int:
    """How often the processor waits for a GPU in `work`."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in said)


def set_tf32(on: bool) -> None:
    """Let float32 products and convolutions on CUDA round what they multiply to 11 bits, or not;
    `exact_arithmetic` never does.

    CPUs are left alone: some would take bfloat16 then, and a run must end with the same weights on
        any of them.
    """
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high" if on else "highest")
        torch.backends.cudnn.allow_tf32 = on


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Plain float32: no autocast, no TF32, and on a GPU no cuDNN, whose choice of kernel is not
    ours.
    """
    cudnn, products = torch.backends.cudnn.enabled, torch.get_float32_matmul_precision()
    torch.backends.cudnn.enabled = cudnn and device.type == "cpu"
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cudnn.enabled = cudnn
        torch.set_float32_matmul_precision(products)


def multiplies_bf16(device: torch.device) -> bool:
    """Whether `device` has instructions that multiply bfloat16; others emulate it, ten to twenty
    times slower than float32.

    Of CPUs these are AMX and AVX-512 bf16, less what the environment takes away
    (ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA, by which one machine imitates a lesser one).
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    questions, flags = (
        ("_is_amx_tile_supported", "_is_avx512_bf16_supported"),
        ("amx_bf16", "avx512_bf16"),
    )
    return device.type == "cpu" and _may_use_avx512() and _cpu_has(questions, flags)


def multiplies_bf16_in_tiles(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 several times as fast as float32: a GPU that does at
    all, a CPU with AMX.
    """
    if device.type == "cpu" and _isa_limit() in _ISA_WITHOUT_AMX:
        return False
    tiles = device.type != "cpu" or _cpu_has(("_is_amx_tile_supported",), ("amx_bf16",))
    return tiles and multiplies_bf16(device)


def _may_use_avx512() -> bool:
    """Whether torch's own kernels and oneDNN's may use what bfloat16 needs."""
    capability = torch.backends.cpu.get_cpu_capability()
    return capability not in _CAPABILITIES_WITHOUT_BF16 and _isa_limit() not in _ISA_WITHOUT_BF16


def _isa_limit() -> str:
    """What the environment lets oneDNN use at the most; "" where it says nothing."""
    return (
        os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    ).upper()


def _cpu_has(questions: Sequence[str], flags: Sequence[str]) -> bool:
    """By torch's own questions where it has them, else by what the system says of the processor:
    any of them.
    """
    asked = [getattr(torch.cpu, name) for name in questions if hasattr(torch.cpu, name)]
    if len(asked) == len(questions):
        return any(question() for question in asked)
    info = Path("/proc/cpuinfo")
    return not set(flags).isdisjoint(info.read_text().split() if info.is_file() else [])


def reset_memory_peak(device: torch.device) -> None:
    """Begin to look for the peak anew, where the device can; a CPU's process keeps its own since it
    started.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def memory_peak(device: torch.device) -> int:
    """Bytes of tensors on a GPU at the most; on a CPU, of this process (without its
    data workers).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path(
        "/proc/self/status"
    )  # getrusage would count what the parent held when it was forked
    rows = [line.split() for line in status.read_text().splitlines()] if status.is_file() else []
    own = [int(row[1]) for row in rows if row and row[0] == "VmHWM:"]
    return 1024 * (own[0] if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def memory_total(device: torch.device) -> int:
    """Bytes that `device` has; on a CPU, the machine or the group of processes that this one is
    held in.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    total, limit = (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        Path("/sys/fs/cgroup/memory.max"),
    )
    said = limit.read_text().strip() if limit.is_file() else "max"
    return min(total, int(said)) if said.isdigit() else total


def measure_peak(device: torch.device, precisions: Sequence[torch.dtype]) -> float:
    """Operations a second (two a multiply-accumulate) of `device`: the best of large matrix
    products in `precisions`.

    It takes a quarter of a second for each of them, draws nothing from torch's global generators,
    and keeps no memory.
    """
    side = PEAK_SIDE.get(device.type, PEAK_SIDE["cpu"])
    values = torch.rand(
        2, side, side, device=device, generator=torch.Generator(device).manual_seed(0)
    )
    fastest = min(_seconds_of_product(values.to(precision)) for precision in precisions)
    return 2 * side**3 / fastest


@torch.no_grad()
def _seconds_of_product(values: torch.Tensor) -> float:
    """Seconds of the matrix product of two `(2, N, N)`."""
    first, second = values
    device = values.device
    torch.mm(first, second)
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < PEAK_SECONDS:
        taken.append(seconds_of(lambda: torch.mm(first, second), device)[0])
    return min(taken)
