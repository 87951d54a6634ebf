"""A latent in two passes over a checkerboard: the anchors of the first one say how the rest is
distributed.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from codec.entropy.coding.laplace import SKIP_BELOW, check_scale_index
from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.base import FEW_CHANNELS, EntropyNetwork, network_sizes
from codec.entropy.models.hyperprior import (
    DeadZone,
    HyperLatent,
    HyperSynthesis,
    ScaleTable,
    laplace_model,
)
from codec.entropy.models.integer_layers import (
    SIXTEENTHS,
    BoundedBlock,
    Exact,
    ExactTable,
    IntegerConv,
    bounded,
    exact_product,
    exactly,
)
from codec.errors import CodecError
from codec.layers.quality import Once, QualityTable
from codec.quality import QUALITIES


@dataclass(frozen=True, eq=False)
class CheckerboardMask:
    """Half of a latent: at each position the first or the last half of the channels.

    Attributes:
        even: `(1, 1, h, w)` bool, true where it is the first half of the channels.
        first, last: int64, those positions and the others, counted row by row.
        order: int64, where in both of them, one after the other, each position is.
        halves: `(h·w,)` int64, which of the `(h·w, 2)` halves of channels are in the mask.
    """

    even: Tensor
    first: Tensor
    last: Tensor
    order: Tensor
    halves: Tensor

    def select(self, values: Tensor) -> Tensor:
        """The values in the mask: `(B, C, h, w)`, or `(B, C, 1, 1)` for everywhere ->
        `(B, C / 2, h, w)`.
        """
        if values.shape[2:] != self.even.shape[2:]:
            first, last = values.chunk(2, 1)
            return torch.where(self.even, first, last)
        halves = _halves(values).index_select(1, self.halves)
        return halves.unflatten(1, values.shape[2:]).permute(0, 3, 1, 2)

    def scatter(self, values: Tensor) -> Tensor:
        """The inverse of `select`, with zeros for the channels outside of the mask:
        `(B, C / 2, h, w)` -> `(B, C, h, w)`.
        """
        even = self.even.permute(0, 2, 3, 1)
        both = values.permute(0, 2, 3, 1).unsqueeze(3) * torch.stack([even, ~even], 3)
        return both.flatten(3).permute(0, 3, 1, 2)


def _halves(values: Tensor) -> Tensor:
    """`(B, C, h, w)` -> `(B, 2·h·w, C / 2)`: the first and the last channels of each position."""
    return values.permute(0, 2, 3, 1).reshape(len(values), -1, values.shape[1] // 2)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # training may use them after decoding did
def checkerboard_masks(
    height: int, width: int, device: torch.device
) -> tuple[CheckerboardMask, CheckerboardMask]:
    """The anchor half, which has the first channels in the top left corner, and the non-anchor
    half; made once a size, so no device waits.
    """
    parities = [(row + column) % 2 for row in range(height) for column in range(width)]
    numbers = [
        [position for position, own in enumerate(parities) if own == parity] for parity in (0, 1)
    ]
    first, last = (torch.tensor(number, dtype=torch.int64, device=device) for number in numbers)
    orders = [torch.argsort(torch.cat(pair)) for pair in ((first, last), (last, first))]
    late = torch.tensor(parities, device=device)
    even = late.view(1, 1, height, width) == 0
    firsts = torch.arange(height * width, device=device) * 2
    return (
        CheckerboardMask(even=even, first=first, last=last, order=orders[0], halves=firsts + late),
        CheckerboardMask(
            even=~even, first=last, last=first, order=orders[1], halves=firsts + 1 - late
        ),
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


class AnchorContext(Exact, nn.Module):
    """Hyper-latent, the last frame's values and quality -> features `(B, W, h, w)` of the first
    pass, integers in -127..127.
    """

    def __init__(self, channels: int, hyper: int, width: int, depth: int, signed: bool) -> None:
        super().__init__()
        self.signed = signed
        self.coarse = HyperSynthesis(hyper, width)
        self.previous = IntegerConv((1 + signed) * channels, width)
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


class NonAnchorContext(Exact, nn.Module):
    """Features and the anchors that were coded -> features of the second pass, of the same shape
    and range.
    """

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.magnitudes = IntegerConv(channels, width)
        self.signed = IntegerConv(channels, width, bias=False)
        self.parity = IntegerConv(1, width, bias=False)
        self.blocks = nn.Sequential(*(BoundedBlock(width) for _ in range(depth)))

    @exactly
    def forward(self, features: Tensor, anchors: Tensor, even: Tensor) -> Tensor:
        """`anchors` `(B, C, h, w)`, zero elsewhere; `even` as of the `CheckerboardMask`."""
        size = self.companded(anchors)
        known = self.magnitudes(size) + self.signed(torch.copysign(size, anchors))
        return self.blocks(bounded(features + known + self.parity(even * SIXTEENTHS)))


class Head(Exact, nn.Module):
    """Features -> what means and scale indexes of half of the latent are moved by, in sixteenths;
    zero at the start.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = IntegerConv(width, channels, zero=True)
        self.last = IntegerConv(width, channels, zero=True)

    @exactly
    def forward(self, features: Tensor, mask: CheckerboardMask) -> Tensor:
        """`(B, W, h, w)` -> `(B, C, h, w)` of the half in the mask: C / 2 channels of means, then
        as many of scale indexes.
        """
        rows = features.permute(0, 2, 3, 1).flatten(1, 2)
        parts = (self.first, mask.first), (self.last, mask.last)
        params = [layer.by_row(rows.index_select(1, positions)) for layer, positions in parts]
        ordered = torch.cat(params, 1).index_select(1, mask.order)
        return ordered.unflatten(1, features.shape[2:]).permute(0, 3, 1, 2)


class Neighbours(Exact, nn.Module):
    """A linear path that predicts means from the neighbours' values as they are, by channel; zero
    at the start.

    Where a last frame's residual is known it predicts nothing (measured, docs/results.md), so it is
    left out there.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = IntegerConv(channels, channels, 3, zero=True, bias=False)

    @exactly
    def forward(self, anchors: Tensor) -> Tensor:
        """`(B, C, h, w)` values of the first pass -> sixteenths; fractions of values and what is
        beyond ±127 are not seen.
        """
        return self.whole(self.layer.sums(self.whole(bounded(anchors))) * SIXTEENTHS)


class CheckerboardEntropy(Once, Exact, EntropyNetwork):
    """A hyper-latent and a temporal prior say how half of the latent, the anchors, is distributed;
    with the anchors they say how the other half, the non-anchors, is.

    The halves are a checkerboard in space, opposite for the first and the last half of the
    channels: every position codes half of its channels in each pass. Everything that the networks
    see was coded, in this or in the last frame, and their arithmetic is exact.

    Args:
        channels: C of the latent, even; both halves of them should hold all frequencies.
        hyper: channels of the hyper-latent; half of it for up to 64 latent channels.
        width: of the networks; a third of it for up to 64 latent channels.
        depth: blocks in each pass.
        signed: the temporal prior sees the last latent's signs, not only its magnitudes; None: for
            up to 64 latent channels (motion goes on, residuals do not).
        skip_below: scale index below which nothing is coded and a value is its mean; 0: everything
            is coded.
        prior_quality: the first pass sees at how much better a quality the last latent was coded;
            None: as False.

    Source: He et al., *Checkerboard context model*, CVPR 2021; Li et al., *Hybrid spatial-temporal
    entropy modelling*, ACM MM 2022, sec. 3.3 (two passes over space and channels, the last latent
    as a prior).

    Raises:
        CodecError: an odd number of channels, or a scale index outside 0..63.
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
                f"entropy.channels: {channels} given; checkerboard halves them, so give an even "
                "number"
            )
        hyper, width = network_sizes(channels, hyper, width)
        signed = channels <= FEW_CHANNELS if signed is None else signed
        self.channels, self.skip_below = channels, check_scale_index(skip_below)
        self.hyper = HyperLatent(channels, hyper, width, 1, skip_below)
        # first: the pass of the anchors; second: of the non-anchors
        self.first = AnchorContext(channels, hyper, width, depth, signed)
        self.first_head = Head(channels, width)
        self.second = NonAnchorContext(channels, width, depth)
        self.second_head = Head(channels, width)
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
        anchor, non_anchor = checkerboard_masks(*size, quality.device)
        temporal_mean: Tensor | None = None
        if self.persistence is not None:
            temporal_mean = exact_product(self.persistence, previous, self)
        moved = None
        if self.prior_quality is not None:
            moved = self.prior_quality(quality, None if alone else previous_quality)
        features = self.first(hyper, previous, quality, moved)
        anchors = self._code_half(
            anchor,
            params=self.first_head(features, anchor),
            mean=temporal_mean,
            component=component,
            latent=latent,
            quality=quality,
            coder=coder,
        )
        mean = temporal_mean
        if alone or temporal_mean is not None:
            spatial_mean = self.neighbours(anchors)
            mean = spatial_mean if temporal_mean is None else temporal_mean + spatial_mean
        return anchors + self._code_half(
            non_anchor,
            params=self.second_head(self.second(features, anchors, anchor.even), non_anchor),
            mean=mean,
            component=component,
            latent=latent,
            quality=quality,
            coder=coder,
        )

    def _code_half(
        self,
        mask: CheckerboardMask,
        *,
        params: Tensor,
        mean: Tensor | None,
        component: str,
        latent: Tensor | None,
        quality: Tensor,
        coder: SymbolCoder,
    ) -> Tensor:
        """Code the half in the mask; the other half of the answer `(B, C, h, w)` is zero.

        Args:
            params: `(B, C, h, w)` of the head, see `Head`.
            mean: `(B, C, h, w)` sixteenths, added to the means; None: nothing is.
        """
        means, index = params.float().chunk(2, 1)
        means = means if mean is None else means + mask.select(mean)
        base = self._select(self.base, quality, mask)
        model = laplace_model(means, index + base, self.skip_below)
        half = None
        if coder.encodes and latent is not None:
            width = self._select(self.dead_zone.width, quality, mask)
            half = self.dead_zone(mask.select(latent), model.means, width)
        return mask.scatter(coder.code(component, half, model))

    def _select(self, table: QualityTable, quality: Tensor, mask: CheckerboardMask) -> Tensor:
        """Values of a table in the half of the mask, `(B, C / 2, h, w)`."""
        return self.once(lambda: mask.select(table(quality)), table, quality, mask)
