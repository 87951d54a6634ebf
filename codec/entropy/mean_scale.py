"""The Gaussian mean-scale hyperprior of the literature, with a learned density for the
hyper-latent.
"""

import torch
from torch import Tensor, nn

from codec.entropy.gaussian_hyperprior import GaussianHyperprior
from codec.layers.compressai import QReLU, conv, deconv

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
        with torch.no_grad():
            self.scales[-2].bias.copy_(magnitude.log().mean(0).exp())

    def analyse(self, latent: Tensor) -> Tensor:
        return self.analysis(latent)

    def synthesise(self, hyper: Tensor) -> tuple[Tensor, Tensor]:
        return self.means(hyper), self.scales(hyper)
