"""What entropy networks with a hyper-latent share: the hyper-latent itself, and the dead zone of the latent."""

import torch
from torch import Tensor, nn

from codec.entropy.channel import Channel
from codec.entropy.laplace import LaplaceModel, limit_index, scale_index_of
from codec.layers.blocks import downward, pointwise, stack
from codec.layers.frames import pad_frames
from codec.layers.gain import QualityTable

# Networks say ladder positions in units of this many levels: about one doubling of the scale.
LEVELS_PER_UNIT = 5.0
_FACTOR = 4


def signed_log(values: Tensor) -> Tensor:
    """Values and their magnitudes on a logarithmic scale: `(B, C, h, w)` -> `(B, 2C, h, w)`."""
    size = torch.log1p(values.abs())
    return torch.cat([size, torch.sign(values) * size], 1)


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
        return self.layers(pad_frames(signed_log(latent), _FACTOR))


class HyperLatent(nn.Module):
    """A small second latent at a quarter of the first one's size, Laplace distributed by channel and quality.

    Args:
        channels: C of the latent.
        hyper: Z, its own channels.
        width, depth: of the analysis.

    Source: Ballé et al., *Variational image compression with a scale hyperprior*, ICLR 2018.
    """

    def __init__(self, channels: int, hyper: int, width: int, depth: int) -> None:
        super().__init__()
        self.channels = hyper
        self.analysis = HyperAnalysis(channels, hyper, width, depth)
        self.mean = QualityTable(hyper, torch.zeros(hyper))
        self.scale = QualityTable(hyper, scale_index_of(torch.full((hyper,), 0.7)) / LEVELS_PER_UNIT)

    def transmit(self, component: str, latent: Tensor | None, size: tuple[int, int], quality: Tensor, channel: Channel) -> Tensor:
        """Send or receive the hyper-latent of `latent` `(B, C, *size)`, None on the receiving side: `(B, Z, h', w')`."""
        hyper = self.analysis(latent) if channel.sends else None
        shape = (len(quality), self.channels, -(-size[0] // _FACTOR), -(-size[1] // _FACTOR))
        index = limit_index(self.scale(quality) * LEVELS_PER_UNIT)
        return channel.symbols(f"{component}.hyper", hyper, LaplaceModel(self.mean(quality).expand(shape), index.expand(shape)))


class ScaleTable(QualityTable):
    """The ladder position of each channel's scale by quality, where networks say how far to move from it.

    Args:
        channels: C of the latent.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, scale_index_of(torch.ones(channels)) / LEVELS_PER_UNIT)

    @torch.no_grad()
    def start_from(self, magnitude: Tensor) -> None:
        """Start at the scales of latents of mean `magnitude` `(knots, C)`."""
        self.start.copy_(scale_index_of(magnitude) / LEVELS_PER_UNIT)

    def model(self, means: Tensor, moved: Tensor, quality: Tensor) -> LaplaceModel:
        """Latents of `means`, with scales `moved` from the table's, both `(B, C, h, w)`, `quality` `(B,)`."""
        return LaplaceModel(means, limit_index((moved + self(quality)) * LEVELS_PER_UNIT))


class DeadZone(nn.Module):
    """Draws a latent towards its means on the sending side: what is not worth its bits becomes zero.

    Args:
        channels: C of the latent.

    Source: the dead-zone quantiser of Sullivan, *Efficient scalar quantization of exponential and Laplacian random
    variables*, 1996; here its width is learned.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.width = QualityTable(channels, torch.full((channels,), -2.0))

    def forward(self, latent: Tensor, means: Tensor, quality: Tensor) -> Tensor:
        """`latent` `(B, C, h, w)`, up to half a quantisation step nearer to `means`."""
        centred = latent.float() - means
        return means + torch.sign(centred) * torch.relu(centred.abs() - 0.5 * torch.sigmoid(self.width(quality)))
