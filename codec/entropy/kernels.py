"""Numba kernels of the entropy networks' element-wise work; what they compute is said beside them in tensors."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numba import njit
from torch import Tensor

from codec.layers.bands import in_bands


def mapped(kernel: Callable, values: Tensor, kind: torch.dtype, *constants: float) -> Tensor:
    """What `kernel(values, made, *constants, first, end)` makes of all `values` `(B, C, h, w)`: the same shape, channels last."""
    source = values.detach().float().permute(0, 2, 3, 1).contiguous()
    made = torch.empty_like(source, dtype=kind)
    arrays = (source.view(-1).numpy(), made.view(-1).numpy(), *constants)
    in_bands(lambda first, end: kernel(*arrays, first, end), values.numel())
    return made.permute(0, 3, 1, 2)


@njit(cache=True, nogil=True)
def compand(values, made, unit, largest, first, end):
    """`Exact.companded` of float32."""
    for i in range(first, end):
        made[i] = np.rint(min(4 * math.sqrt(abs(values[i]) * unit), largest))


@njit(cache=True, nogil=True)
def choose_rows(positions, made, skip_below, first, end):
    """`LaplaceModel.rows` of ladder positions, float32 in 0..63, as int8."""
    for i in range(first, end):
        row = np.int8(np.rint(positions[i]))
        made[i] = row if row >= skip_below else np.int8(-1)
