"""The Gaussian mean-scale hyperprior of the literature, with a learned density for the hyper-latent."""

import torch
from torch import Tensor, nn

from codec.entropy.channel import Channel
from codec.entropy.density import FactorizedDensity, FactorizedModel
from codec.entropy.gaussian import GaussianModel
from codec.entropy.network import EntropyNetwork
from codec.layers.compressai import QReLU, conv, deconv
from codec.layers.frames import pad_frames, padded
from codec.layers.steps import QualitySteps

_FACTOR = 8
_NARROWEST = 32


class BoundedReLU(nn.Module):
    """Values limited to 0..255, with the gradient of Ballé et al., *Integer networks for data compression*, ICLR 2019."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same."""
        return QReLU.apply(x, 8, 100)


class MeanScaleHyperprior(EntropyNetwork):
    """Means and standard deviations of a latent from a hyper-latent at an eighth of its size.

    Args:
        channels: C of the latent.
        width: channels of the networks and the hyper-latent; None: C, at least 32.
        gains: quantisation steps of the hyper-latent learned per quality; False is one rate.

    Source: the hyperprior of Agustsson et al., *Scale-space flow*, CVPR 2020, as compressai's `ssf2020` has it.
    """

    def __init__(self, channels: int, width: int | None = None, gains: bool = True) -> None:
        super().__init__()
        width = width or max(channels, _NARROWEST)
        self.channels, self.width = channels, width
        self.analysis = nn.Sequential(
            conv(channels, width), nn.ReLU(inplace=True), conv(width, width), nn.ReLU(inplace=True), conv(width, width)
        )
        self.means = nn.Sequential(
            deconv(width, width), nn.ReLU(inplace=True), deconv(width, width), nn.ReLU(inplace=True), deconv(width, channels)
        )
        self.scales = nn.Sequential(
            deconv(width, width), BoundedReLU(), deconv(width, width), BoundedReLU(), deconv(width, channels), BoundedReLU()
        )
        self.density = FactorizedDensity(width)
        self.steps = QualitySteps(width, coarsest=2.0, finest=0.5, gains=gains)

    def start_from(self, magnitude: Tensor) -> None:
        with torch.no_grad():
            self.scales[-2].bias.copy_(magnitude.log().mean(0).exp())

    def transmit(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        channel: Channel,
        previous: Tensor | None = None,
    ) -> Tensor:
        hyper = None
        if channel.sends:
            hyper = self.steps.divide(self.analysis(pad_frames(latent, _FACTOR)), quality)
        shape = (len(quality), self.width, *(padded(side, _FACTOR) // _FACTOR for side in size))
        hyper = channel.symbols(f"{component}.hyper", hyper, FactorizedModel(self.density, shape))
        return channel.symbols(component, latent, self.latent_model(hyper, size, quality))

    def latent_model(self, hyper: Tensor, size: tuple[int, int], quality: Tensor) -> GaussianModel:
        """Distribution of the latent `(B, C, *size)`, given the transmitted hyper-latent."""
        hyper = self.steps.multiply(hyper, quality)
        means, scales = (net(hyper)[..., : size[0], : size[1]].float() for net in (self.means, self.scales))
        return GaussianModel(means, scales)
