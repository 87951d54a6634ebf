"""Block motion as in a standard codec: a quadtree, several references, quarter pixels, long
filters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.quadtree import (
    CELL,
    QuadtreeEntropy,
    Revise,
    prediction_modes,
    used_references,
)
from codec.errors import CodecError
from codec.layers.compensation import (
    bilinear_filters,
    compensate,
    compensate_features,
    luma_filters,
)
from codec.motion.base import ContextNetwork, MotionNetwork
from codec.motion.block_decisions import SIDES
from codec.motion.block_search import (
    BlockDecisions,
    BlockPrices,
    PhasePlanes,
    phase_planes,
    search_for,
)
from codec.quality import LambdaRange
from codec.references import Context, Reference, References

# Over the root of lambda. SATD is HM's, twice the sum of orthonormal coefficients
# (docs/results.md).
SATD_OF_A_BIT = 1.6
_FORBIDDEN = 1e6  # bits


class BlockMatching(MotionNetwork):
    """Blocks of 64 to 8 pixels, each from one reference or from the average of two.

    They are found at the encoder by rate and distortion. Vectors are integer quarter pixels; pixels
    are interpolated by HEVC's eight-tap filters, features bilinearly. What was warped is refined by
    a network.

    Args:
        features: F of a reference.
        entropy: network for the maps; it says how many references there may be.
        depth: gated blocks of the refinement after warping.
        lambda_low, lambda_high: as the codec's: what a bit may cost in decisions.
        reach: largest displacement in pixels that is searched.
        random_share: of blocks of 64 that are split and predicted at random in training, so that
            rare choices are learned.
        smallest, largest: sides of the blocks that the encoder chooses from, 8 to 64.
        interpolation: of pixels, `hevc` or `bilinear`.

    Raises:
        CodecError: an entropy network of another kind, sides that there are not, or an unknown
            interpolation.

    Source: motion compensation of ITU-T H.265, 8.5.3; the refinement is `ContextNetwork`'s.
    """

    made_for = "ycc"  # the search compares lumas
    filters: Tensor
    forbidden: Tensor
    mode_weights: Tensor

    def __init__(
        self,
        features: int,
        entropy: QuadtreeEntropy,
        depth: int = 2,
        lambda_low: float = 0.003,
        lambda_high: float = 0.4,
        reach: int = 64,
        random_share: float = 0.05,
        smallest: int = 8,
        largest: int = 64,
        interpolation: str = "hevc",
    ) -> None:
        super().__init__()
        if not isinstance(entropy, QuadtreeEntropy):
            kind = type(entropy).__name__
            raise CodecError(f"motion.entropy: {kind} given; block_matching needs QuadtreeEntropy")
        if smallest not in SIDES or largest not in SIDES or smallest > largest:
            given = f"motion.smallest: {smallest}, largest: {largest}"
            raise CodecError(f"{given}; choose from {SIDES}, the smallest first")
        if interpolation not in _FILTERS:
            kinds = ", ".join(_FILTERS)
            raise CodecError(f"motion.interpolation: {interpolation!r} given; choose from {kinds}")
        self.entropy, self.references = entropy, entropy.references
        self.features, self.reach, self.random_share = features, reach, random_share
        self.lambdas = LambdaRange(lambda_low, lambda_high)
        self.context = ContextNetwork(features, depth)
        self.register_buffer("filters", _FILTERS[interpolation](), persistent=False)
        self.register_buffer("forbidden", _forbidden(smallest, largest), persistent=False)
        modes = prediction_modes(self.references)
        counts = range(self.references)
        weights = torch.tensor([[(r in used) / len(used) for r in counts] for used in modes])
        self.register_buffer("mode_weights", weights, persistent=False)

    def forward(
        self, frame: Tensor | None, references: References, quality: Tensor, coder: SymbolCoder
    ) -> Context:
        newest, available = references.newest, references.frames[: self.references]
        size = (newest.frame.shape[-2] // CELL, newest.frame.shape[-1] // CELL)
        latent = revise = None
        if coder.encodes and frame is not None:
            shape = newest.frame.new_empty(len(quality), 5, *size)
            random = coder.random(shape) if self.random_share else None
            latent, revise = self.estimate_motion(frame, references, quality, random)
        distances = references.distances[: self.references]
        maps = self.entropy.code(
            "motion",
            latent,
            size=size,
            quality=quality,
            coder=coder,
            previous=newest.motion,
            distances=distances,
            revise=revise,
        )
        warped, features = self.warp(maps, available)
        prediction, features = self.context(warped, features, quality)
        used = used_references(maps[:, 1:2].long(), self.references).repeat_interleave(2, 1)
        moving = ((maps[:, 2:] != 0) & used).any(1, keepdim=True).float()
        return Context(
            prediction=prediction,
            features=features,
            motion=maps,
            warped=warped,
            motion_mask=moving,
            blocks=maps[:, :1].long(),
        )

    @torch.no_grad()
    def estimate_motion(
        self, frame: Tensor, references: References, quality: Tensor, random: Tensor | None = None
    ) -> tuple[Tensor, Revise]:
        """The maps `(B, 2 + 2·R, H / 8, W / 8)` of the best blocks for `frame` `(B, 3, H, W)`, and
        how to revise them.

        `random` `(B, 5, H / 8, W / 8)`: see `search_for`.
        """
        available = references.frames[: self.references]
        last = references.newest.motion
        decisions, search = search_for(
            frame[:, :1].float().contiguous(),
            [reference.frame[:, :1].float().contiguous() for reference in available],
            bit_price=SATD_OF_A_BIT * self.lambdas.at(quality).rsqrt(),
            prices=self.prices(quality, len(available)),
            filters=self.filters,
            planes=[self.planes(reference) for reference in available],
            last=None if last is None else last[:, 2 : 2 + 2 * len(available)].to(torch.int16),
            reach=self.reach,
            random=random,
            random_share=self.random_share,
        )
        pairs = [(used[0], used[-1]) for used in prediction_modes(self.references)]
        count = 2 * len(available)

        def revise(
            level: int, mode: Tensor, vectors: Tensor, means: Tensor, present: Tensor
        ) -> Tensor:
            kept = search.revise(level, pairs, mode, vectors[:, :count], means[:, :count], present)
            return torch.cat([kept, vectors[:, count:]], 1)

        return self.as_maps(decisions, len(available)), revise

    def planes(self, reference: Reference) -> PhasePlanes:
        """The phase planes of a reference, made once for all frames that it may be searched for."""
        if "planes" not in reference.made:
            luma = reference.frame[:, :1].float().contiguous()
            reference.made["planes"] = phase_planes(luma, self.filters)
        return reference.made["planes"]

    def prices(self, quality: Tensor, available: int) -> BlockPrices:
        """What side information is expected to cost at `quality` `(B,)`, of decisions between so
        many references.
        """
        tables = self.entropy.prices.at(quality)
        mode = tables["mode"][..., self._modes(available)]
        mode = mode if available > 1 else torch.zeros_like(mode)
        return BlockPrices(**(tables | {"split": tables["split"] + self.forbidden, "mode": mode}))

    def _modes(self, available: int) -> Tensor:
        """The class, among all, of each mode of so many references."""
        ours = prediction_modes(self.references)
        return torch.tensor(
            [ours.index(used) for used in prediction_modes(available)], device=self.filters.device
        )

    def as_maps(self, decisions: BlockDecisions, available: int) -> Tensor:
        """Decisions over the references that there are, as maps of all that there may be."""
        vectors = decisions.vectors.float()
        missing = vectors.new_zeros(
            len(vectors), 2 * (self.references - available), *vectors.shape[-2:]
        )
        return torch.cat(
            [
                decisions.level.float(),
                self._modes(available)[decisions.mode.long()].float(),
                vectors,
                missing,
            ],
            1,
        )

    def warp(self, maps: Tensor, references: tuple[Reference, ...]) -> tuple[Tensor, Tensor]:
        """Pixels `(B, 3, H, W)` and features `(B, F, H / 8, W / 8)` of `references`, moved and
        mixed as the maps say.
        """
        count = len(references)
        vectors = maps[:, 2 : 2 + 2 * count].int()
        weights = self.mode_weights[maps[:, 1].long(), :count].permute(0, 3, 1, 2).contiguous()
        frames = [reference.frame for reference in references]
        warped = compensate(frames, vectors, weights, block=CELL, filters=self.filters)
        return warped, compensate_features(
            [reference.features for reference in references], vectors, weights
        )


def _bilinear() -> Tensor:
    """As many taps as `luma_filters` has, `(4, 8)`; all but the two in the middle are zero."""
    return nn.functional.pad(bilinear_filters(4), (3, 3))


_FILTERS = {"hevc": luma_filters, "bilinear": _bilinear}


def _forbidden(smallest: int, largest: int) -> Tensor:
    """What is added to the prices of splits, `(3, 2)`, so that only blocks of these sides are
    chosen.
    """
    bits = torch.zeros(3, 2)
    for level, side in enumerate(SIDES[:-1]):
        bits[level, 0] = _FORBIDDEN * (side > largest)
        bits[level, 1] = _FORBIDDEN * (side <= smallest)
    return bits
