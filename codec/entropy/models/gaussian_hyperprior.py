"""The Gaussian hyperpriors of the literature, in floating point: a hyper-latent with a learned
density, then the latent, normally distributed with a standard deviation from compressai's table.
"""

import math
from abc import abstractmethod
from functools import lru_cache

import torch
from torch import Tensor, nn

from codec.entropy.coding.cdf_tables import CdfTables
from codec.entropy.coding.symbol_coder import SymbolCoder, SymbolModel
from codec.entropy.models.base import EntropyNetwork
from codec.entropy.models.factorized import FactorizedDensity, FactorizedModel
from codec.layers.compressai import (
    GaussianConditional,
    LowerBoundFunction,
    QReLU,
    conv,
    deconv,
    get_scale_table,
)
from codec.layers.frames import pad_frames, padded
from codec.layers.quality import QualitySteps

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
    def indexes(self) -> Tensor:
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


class GaussianHyperprior(EntropyNetwork):
    """A hyper-latent at a fraction of the latent's size says how the latent is distributed.

    Args:
        channels: C of the latent.
        hyper: channels of the hyper-latent.
        factor: latent positions a side that one position of the hyper-latent covers.
        coarsest, finest, gains: see `QualitySteps`, of the hyper-latent.

    Source: Ballé et al., *Variational image compression with a scale hyperprior*, ICLR 2018.
    """

    def __init__(
        self, channels: int, hyper: int, factor: int, coarsest: float, finest: float, gains: bool
    ) -> None:
        super().__init__()
        self.channels, self.hyper, self.factor = channels, hyper, factor
        self.density = FactorizedDensity(hyper)
        self.steps = QualitySteps(hyper, coarsest, finest, gains)

    @abstractmethod
    def analyse(self, latent: Tensor) -> Tensor:
        """Latent `(B, C, h, w)`, sides multiples of `factor` -> hyper-latent `(B, hyper, h /
        factor, w / factor)`.
        """

    @abstractmethod
    def synthesise(self, hyper: Tensor) -> tuple[Tensor, Tensor]:
        """Hyper-latent -> means and standard deviations `(B, C, h, w)`, of padded size."""

    def code(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        coder: SymbolCoder,
        previous: Tensor | None = None,
        previous_quality: Tensor | None = None,
    ) -> Tensor:
        hyper = None
        if coder.encodes and latent is not None:
            hyper = self.steps.divide(self.analyse(pad_frames(latent, self.factor)), quality)
        height, width = (padded(side, self.factor) // self.factor for side in size)
        shape = (len(quality), self.hyper, height, width)
        hyper = coder.code(f"{component}.hyper", hyper, FactorizedModel(self.density, shape))
        return coder.code(component, latent, self.latent_model(hyper, size, quality))

    def latent_model(self, hyper: Tensor, size: tuple[int, int], quality: Tensor) -> GaussianModel:
        """Distribution of the latent `(B, C, *size)`, given the coded hyper-latent."""
        params = self.synthesise(self.steps.multiply(hyper, quality))
        means, scales = (values[..., : size[0], : size[1]].float() for values in params)
        return GaussianModel(means, scales)


_NARROWEST = 32


class BoundedReLU(nn.Module):
    """Values limited to 0..255, with the gradient of Ballé et al., *Integer networks for data
    compression*, ICLR 2019.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same."""
        return QReLU.apply(x, 8, 100)


class MeanScaleHyperprior(GaussianHyperprior):
    """Means and standard deviations of a latent from a hyper-latent at an eighth of its size.

    Args:
        channels: C of the latent.
        width: channels of the networks and the hyper-latent; None: C, at least 32.
        gains: quantisation steps of the hyper-latent learned per quality; False is one rate.

    Source: the hyperprior of Agustsson et al., *Scale-space flow*, CVPR 2020, as compressai's
    `ssf2020` has it.
    """

    def __init__(self, channels: int, width: int | None = None, gains: bool = True) -> None:
        width = width or max(channels, _NARROWEST)
        super().__init__(channels, width, factor=8, coarsest=2.0, finest=0.5, gains=gains)
        self.analysis = nn.Sequential(
            conv(channels, width),
            nn.ReLU(inplace=True),
            conv(width, width),
            nn.ReLU(inplace=True),
            conv(width, width),
        )
        self.means = nn.Sequential(
            deconv(width, width),
            nn.ReLU(inplace=True),
            deconv(width, width),
            nn.ReLU(inplace=True),
            deconv(width, channels),
        )
        self.scales = nn.Sequential(
            deconv(width, width),
            BoundedReLU(),
            deconv(width, width),
            BoundedReLU(),
            deconv(width, channels),
            BoundedReLU(),
        )

    def start_from(self, magnitude: Tensor) -> None:
        last = self.scales[-2]
        assert isinstance(last, nn.ConvTranspose2d) and last.bias is not None
        with torch.no_grad():
            last.bias.copy_(magnitude.log().mean(0).exp())

    def analyse(self, latent: Tensor) -> Tensor:
        return self.analysis(latent)

    def synthesise(self, hyper: Tensor) -> tuple[Tensor, Tensor]:
        return self.means(hyper), self.scales(hyper)


class ImageHyperprior(GaussianHyperprior):
    """Standard deviations, and means where the model has them, from a hyper-latent at a quarter of
    the latent's size.

    Args:
        channels: C of the latent.
        hyper: channels of the hyper-latent.
        h_a, h_s: CompressAI's hyper-analysis and hyper-synthesis.
        means: whether `h_s` says scales and means (`mbt2018-mean`), or scales alone
            (`bmshj2018-hyperprior`).
        gains: quantisation steps of the hyper-latent learned per quality; False is one rate.

    Source: Ballé et al., *Variational image compression with a scale hyperprior*, ICLR 2018; Minnen
    et al., *Joint autoregressive and hierarchical priors*, NeurIPS 2018.
    """

    def __init__(
        self, channels: int, hyper: int, h_a: nn.Module, h_s: nn.Module, means: bool, gains: bool
    ) -> None:
        super().__init__(channels, hyper, factor=4, coarsest=1.0, finest=1.0, gains=gains)
        self.h_a, self.h_s, self.means = h_a, h_s, means

    def analyse(self, latent: Tensor) -> Tensor:
        return self.h_a(latent if self.means else latent.abs())

    def synthesise(self, hyper: Tensor) -> tuple[Tensor, Tensor]:
        params = self.h_s(hyper)
        scales, means = params.chunk(2, 1) if self.means else (params, torch.zeros_like(params))
        return means, scales
