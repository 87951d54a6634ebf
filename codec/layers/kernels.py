"""CPU kernels: when one stands in for tensor operations, their work split over a few threads, and a
word when they are compiled.
"""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from multiprocessing import parent_process
from pathlib import Path

import torch
from numba.core.event import Event, Listener, register
from torch import Tensor

from codec.errors import CodecError
from common.errors import CorvidError
from common.files import make_private


def by_kernel(*tensors: Tensor) -> bool:
    """Whether work on these can be a CPU kernel's: they are there, nothing asks for a gradient, and
    nothing is traced.
    """
    gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return on_cpu(*tensors) and not gradient


def on_cpu(*tensors: Tensor) -> bool:
    """Whether these are on the CPU and nothing is traced: enough for a kernel with a backward."""
    traced = torch.jit.is_tracing() or torch.compiler.is_compiling()
    return all(tensor.device.type == "cpu" for tensor in tensors) and not traced


def trains_on_cpu(*tensors: Tensor) -> bool:
    """Whether work on these can be a kernel's with a backward, in float32: a gradient is wanted,
    and autocast is off.
    """
    wanted = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    single = all(tensor.dtype == torch.float32 for tensor in tensors)
    return wanted and single and on_cpu(*tensors) and not torch.is_autocast_enabled("cpu")


class CompilationNotice(Listener):
    """Says once a process, on standard error, that kernels are compiled: else it is silent for
        minutes.

    Of a run's several processes the first one says it.
    """

    said = False

    def on_start(self, event: Event) -> None:
        first = parent_process() is None or os.environ.get("LOCAL_RANK") == "0"
        if not self.said and first:
            print(
                "compiling kernels for this machine: a minute or two, once",
                file=sys.stderr,
                flush=True,
            )
        self.said = True

    def on_end(self, event: Event) -> None:
        pass


def check_kernel_cache() -> None:
    """Close the folder that `NUMBA_CACHE_DIR` names to others: kernels are kept in it as pickles.

    Without it they lie beside the source, or where that cannot be written in `~/.cache`.

    Raises:
        CodecError: it is another user's.
    """
    if folder := os.environ.get("NUMBA_CACHE_DIR"):
        try:
            make_private(Path(folder))
        except (CorvidError, OSError) as error:
            what = f"NUMBA_CACHE_DIR: {error}"
            raise CodecError(f"{what}; name a folder of your own, or unset it") from error


check_kernel_cache()
NOTICE = CompilationNotice()
register("numba:compile", NOTICE)


def in_bands(work: Callable[[int, int], None], rows: int) -> None:
    """Call `work(first, end)` on bands that together cover rows `0 .. rows - 1`, one a torch
    thread, at the same time.

    The caller's thread takes one band. What `work` raises in any band is raised here, after all
    bands have ended.
    """
    bands = min(torch.get_num_threads(), rows)
    if bands <= 1:
        work(0, rows)
        return
    edges = [rows * band // bands for band in range(bands + 1)]
    others = [
        _pool(bands - 1).submit(work, *edge) for edge in zip(edges[1:-1], edges[2:], strict=True)
    ]
    try:
        work(edges[0], edges[1])
    finally:
        errors = [other.exception() for other in others]
    for error in filter(None, errors):
        raise error


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="bands")


if hasattr(os, "register_at_fork"):  # a forked process has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def mapped(kernel: Callable, values: Tensor, kind: torch.dtype, *constants: float) -> Tensor:
    """What `kernel(values, made, *constants, first, end)` makes of all `values` `(B, C, h, w)`: the
    same shape, channels last.
    """
    source = values.detach().float().permute(0, 2, 3, 1).contiguous()
    made = torch.empty_like(source, dtype=kind)
    arrays = (source.view(-1).numpy(), made.view(-1).numpy(), *constants)
    in_bands(lambda first, end: kernel(*arrays, first, end), values.numel())
    return made.permute(0, 3, 1, 2)


def flat(maps: Tensor) -> Tensor:
    """`(B, C, h, w)` -> `(B, h·w·C)`, contiguous."""
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1).contiguous()


def as_maps(values: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `flat`."""
    batch, channels, height, width = shape
    return values.view(batch, height, width, channels).permute(0, 3, 1, 2)
