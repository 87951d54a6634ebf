"""The hyperpriors of CompressAI's image models, through our channels."""

import torch
from torch import Tensor, nn

from codec.entropy.gaussian_hyperprior import GaussianHyperprior


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
        said = self.h_s(hyper)
        scales, means = said.chunk(2, 1) if self.means else (said, torch.zeros_like(said))
        return means, scales
