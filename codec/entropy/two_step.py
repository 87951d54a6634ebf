"""Two passes: what the first one transmitted tells the second one more than a hyper-latent can."""

import torch
from torch import Tensor, nn

from codec.entropy.channel import Channel
from codec.entropy.hyper import DeadZone, HyperLatent, ScaleTable, signed_log
from codec.entropy.laplace import LaplaceModel
from codec.entropy.network import FEW_CHANNELS, EntropyNetwork, network_sizes
from codec.errors import CodecError
from codec.layers.blocks import pointwise, upward
from codec.layers.gain import QualityTable

_BOUND = 8.0


class BoundedBlock(nn.Module):
    """Residual block of the entropy networks: its hidden values lie in 0..8, so that integers can stand for them.

    Args:
        channels: C; tensors are `(B, C, h, w)` in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = pointwise(channels, 2 * channels)
        self.spatial = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.project = pointwise(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.spatial(nn.functional.hardtanh(self.expand(x), 0, _BOUND))
        return x + self.project(nn.functional.hardtanh(hidden, 0, _BOUND))


class FirstStep(nn.Module):
    """Hyper-latent, quality and last symbols -> features `(B, W, h, w)`, and `(B, 2C, h, w)` that starts at zero."""

    def __init__(self, channels: int, hyper: int, width: int, depth: int, signed: bool) -> None:
        super().__init__()
        self.signed = signed
        self.coarse = nn.Sequential(upward(hyper, width), BoundedBlock(width), upward(width, width))
        self.previous = pointwise((1 + signed) * channels, width)
        self.quality = QualityTable(width, torch.zeros(width))
        self.blocks = nn.Sequential(*(BoundedBlock(width) for _ in range(depth)))
        self.head = pointwise(width, 2 * channels, zero=True)

    def forward(self, hyper: Tensor, previous: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        height, width = previous.shape[-2:]
        previous = self.previous(signed_log(previous) if self.signed else torch.log1p(previous.abs()))
        features = self.blocks(self.coarse(hyper)[..., :height, :width] + previous + self.quality(quality))
        return features, self.head(features)


class SecondStep(nn.Module):
    """Features and what the first pass transmitted -> corrections `(B, 2C, h, w)`, zero at the start.

    A linear path predicts means from the neighbours' values as they are.
    """

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.known = pointwise(2 * channels + 1, width)
        self.blocks = nn.Sequential(*(BoundedBlock(width) for _ in range(depth)))
        self.head = pointwise(width, 2 * channels, zero=True)
        self.neighbours = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        nn.init.zeros_(self.neighbours.weight)

    def forward(self, features: Tensor, first: Tensor, even: Tensor) -> Tensor:
        known = torch.cat([signed_log(first), even.to(first).expand(len(first), 1, -1, -1)], 1)
        moved, index = self.head(self.blocks(features + self.known(known))).float().chunk(2, 1)
        with torch.autocast(first.device.type, enabled=False):
            return torch.cat([moved + self.neighbours(first.float()), index], 1)


class TwoStep(EntropyNetwork):
    """A hyper-latent and a temporal prior say how half of the latent is distributed, that half how the other half is.

    The halves are a checkerboard in space, opposite for even and odd channels: every position transmits half of its
    channels in each pass. Everything that the networks see was transmitted, in this or in the last frame.

    Args:
        channels: C of the latent, even.
        hyper: channels of the hyper-latent; half of it for up to 64 latent channels.
        width: of the networks; a third of it for up to 64 latent channels.
        depth: blocks in each pass.
        signed: the temporal prior sees last symbols with their signs, not only their magnitudes; None: for up to 64
            latent channels (motion goes on, residuals do not).

    Source: He et al., *Checkerboard context model*, CVPR 2021; Li et al., *Hybrid spatial-temporal entropy modelling*,
    ACM MM 2022, sec. 3.3 (two passes over space and channels, the last latent as a prior).

    Raises:
        CodecError: an odd number of channels.
    """

    def __init__(self, channels: int, hyper: int = 32, width: int = 96, depth: int = 1, signed: bool | None = None) -> None:
        super().__init__()
        if channels % 2:
            raise CodecError(f"entropy.channels: {channels} given; two_step halves them, so give an even number")
        hyper, width = network_sizes(channels, hyper, width)
        signed = channels <= FEW_CHANNELS if signed is None else signed
        self.channels = channels
        self.hyper = HyperLatent(channels, hyper, width, 1)
        self.first = FirstStep(channels, hyper, width, depth, signed)
        self.second = SecondStep(channels, width, depth)
        self.persistence = nn.Parameter(torch.zeros(channels)) if signed else None
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
        even = checkerboard(*size, device=quality.device)
        features, said = self.first(hyper, previous, quality)
        said = said.float()
        if self.persistence is not None:
            moved, index = said.chunk(2, 1)
            said = torch.cat([moved + self.persistence.view(1, -1, 1, 1) * previous, index], 1)
        first = self._pass(component, latent, said, quality, channel, even)
        second = self._pass(component, latent, said + self.second(features, first, even), quality, channel, ~even)
        return first + second

    def _pass(
        self, component: str, latent: Tensor | None, said: Tensor, quality: Tensor, channel: Channel, even: Tensor
    ) -> Tensor:
        """Transmit one half; the other half of the answer `(B, C, h, w)` is zero."""
        model = self.base.model(*said.chunk(2, 1), quality)
        sent = half(self.dead_zone(latent, model.means, quality), even) if channel.sends else None
        model = LaplaceModel(half(model.means, even), half(model.scale_index, even))
        return whole(channel.symbols(component, sent, model), even)


def checkerboard(height: int, width: int, device: torch.device) -> Tensor:
    """`(1, 1, height, width)` bool, true in the top left corner."""
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    return ((rows[:, None] + columns[None]) % 2 == 0)[None, None]


def half(values: Tensor, even: Tensor) -> Tensor:
    """Even channels where `even`, odd ones elsewhere: `(B, C, h, w)` -> `(B, C / 2, h, w)`."""
    return torch.where(even, values[:, 0::2], values[:, 1::2])


def whole(values: Tensor, even: Tensor) -> Tensor:
    """The inverse of `half`, with zeros for the channels that it left out: `(B, C / 2, h, w)` -> `(B, C, h, w)`."""
    none = torch.zeros((), dtype=values.dtype, device=values.device)
    return torch.stack([torch.where(even, values, none), torch.where(even, none, values)], 2).flatten(1, 2)
