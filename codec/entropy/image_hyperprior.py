"""The hyperpriors of CompressAI's image models, through our channels."""

import torch
from torch import Tensor, nn

from codec.entropy.channel import Channel
from codec.entropy.density import FactorizedDensity, FactorizedModel
from codec.entropy.gaussian import GaussianModel
from codec.entropy.network import EntropyNetwork
from codec.layers.frames import pad_frames, padded
from codec.layers.steps import QualitySteps

_FACTOR = 4


class ImageHyperprior(EntropyNetwork):
    """Standard deviations, and means where the model has them, from a hyper-latent at a quarter of the latent's size.

    Args:
        channels: C of the latent.
        hyper: channels of the hyper-latent.
        h_a, h_s: CompressAI's hyper-analysis and hyper-synthesis.
        means: whether `h_s` says scales and means (`mbt2018-mean`), or scales alone (`bmshj2018-hyperprior`).
        gains: quantisation steps of the hyper-latent learned per quality; False is one rate.

    Source: Ballé et al., *Variational image compression with a scale hyperprior*, ICLR 2018; Minnen et al., *Joint
    autoregressive and hierarchical priors*, NeurIPS 2018.
    """

    def __init__(self, channels: int, hyper: int, h_a: nn.Module, h_s: nn.Module, means: bool, gains: bool) -> None:
        super().__init__()
        self.channels, self.hyper, self.means = channels, hyper, means
        self.h_a, self.h_s = h_a, h_s
        self.density = FactorizedDensity(hyper)
        self.steps = QualitySteps(hyper, coarsest=1.0, finest=1.0, gains=gains)

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
            seen = pad_frames(latent if self.means else latent.abs(), _FACTOR)
            hyper = self.steps.divide(self.h_a(seen), quality)
        shape = (len(quality), self.hyper, *(padded(side, _FACTOR) // _FACTOR for side in size))
        hyper = channel.symbols(f"{component}.hyper", hyper, FactorizedModel(self.density, shape))
        return channel.symbols(component, latent, self.latent_model(hyper, size, quality))

    def latent_model(self, hyper: Tensor, size: tuple[int, int], quality: Tensor) -> GaussianModel:
        """Distribution of the latent `(B, C, *size)`, given the transmitted hyper-latent."""
        said = self.h_s(self.steps.multiply(hyper, quality))[..., : size[0], : size[1]].float()
        scales, means = said.chunk(2, 1) if self.means else (said, torch.zeros_like(said))
        return GaussianModel(means, scales)
