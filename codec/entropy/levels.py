"""Quantised coefficients whose values an encoder has fixed: integers without means, their scales
from an exact network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from codec.entropy.channel import Channel
from codec.entropy.exact import (
    SIXTEENTHS,
    BoundedBlock,
    Exact,
    ExactConv,
    ExactTable,
    bounded,
    exactly,
)
from codec.entropy.hyper import LEVELS_PER_UNIT, HyperLatent, HyperSynthesis, ScaleTable
from codec.entropy.laplace import SKIP_BELOW, LaplaceModel, limit_index
from codec.entropy.network import EntropyNetwork
from codec.entropy.pick import Pick, picks
from codec.entropy.two_step import Head, SecondStep
from codec.errors import CodecError


class LevelContext(Exact, nn.Module):
    """Hyper-latent, what is known of each place, and quality -> features `(B, W, h, w)`, whole
    numbers in -127..127.
    """

    def __init__(self, known: int, hyper: int, width: int, depth: int) -> None:
        super().__init__()
        self.coarse = HyperSynthesis(hyper, width)
        self.known = ExactConv(known, width)
        self.quality = ExactTable(width, torch.zeros(width))
        self.blocks = nn.Sequential(*(BoundedBlock(width) for _ in range(depth)))

    @exactly
    def forward(self, hyper: Tensor, known: Tensor, quality: Tensor) -> Tensor:
        height, width = known.shape[-2:]
        coarse = self.coarse(hyper)[..., :height, :width]
        return self.blocks(bounded(coarse + self.known(known) + self.quality(quality)))


class LevelEntropy(Exact, EntropyNetwork):
    """Levels of intra blocks: a hyper-latent, sizes and modes say how half of them are distributed,
    that half how the rest is.

    As `TwoStep`, but values are what the encoder chose, bit by bit: all are coded, means are zero,
    and there is no dead zone.

    Args:
        channels: C of the latent, even; both halves of them should hold all frequencies.
        known: channels of what else is known of each place.
        hyper: channels of the hyper-latent.
        width: of the networks.
        depth: blocks in each pass.

    Raises:
        CodecError: an odd number of channels.
    """

    exact = True

    def __init__(
        self, channels: int, known: int, hyper: int = 32, width: int = 96, depth: int = 1
    ) -> None:
        super().__init__()
        if channels % 2:
            raise CodecError(
                f"entropy.channels: {channels} given; they are halved, so give an even number"
            )
        self.channels = channels
        self.hyper = HyperLatent(channels, hyper, width, 1, SKIP_BELOW)
        self.first, self.first_head = (
            LevelContext(known, hyper, width, depth),
            Head(channels // 2, width),
        )
        self.second, self.second_head = (
            SecondStep(channels, width, depth),
            Head(channels // 2, width),
        )
        self.undivided, self.divided = ScaleTable(channels), ScaleTable(channels)

    def start_from(self, magnitude: Tensor, divided: Tensor | None = None) -> None:
        """As `EntropyNetwork.start_from`; `divided` where a place is four blocks."""
        self.undivided.start_from(magnitude, 0)
        self.divided.start_from(magnitude if divided is None else divided, 0)

    def transmit(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        channel: Channel,
        previous: Tensor | None = None,
        previous_quality: Tensor | None = None,
        known: Tensor | None = None,
        split: Tensor | None = None,
    ) -> Tensor:
        """Send or receive levels.

        Args:
            component, size, quality, channel: as of every entropy network.
            latent: `(B, C, h, w)` float32 integers on the sending side.
            previous, previous_quality: not used.
            known: `(B, known, h, w)` whole numbers in -127..127, the same on both sides.
            split: `(B, 1, h, w)` bool, where a place is four blocks.

        Returns:
            `(B, C, h, w)` float32 integers, those that were sent.
        """
        hyper = self.hyper.transmit(component, latent, size, quality, channel)
        one, other = picks(*size, quality.device)
        base = torch.where(split, self.divided(quality), self.undivided(quality))
        features = self.first(hyper, known, quality)
        first = self._pass(component, latent, self.first_head(features, one), base, channel, one)
        said = self.second_head(self.second(features, first, one.even), other)
        return first + self._pass(component, latent, said, base, channel, other)

    def _pass(
        self,
        component: str,
        latent: Tensor | None,
        said: Tensor,
        base: Tensor,
        channel: Channel,
        pick: Pick,
    ) -> Tensor:
        """Transmit one half; the other half of the answer `(B, C, h, w)` is zero."""
        index = limit_index((said.float() + pick.half(base)) * (LEVELS_PER_UNIT / SIXTEENTHS))
        model = LaplaceModel(torch.zeros_like(index), index, integer=True)
        sent = pick.half(latent) if channel.sends else None
        return pick.whole(channel.symbols(component, sent, model))
