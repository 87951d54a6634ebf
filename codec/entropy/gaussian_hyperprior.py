"""What the Gaussian hyperpriors of the literature share: a hyper-latent with a learned density,
then the latent.
"""

from abc import abstractmethod

from torch import Tensor

from codec.entropy.channel import Channel
from codec.entropy.density import FactorizedDensity, FactorizedModel
from codec.entropy.gaussian import GaussianModel
from codec.entropy.network import EntropyNetwork
from codec.layers.frames import pad_frames, padded
from codec.layers.steps import QualitySteps


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

    def transmit(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        channel: Channel,
        previous: Tensor | None = None,
        previous_quality: Tensor | None = None,
    ) -> Tensor:
        hyper = None
        if channel.sends:
            hyper = self.steps.divide(self.analyse(pad_frames(latent, self.factor)), quality)
        shape = (
            len(quality),
            self.hyper,
            *(padded(side, self.factor) // self.factor for side in size),
        )
        hyper = channel.symbols(f"{component}.hyper", hyper, FactorizedModel(self.density, shape))
        return channel.symbols(component, latent, self.latent_model(hyper, size, quality))

    def latent_model(self, hyper: Tensor, size: tuple[int, int], quality: Tensor) -> GaussianModel:
        """Distribution of the latent `(B, C, *size)`, given the transmitted hyper-latent."""
        said = self.synthesise(self.steps.multiply(hyper, quality))
        means, scales = (values[..., : size[0], : size[1]].float() for values in said)
        return GaussianModel(means, scales)
