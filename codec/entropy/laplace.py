"""Symbols as they are modelled: Laplace distributed about a mean, with a scale from a fixed ladder."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from codec.entropy.rans import pmf_to_quantized_cdf
from codec.entropy.symbols import PRECISION, CdfTables, SymbolModel

LEVELS = 64
SMALLEST_SCALE, LARGEST_SCALE = 0.04, 100.0
LOG_STEP = math.log(LARGEST_SCALE / SMALLEST_SCALE) / (LEVELS - 1)
_TAIL = 2.0**-14


@dataclass
class LaplaceModel(SymbolModel):
    """Laplace distributed symbols.

    Attributes:
        means: `(B, C, h, w)` float32.
        scale_index: `(B, C, h, w)` float32, a position on the ladder 0..63; rounded where bits are real.
    """

    means: Tensor
    scale_index: Tensor

    def bits(self, centred: Tensor) -> Tensor:
        return laplace_bits(centred, self.scale_index)

    @property
    def rows(self) -> Tensor:
        return self.scale_index.round().int()

    @property
    def tables(self) -> CdfTables:
        return laplace_tables()


def scale_index_of(scale: Tensor) -> Tensor:
    """Position on the ladder (float, not clamped) of a Laplace scale."""
    return (scale / SMALLEST_SCALE).log() / LOG_STEP


def limit_index(index: Tensor) -> Tensor:
    """Clamp to the ladder; beyond its ends a gradient passes only inwards."""
    return _Inward.apply(index.float())


def laplace_bits(centred: Tensor, scale_index: Tensor) -> Tensor:
    """Bits of the unit bin about `centred` values under a Laplace distribution; exact in the tails, differentiable.

    Args:
        centred: values minus their mean, any shape, float32.
        scale_index: positions on the ladder, the same shape.

    Returns:
        Bits, the same shape, at least 0.

    Source: the closed form of Ballé et al., *Variational image compression with a scale hyperprior*, 2018, eq. 9.
    """
    scale = SMALLEST_SCALE * torch.exp(scale_index * LOG_STEP)
    distance = centred.abs()
    outside = -(distance - 0.5).clamp(min=0) / scale + math.log(0.5) + torch.log1p(-torch.exp(-1 / scale))
    near = distance.clamp(max=0.5)
    inside = torch.log1p(-0.5 * (torch.exp((near - 0.5) / scale) + torch.exp((-near - 0.5) / scale)).clamp(max=1.9999))
    return torch.where(distance < 0.5, inside, outside) * (-1 / math.log(2))


@lru_cache(maxsize=1)
def laplace_tables() -> CdfTables:
    """The tables of all ladder levels. They follow from constants alone, so no order of save, load and update can spoil them."""
    rows = [_quantised_row(SMALLEST_SCALE * math.exp(level * LOG_STEP)) for level in range(LEVELS)]
    width = max(len(row) for row in rows)
    return CdfTables(
        cdfs=[row + [0] * (width - len(row)) for row in rows],
        lengths=[len(row) for row in rows],
        offsets=[-(len(row) - 3) // 2 for row in rows],
    )


def _quantised_row(scale: float) -> list[int]:
    """Cumulative 16-bit frequencies of the symbols -n..n and the escape."""
    reach = max(1, math.ceil(-scale * math.log(_TAIL)))
    edges = np.arange(-reach, reach + 2) - 0.5
    cumulative = np.where(edges < 0, 0.5 * np.exp(edges / scale), 1 - 0.5 * np.exp(-edges / scale))
    pmf = np.append(np.diff(cumulative), 1 - (cumulative[-1] - cumulative[0]))
    return list(pmf_to_quantized_cdf(pmf.tolist(), PRECISION))


class _Inward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return index.clamp(0, LEVELS - 1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (index,) = ctx.saved_tensors
        blocked = ((index < 0) & (grad > 0)) | ((index > LEVELS - 1) & (grad < 0))
        return grad.masked_fill(blocked, 0)
