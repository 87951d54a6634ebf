"""Work split in bands over a few threads, for kernels that let go of the interpreter's lock."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor


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
