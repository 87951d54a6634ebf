"""Two passes over a checkerboard: what the first one transmitted tells the second one more than a
hyper-latent can.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from codec.entropy.coding.laplace import SKIP_BELOW, check_position
from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.base import FEW_CHANNELS, EntropyNetwork, network_sizes
from codec.entropy.models.hyperprior import (
    DeadZone,
    HyperLatent,
    HyperSynthesis,
    ScaleTable,
    ladder_model,
)
from codec.entropy.models.integer_layers import (
    SIXTEENTHS,
    BoundedBlock,
    Exact,
    ExactConv,
    ExactTable,
    bounded,
    exact_product,
    exactly,
)
from codec.errors import CodecError
from codec.layers.quality import Once, QualityTable
from codec.quality import QUALITIES


@dataclass(frozen=True, eq=False)
class Pick:
    """Which positions give their first, and which their last half of the channels.

    Attributes:
        even: `(1, 1, h, w)` bool, true where it is the first half.
        first, last: int64, those positions and the others, counted row by row.
        order: int64, where in both of them, one after the other, each position is.
        halves: `(h·w,)` int64, which of the `(h·w, 2)` halves are picked.
    """

    even: Tensor
    first: Tensor
    last: Tensor
    order: Tensor
    halves: Tensor

    def half(self, values: Tensor) -> Tensor:
        """The picked values: `(B, C, h, w)`, or `(B, C, 1, 1)` for everywhere -> `(B, C / 2, h,
        w)`.
        """
        if values.shape[2:] != self.even.shape[2:]:
            first, last = values.chunk(2, 1)
            return torch.where(self.even, first, last)
        halves = _halves(values).index_select(1, self.halves)
        return halves.unflatten(1, values.shape[2:]).permute(0, 3, 1, 2)

    def whole(self, values: Tensor) -> Tensor:
        """The inverse of `half`, with zeros for the channels that it left out: `(B, C / 2, h, w)`
        -> `(B, C, h, w)`.
        """
        places = self.even.permute(0, 2, 3, 1)
        both = values.permute(0, 2, 3, 1).unsqueeze(3) * torch.stack([places, ~places], 3)
        return both.flatten(3).permute(0, 3, 1, 2)


def _halves(values: Tensor) -> Tensor:
    """`(B, C, h, w)` -> `(B, 2·h·w, C / 2)`: the first and the last channels of each position."""
    return values.permute(0, 2, 3, 1).reshape(len(values), -1, values.shape[1] // 2)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # training may use them after decoding did
def picks(height: int, width: int, device: torch.device) -> tuple[Pick, Pick]:
    """The half that has the first channels in the top left corner, and the other; made once a size,
    so no device waits.
    """
    colours = [(row + column) % 2 for row in range(height) for column in range(width)]
    numbers = [[place for place, own in enumerate(colours) if own == colour] for colour in (0, 1)]
    first, last = (torch.tensor(places, dtype=torch.int64, device=device) for places in numbers)
    orders = [torch.argsort(torch.cat(pair)) for pair in ((first, last), (last, first))]
    late = torch.tensor(colours, device=device)
    even = late.view(1, 1, height, width) == 0
    firsts = torch.arange(height * width, device=device) * 2
    return (
        Pick(even, first, last, orders[0], firsts + late),
        Pick(~even, last, first, orders[1], firsts + 1 - late),
    )


class PriorQuality(Exact, nn.Module):
    """By how much better the last values were coded than these -> what features are moved by.

    A latent counts quantisation steps: of the same content it is larger where it was coded better.
    Zero at the start.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table = ExactTable(width, torch.zeros(width))

    @exactly
    def forward(self, quality: Tensor, previous_quality: Tensor | None) -> Tensor:
        """`(B,)` indices 0..63, both -> sixteenths `(B, W, 1, 1)`; None: nothing is moved.

        Differences count up to 31.
        """
        known = quality if previous_quality is None else previous_quality
        moved = self.table((known - quality + QUALITIES // 2 - 1).clamp(0, QUALITIES - 2))
        return moved * (previous_quality is not None)


class FirstStep(Exact, nn.Module):
    """Hyper-latent, last values and quality -> features `(B, W, h, w)`, whole numbers
    in -127..127.
    """

    def __init__(self, channels: int, hyper: int, width: int, depth: int, signed: bool) -> None:
        super().__init__()
        self.signed = signed
        self.coarse = HyperSynthesis(hyper, width)
        self.previous = ExactConv((1 + signed) * channels, width)
        self.quality = ExactTable(width, torch.zeros(width))
        self.blocks = nn.Sequential(*(BoundedBlock(width) for _ in range(depth)))

    @exactly
    def forward(
        self,
        hyper: Tensor,
        previous: Tensor,
        quality: Tensor,
        moved: Tensor | None = None,
    ) -> Tensor:
        """`moved` `(B, W, 1, 1)`, sixteenths, comes on top."""
        height, width = previous.shape[-2:]
        known = self.companded(previous)
        known = torch.cat([known, torch.copysign(known, previous)], 1) if self.signed else known
        coarse = self.coarse(hyper)[..., :height, :width]
        known = coarse + self.previous(known) + self.quality(quality)
        return self.blocks(bounded(known if moved is None else known + moved))


class SecondStep(Exact, nn.Module):
    """Features and what the first pass transmitted -> features that know it, of the same shape and
    range.
    """

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.magnitudes = ExactConv(channels, width)
        self.signed = ExactConv(channels, width, bias=False)
        self.parity = ExactConv(1, width, bias=False)
        self.blocks = nn.Sequential(*(BoundedBlock(width) for _ in range(depth)))

    @exactly
    def forward(self, features: Tensor, first: Tensor, even: Tensor) -> Tensor:
        size = self.companded(first)
        known = self.magnitudes(size) + self.signed(torch.copysign(size, first))
        return self.blocks(bounded(features + known + self.parity(even * SIXTEENTHS)))


class Head(Exact, nn.Module):
    """Features -> what means and ladder positions of half of the latent are moved by, in
    sixteenths; zero at the start.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = ExactConv(width, channels, zero=True)
        self.last = ExactConv(width, channels, zero=True)

    @exactly
    def forward(self, features: Tensor, pick: Pick) -> Tensor:
        """`(B, W, h, w)` -> `(B, C, h, w)` of the half that `pick` picks: C / 2 channels of means,
        then as many of positions.
        """
        rows = features.permute(0, 2, 3, 1).flatten(1, 2)
        parts = (self.first, pick.first), (self.last, pick.last)
        both = [layer.by_row(rows.index_select(1, positions)) for layer, positions in parts]
        said = torch.cat(both, 1).index_select(1, pick.order)
        return said.unflatten(1, features.shape[2:]).permute(0, 3, 1, 2)


class Neighbours(Exact, nn.Module):
    """A linear path that predicts means from the neighbours' values as they are, by channel; zero
    at the start.

    Where a last frame's residual is known it predicts nothing (measured, docs/results.md), so it is
    left out there.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = ExactConv(channels, channels, 3, zero=True, bias=False)

    @exactly
    def forward(self, first: Tensor) -> Tensor:
        """`(B, C, h, w)` values of the first pass -> sixteenths; fractions of values and what is
        beyond ±127 are not seen.
        """
        return self.whole(self.layer.sums(self.whole(bounded(first))) * SIXTEENTHS)


class TwoStep(Once, Exact, EntropyNetwork):
    """A hyper-latent and a temporal prior say how half of the latent is distributed, that half how
    the other half is.

    The halves are a checkerboard in space, opposite for the first and the last half of the
    channels: every position transmits half of its channels in each pass. Everything that the
    networks see was transmitted, in this or in the last frame, and their arithmetic is exact.

    Args:
        channels: C of the latent, even; both halves of them should hold all frequencies.
        hyper: channels of the hyper-latent; half of it for up to 64 latent channels.
        width: of the networks; a third of it for up to 64 latent channels.
        depth: blocks in each pass.
        signed: the temporal prior sees last symbols with their signs, not only their magnitudes;
            None: for up to 64 latent channels (motion goes on, residuals do not).
        skip_below: ladder position of scales below which nothing is coded and a value is its mean;
            0: everything is coded.
        prior_quality: the first pass sees at how much better a quality the last latent was coded;
            None: as False.

    Source: He et al., *Checkerboard context model*, CVPR 2021; Li et al., *Hybrid spatial-temporal
    entropy modelling*, ACM MM 2022, sec. 3.3 (two passes over space and channels, the last latent
    as a prior).

    Raises:
        CodecError: an odd number of channels, or a position that is not on the ladder.
    """

    exact = True

    def __init__(
        self,
        channels: int,
        hyper: int = 32,
        width: int = 96,
        depth: int = 1,
        signed: bool | None = None,
        skip_below: int = SKIP_BELOW,
        prior_quality: bool | None = False,
    ) -> None:
        super().__init__()
        if channels % 2:
            raise CodecError(
                f"entropy.channels: {channels} given; two_step halves them, so give an even number"
            )
        hyper, width = network_sizes(channels, hyper, width)
        signed = channels <= FEW_CHANNELS if signed is None else signed
        self.channels, self.skip_below = channels, check_position(skip_below)
        self.hyper = HyperLatent(channels, hyper, width, 1, skip_below)
        self.first, self.first_head = (
            FirstStep(channels, hyper, width, depth, signed),
            Head(channels, width),
        )
        self.second, self.second_head = SecondStep(channels, width, depth), Head(channels, width)
        self.prior_quality = PriorQuality(width) if prior_quality else None
        self.neighbours = Neighbours(channels)
        self.persistence = nn.Parameter(torch.zeros(channels)) if signed else None
        self.base = ScaleTable(channels)
        self.dead_zone = DeadZone(channels)

    def start_from(self, magnitude: Tensor) -> None:
        self.base.start_from(magnitude, self.skip_below)

    def code(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        coder: SymbolCoder,
        previous: Tensor | None = None,
        previous_quality: Tensor | None = None,
    ) -> Tensor:
        hyper = self.hyper.code(component, latent, size, quality, coder)
        alone = previous is None
        if previous is None:
            previous = torch.zeros(len(quality), self.channels, *size, device=quality.device)
        one, other = picks(*size, quality.device)
        lasting: Tensor | None = None
        if self.persistence is not None:
            lasting = exact_product(self.persistence, previous, self)
        moved = None
        if self.prior_quality is not None:
            moved = self.prior_quality(quality, None if alone else previous_quality)
        features = self.first(hyper, previous, quality, moved)
        first = self._pass(
            component, latent, self.first_head(features, one), lasting, quality, coder, one
        )
        expected = lasting
        if alone or lasting is not None:
            around = self.neighbours(first)
            expected = around if lasting is None else lasting + around
        said = self.second_head(self.second(features, first, one.even), other)
        return first + self._pass(component, latent, said, expected, quality, coder, other)

    def _pass(
        self,
        component: str,
        latent: Tensor | None,
        said: Tensor,
        expected: Tensor | None,
        quality: Tensor,
        coder: SymbolCoder,
        pick: Pick,
    ) -> Tensor:
        """Transmit one half; the other half of the answer `(B, C, h, w)` is zero.

        What a head `said` of it is moved further by the means `expected` `(B, C, h, w)`.
        """
        moved, index = said.float().chunk(2, 1)
        moved = moved if expected is None else moved + pick.half(expected)
        base = self._half_of(self.base, quality, pick)
        model = ladder_model(moved, index + base, self.skip_below)
        sent = None
        if coder.encodes and latent is not None:
            width = self._half_of(self.dead_zone.width, quality, pick)
            sent = self.dead_zone(pick.half(latent), model.means, width)
        return pick.whole(coder.code(component, sent, model))

    def _half_of(self, table: QualityTable, quality: Tensor, pick: Pick) -> Tensor:
        """What a table says of the half that is picked, `(B, C / 2, h, w)`."""
        return self.once(lambda: pick.half(table(quality)), table, quality, pick)
