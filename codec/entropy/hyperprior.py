"""The mean-scale hyperprior: a small second latent says how the first one is distributed."""

import torch
from torch import Tensor, nn

from codec.entropy.channel import Channel
from codec.entropy.hyper import DeadZone, HyperLatent, ScaleTable
from codec.entropy.laplace import LaplaceModel
from codec.entropy.network import EntropyNetwork, network_sizes
from codec.layers.blocks import pointwise, stack, upward
from codec.layers.gain import QualityTable


class HyperSynthesis(nn.Module):
    """Hyper-latent, quality and the last frame's symbols -> what means and ladder positions are moved by.

    The answer is `(B, 2C, h, w)`, zero at the start.
    """

    def __init__(self, channels: int, hyper: int, width: int, depth: int) -> None:
        super().__init__()
        self.coarse = nn.Sequential(upward(hyper, width), stack(width, depth), upward(width, width))
        self.previous = pointwise(channels, width)
        self.quality = QualityTable(width, torch.zeros(width))
        self.fine = nn.Sequential(stack(width, depth), pointwise(width, 2 * channels, zero=True))

    def forward(self, hyper: Tensor, previous: Tensor, quality: Tensor) -> Tensor:
        height, width = previous.shape[-2:]
        known = self.coarse(hyper)[..., :height, :width] + self.previous(torch.log1p(previous.abs()))
        return self.fine(known + self.quality(quality))


class Hyperprior(EntropyNetwork):
    """Means and scales of a latent from a hyper-latent at a quarter of its size.

    Both latents are Laplace distributed on the fixed ladder of `laplace.py`. The magnitudes of the last predicted frame's
    symbols, which both sides have, help.

    Args:
        channels: C of the latent.
        hyper: channels of the hyper-latent; half of it for up to 64 latent channels.
        width: of the networks; a third of it for up to 64 latent channels.
        depth: of the networks.

    Source: Minnen et al., *Joint autoregressive and hierarchical priors*, NeurIPS 2018 (the hierarchical part).
    """

    def __init__(self, channels: int, hyper: int = 32, width: int = 96, depth: int = 1) -> None:
        super().__init__()
        hyper, width = network_sizes(channels, hyper, width)
        self.channels = channels
        self.hyper = HyperLatent(channels, hyper, width, depth)
        self.synthesis = HyperSynthesis(channels, hyper, width, depth)
        self.base = ScaleTable(channels)
        self.dead_zone = DeadZone(channels)

    def start_from(self, magnitude: Tensor) -> None:
        self.base.start_from(magnitude)

    def transmit(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        channel: Channel,
        previous: Tensor | None = None,
    ) -> Tensor:
        hyper = self.hyper.transmit(component, latent, size, quality, channel)
        if previous is None:
            previous = torch.zeros(len(quality), self.channels, *size, device=quality.device)
        model = self.latent_model(hyper, previous, quality)
        return channel.symbols(component, self.dead_zone(latent, model.means, quality) if channel.sends else None, model)

    def latent_model(self, hyper: Tensor, previous: Tensor, quality: Tensor) -> LaplaceModel:
        """Distribution of the latent `(B, C, h, w)`, given the hyper-latent and the last symbols that both sides have."""
        means, moved = self.synthesis(hyper, previous, quality).float().chunk(2, 1)
        return self.base.model(means, moved, quality)
