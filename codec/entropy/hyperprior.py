"""The mean-scale hyperprior: a small second latent says how the first one is distributed."""

import torch
from torch import Tensor, nn

from codec.entropy.channel import Channel
from codec.entropy.exact import BoundedBlock, Exact, ExactConv, ExactTable, bounded, exactly
from codec.entropy.hyper import DeadZone, HyperLatent, HyperSynthesis, ScaleTable, ladder_model
from codec.entropy.laplace import SKIP_BELOW, check_position
from codec.entropy.network import EntropyNetwork, network_sizes


class Expectation(Exact, nn.Module):
    """Hyper-latent, the last frame's values and quality -> what means and ladder positions are
    moved by, in sixteenths.

    The answer is `(B, 2C, h, w)`, zero at the start.
    """

    def __init__(self, channels: int, hyper: int, width: int, depth: int) -> None:
        super().__init__()
        self.coarse = HyperSynthesis(hyper, width)
        self.previous = ExactConv(channels, width)
        self.quality = ExactTable(width, torch.zeros(width))
        self.blocks = nn.Sequential(*(BoundedBlock(width) for _ in range(depth)))
        self.head = ExactConv(width, 2 * channels, zero=True)

    @exactly
    def forward(self, hyper: Tensor, previous: Tensor, quality: Tensor) -> Tensor:
        height, width = previous.shape[-2:]
        coarse = self.coarse(hyper)[..., :height, :width]
        known = coarse + self.previous(self.companded(previous)) + self.quality(quality)
        return self.head(self.blocks(bounded(known)))


class Hyperprior(EntropyNetwork):
    """Means and scales of a latent from a hyper-latent at a quarter of its size, by exact
    arithmetic.

    Both latents are Laplace distributed on the fixed ladder of `laplace.py`. The magnitudes of the
    last predicted frame's symbols, which both sides have, help.

    Args:
        channels: C of the latent.
        hyper: channels of the hyper-latent; half of it for up to 64 latent channels.
        width: of the networks; a third of it for up to 64 latent channels.
        depth: of the networks.
        skip_below: ladder position of scales below which nothing is coded and a value is its mean;
            0: everything is coded.

    Source: Minnen et al., *Joint autoregressive and hierarchical priors*, NeurIPS 2018 (the
    hierarchical part).

    Raises:
        CodecError: a position that is not on the ladder.
    """

    exact = True

    def __init__(
        self,
        channels: int,
        hyper: int = 32,
        width: int = 96,
        depth: int = 1,
        skip_below: int = SKIP_BELOW,
    ) -> None:
        super().__init__()
        hyper, width = network_sizes(channels, hyper, width)
        self.channels, self.skip_below = channels, check_position(skip_below)
        self.hyper = HyperLatent(channels, hyper, width, depth, skip_below)
        self.expectation = Expectation(channels, hyper, width, depth)
        self.base = ScaleTable(channels)
        self.dead_zone = DeadZone(channels)

    def start_from(self, magnitude: Tensor) -> None:
        self.base.start_from(magnitude, self.skip_below)

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
        hyper = self.hyper.transmit(component, latent, size, quality, channel)
        if previous is None:
            previous = torch.zeros(len(quality), self.channels, *size, device=quality.device)
        moved, index = self.expectation(hyper, previous, quality).float().chunk(2, 1)
        model = ladder_model(moved, index + self.base(quality), self.skip_below)
        sent = (
            self.dead_zone(latent, model.means, self.dead_zone.width(quality))
            if channel.sends
            else None
        )
        return channel.symbols(component, sent, model)
