"""No hyper-latent: each channel has a learned density, stretched and moved as the quality says."""

import torch
from torch import Tensor

from codec.entropy.channel import Channel
from codec.entropy.density import FactorizedDensity, FactorizedModel
from codec.entropy.network import EntropyNetwork
from codec.layers.gain import QualityGain, QualityTable

_MAGNITUDE = 14.7  # mean magnitude of what a density of compressai's `init_scale` 10 starts with
# Expected of latents before training: most symbols zero, or untrained motion would cost the most of
# all.
_START = 0.2


class FactorizedEntropy(EntropyNetwork):
    """A learned density for each channel, whatever the place in the frame.

    The one density serves all qualities: its width and place are learned per quality.

    Args:
        channels: C of the latent.
        scale: what the density, about 15 wide in compressai's initialisation, starts stretched by;
            1 leaves it as it is.

    Source: Ballé et al., *End-to-end optimized image compression*, ICLR 2017; DVC codes its motion
    so (Lu et al., CVPR 2019).
    """

    def __init__(self, channels: int, scale: float = _START / _MAGNITUDE) -> None:
        super().__init__()
        self.channels = channels
        self.density = FactorizedDensity(channels)
        self.scale = QualityGain(channels, torch.full((channels,), scale).log())
        self.shift = QualityTable(channels, torch.zeros(channels))

    def start_from(self, magnitude: Tensor) -> None:
        with torch.no_grad():
            self.scale.start.copy_((magnitude / _MAGNITUDE).log())

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
        shape = (len(quality), self.channels, *size)
        model = FactorizedModel(self.density, shape, self.scale(quality), self.shift(quality))
        return channel.symbols(component, latent, model)
