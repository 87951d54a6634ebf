"""Symbols with a normal distribution about a mean, with a standard deviation from compressai's
table.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from codec.entropy.symbols import CdfTables, SymbolModel
from codec.layers.compressai import GaussianConditional, LowerBoundFunction, get_scale_table

SMALLEST_LIKELIHOOD = 1e-9


class GaussianModel(SymbolModel):
    """Normally distributed symbols.

    Args:
        means: `(B, C, h, w)` float32.
        scales: the same shape, standard deviations; bits and tables take them as 0.11 at least.

    Source: Minnen et al., *Joint autoregressive and hierarchical priors*, NeurIPS 2018; tables as
    in compressai.
    """

    def __init__(self, means: Tensor, scales: Tensor) -> None:
        self.means, self.scales = means, scales

    def bits(self, centred: Tensor) -> Tensor:
        return gaussian_bits(centred, self.scales)

    @property
    def rows(self) -> Tensor:
        return torch.bucketize(
            self.scales.detach().contiguous(), scale_table().to(self.scales)[:-1], out_int32=True
        )

    @property
    def tables(self) -> CdfTables:
        return gaussian_tables()


def gaussian_bits(centred: Tensor, scales: Tensor) -> Tensor:
    """Bits, differentiable, of the unit bin about `centred` values, likelihoods bounded as
    compressai bounds them.

    Args:
        centred: values minus their mean, any shape, float32.
        scales: standard deviations, the same shape.
    """
    scales = _at_least(float(scale_table()[0]), scales)
    distance = centred.abs() * math.sqrt(0.5)
    half = 0.5 * math.sqrt(0.5)
    likelihood = 0.5 * (
        torch.erfc((distance - half) / scales) - torch.erfc((distance + half) / scales)
    )
    return -torch.log2(_at_least(SMALLEST_LIKELIHOOD, likelihood))


@lru_cache(maxsize=1)
def scale_table() -> Tensor:
    """The 64 standard deviations, 0.11 to 256, that have a row in the tables."""
    return get_scale_table()


@lru_cache(maxsize=1)
def gaussian_tables() -> CdfTables:
    """compressai's tables for all standard deviations; they follow from constants alone."""
    model = GaussianConditional(scale_table().tolist())
    model.update()
    rows = [
        row[:length]
        for row, length in zip(model.quantized_cdf.tolist(), model.cdf_length.tolist(), strict=True)
    ]
    return CdfTables.from_rows(rows, model.offset.tolist())


def _at_least(bound: float, values: Tensor) -> Tensor:
    """Beyond the bound a gradient passes only towards it."""
    return LowerBoundFunction.apply(values, values.new_full((), bound))
