"""Block motion as in a standard codec: a quadtree of blocks, several references, quarter pixels, long filters."""

from __future__ import annotations

import torch
from torch import Tensor

from codec.entropy.channel import Channel
from codec.entropy.quadtree import CELL, QuadtreeEntropy, Revise, prediction_modes, used_references
from codec.errors import CodecError
from codec.layers.block_compensation import compensate, compensate_features, luma_filters
from codec.motion.block_search import BlockDecisions, BlockPrices, PhasePlanes, phase_planes, search_for
from codec.motion.network import ContextNetwork, MotionNetwork
from codec.quality import LambdaRange
from codec.references import Context, Reference, References

# SATD is HM's, twice the sum of orthonormal coefficients; measured on choosing clips, docs/results.md
_SATD_OF_A_BIT = 1.6


class BlockMatching(MotionNetwork):
    """Blocks of 64 to 8 pixels, each from one reference or from the average of two, found at the encoder by rate and distortion.

    Vectors are integer quarter pixels; pixels are interpolated by HEVC's eight-tap filters, features bilinearly. What was warped
    is refined by a network.

    Args:
        features: F of a reference.
        entropy: network for the maps, `QuadtreeEntropy`; it says how many references there may be.
        depth: gated blocks of the refinement after warping.
        lambda_low, lambda_high: as the codec's: what a bit may cost in decisions.
        reach: largest displacement in pixels that is searched.

    Raises:
        CodecError: an entropy network of another kind.

    Source: motion compensation of ITU-T H.265, 8.5.3; the refinement is `ContextNetwork`'s.
    """

    made_for = "ycc"  # the search compares lumas

    def __init__(
        self,
        features: int,
        entropy: QuadtreeEntropy,
        depth: int = 2,
        lambda_low: float = 0.003,
        lambda_high: float = 0.4,
        reach: int = 64,
    ) -> None:
        super().__init__()
        if not isinstance(entropy, QuadtreeEntropy):
            raise CodecError(f"motion.entropy: {type(entropy).__name__} given; block_matching needs QuadtreeEntropy")
        self.entropy, self.references = entropy, entropy.references
        self.features, self.reach = features, reach
        self.lambdas = LambdaRange(lambda_low, lambda_high)
        self.context = ContextNetwork(features, depth)
        self.register_buffer("filters", luma_filters(), persistent=False)
        modes = prediction_modes(self.references)
        weights = torch.tensor([[(r in used) / len(used) for r in range(self.references)] for used in modes])
        self.register_buffer("mode_weights", weights, persistent=False)

    def forward(self, frame: Tensor | None, references: References, quality: Tensor, channel: Channel) -> Context:
        newest, available = references.newest, references.frames[: self.references]
        latent, revise = self.estimate_motion(frame, references, quality) if channel.sends else (None, None)
        size = tuple(side // CELL for side in newest.frame.shape[-2:])
        distances = references.distances[: self.references]
        maps = self.entropy.transmit("motion", latent, size, quality, channel, newest.motion, distances, revise)
        warped, features = self.warp(maps, available)
        prediction, features = self.context(warped, features, quality)
        used = used_references(maps[:, 1:2].long(), self.references).repeat_interleave(2, 1)
        moving = ((maps[:, 2:] != 0) & used).any(1, keepdim=True).float()
        return Context(prediction=prediction, features=features, motion=maps, warped=warped, motion_mask=moving)

    @torch.no_grad()
    def estimate_motion(self, frame: Tensor, references: References, quality: Tensor) -> tuple[Tensor, Revise]:
        """The maps `(B, 2 + 2·R, H / 8, W / 8)` of the best blocks for `frame` `(B, 3, H, W)`, and how to revise them."""
        available = references.frames[: self.references]
        last = references.newest.motion
        decisions, search = search_for(
            frame[:, :1].float().contiguous(),
            [reference.frame[:, :1].float().contiguous() for reference in available],
            bit_price=_SATD_OF_A_BIT * self.lambdas.at(quality).rsqrt(),
            prices=self.prices(quality, len(available)),
            filters=self.filters,
            planes=[self.planes(reference) for reference in available],
            last=None if last is None else last[:, 2 : 2 + 2 * len(available)].to(torch.int16),
            reach=self.reach,
        )
        pairs = [(used[0], used[-1]) for used in prediction_modes(self.references)]
        count = 2 * len(available)

        def revise(level: int, mode: Tensor, vectors: Tensor, means: Tensor, present: Tensor) -> Tensor:
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
        """What side information is expected to cost at `quality` `(B,)`, of decisions between so many references."""
        tables = self.entropy.prices.at(quality)
        mode = tables["mode"][..., self._modes(available)]
        return BlockPrices(**(tables | {"mode": mode if available > 1 else torch.zeros_like(mode)}))

    def _modes(self, available: int) -> Tensor:
        """The class, among all, of each mode of so many references."""
        ours = prediction_modes(self.references)
        return torch.tensor([ours.index(used) for used in prediction_modes(available)], device=self.filters.device)

    def as_maps(self, decisions: BlockDecisions, available: int) -> Tensor:
        """Decisions over the references that there are, as maps of all that there may be."""
        vectors = decisions.vectors.float()
        missing = vectors.new_zeros(len(vectors), 2 * (self.references - available), *vectors.shape[-2:])
        return torch.cat([decisions.level.float(), self._modes(available)[decisions.mode.long()].float(), vectors, missing], 1)

    def warp(self, maps: Tensor, references: tuple[Reference, ...]) -> tuple[Tensor, Tensor]:
        """Pixels `(B, 3, H, W)` and features `(B, F, H / 8, W / 8)` of `references`, moved and mixed as the maps say."""
        count = len(references)
        vectors = maps[:, 2 : 2 + 2 * count].int()
        weights = self.mode_weights[maps[:, 1].long(), :count].permute(0, 3, 1, 2).contiguous()
        frames = [reference.frame for reference in references]
        warped = compensate(frames, vectors, weights, block=CELL, filters=self.filters)
        return warped, compensate_features([reference.features for reference in references], vectors, weights)
