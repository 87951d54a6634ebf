"""The mean-scale hyperprior: a small second latent says how the first one is distributed."""

import torch
from torch import Tensor, nn

from codec.entropy.channel import Channel
from codec.entropy.laplace import LaplaceModel, limit_index, scale_index_of
from codec.entropy.network import EntropyNetwork
from codec.layers.blocks import downward, pointwise, stack, upward
from codec.layers.frames import pad_frames
from codec.layers.gain import QualityTable

# Networks say ladder positions in units of this many levels: about one doubling of the scale.
_LEVELS_PER_UNIT = 5.0


class HyperAnalysis(nn.Module):
    """Latent `(B, C, h, w)` -> hyper-latent `(B, Z, ceil(h / 4), ceil(w / 4))`."""

    def __init__(self, channels: int, hyper: int, width: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            pointwise(2 * channels, width),
            stack(width, depth),
            downward(width, width),
            stack(width, depth),
            downward(width, hyper),
        )

    def forward(self, latent: Tensor) -> Tensor:
        size = torch.log1p(latent.abs())
        return self.layers(pad_frames(torch.cat([size, torch.sign(latent) * size], 1), 4))


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

    Both latents are Laplace distributed on the fixed ladder of `laplace.py`; the hyper-latent with a mean and a scale a
    channel and quality. The magnitudes of the last predicted frame's symbols, which both sides have, help.

    On the sending side a learned dead zone draws the latent towards its mean: what is not worth its bits becomes zero.

    Args:
        channels: C of the latent.
        hyper: channels of the hyper-latent.
        width, depth: of the networks.

    Source: Minnen et al., *Joint autoregressive and hierarchical priors*, NeurIPS 2018 (the hierarchical part).
    """

    def __init__(self, channels: int, hyper: int = 32, width: int = 96, depth: int = 1) -> None:
        super().__init__()
        self.channels, self.hyper = channels, hyper
        self.analysis = HyperAnalysis(channels, hyper, width, depth)
        self.synthesis = HyperSynthesis(channels, hyper, width, depth)
        start = scale_index_of(torch.ones(channels)) / _LEVELS_PER_UNIT
        self.base = QualityTable(channels, start)
        self.hyper_mean = QualityTable(hyper, torch.zeros(hyper))
        self.dead_zone = QualityTable(channels, torch.full((channels,), -2.0))
        self.hyper_scale = QualityTable(hyper, scale_index_of(torch.full((hyper,), 0.7)) / _LEVELS_PER_UNIT)

    def start_from(self, magnitude: Tensor) -> None:
        with torch.no_grad():
            self.base.start.copy_(scale_index_of(magnitude) / _LEVELS_PER_UNIT)

    def transmit(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        channel: Channel,
        previous: Tensor | None = None,
    ) -> Tensor:
        hyper = self.analysis(latent) if channel.sends else None
        shape = (len(quality), self.hyper, -(-size[0] // 4), -(-size[1] // 4))
        hyper = channel.symbols(f"{component}.hyper", hyper, self.hyper_model(quality, shape))
        if previous is None:
            previous = torch.zeros(len(quality), self.channels, *size, device=quality.device)
        model = self.latent_model(hyper, previous, quality)
        return channel.symbols(component, self.shrink(latent, model.means, quality) if channel.sends else None, model)

    def shrink(self, latent: Tensor, means: Tensor, quality: Tensor) -> Tensor:
        """The latent, drawn towards its means by the dead zone: up to half a quantisation step.

        Source: the dead-zone quantiser of Sullivan, *Efficient scalar quantization of exponential and Laplacian random
        variables*, 1996; here its width is learned.
        """
        centred = latent.float() - means
        return means + torch.sign(centred) * torch.relu(centred.abs() - 0.5 * torch.sigmoid(self.dead_zone(quality)))

    def hyper_model(self, quality: Tensor, shape: tuple[int, int, int, int]) -> LaplaceModel:
        """Distribution of the hyper-latent of `shape` `(B, Z, h', w')`."""
        index = limit_index(self.hyper_scale(quality) * _LEVELS_PER_UNIT)
        return LaplaceModel(self.hyper_mean(quality).expand(shape), index.expand(shape))

    def latent_model(self, hyper: Tensor, previous: Tensor, quality: Tensor) -> LaplaceModel:
        """Distribution of the latent `(B, C, h, w)`, given the hyper-latent and the last symbols that both sides have."""
        means, index = self.synthesis(hyper, previous, quality).float().chunk(2, 1)
        return LaplaceModel(means, limit_index((index + self.base(quality)) * _LEVELS_PER_UNIT))
