"""Motion networks to measure others against: no motion, none sent, and one vector a block."""

import torch
from torch import Tensor

from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.base import EntropyNetwork, check_channels
from codec.errors import CodecError
from codec.layers.quality import QualityGain
from codec.layers.warping import block_warp
from codec.motion.base import ContextNetwork, MotionNetwork
from codec.motion.block_motion_estimation import block_search
from codec.quality import log_interpolate
from codec.references import Context, References

_FEATURE_STRIDE = 8
# Pixels: blocks that move by less stand still; no sixteenth of a quarter pixel is so near that
# rounding decides.
STILL = 0.13
_BLOCKS = (8, 16)  # whole features, and frames are padded to 16


class StillMotion(MotionNetwork):
    """Predicts that nothing changes: the last frame and its features, as they are."""

    def forward(
        self, frame: Tensor | None, references: References, quality: Tensor, coder: SymbolCoder
    ) -> Context:
        return Context(prediction=references.newest.frame, features=references.newest.features)


class ImplicitMotion(MotionNetwork):
    """The last frame, and features that a network has looked over.

    Args:
        features: F of the reference state.
        depth: gated blocks.

    Source: Jia et al., *Towards Practical Real-Time Neural Video Compression*, CVPR 2025, sec. 3.1.
    """

    def __init__(self, features: int, depth: int = 2) -> None:
        super().__init__()
        self.features = features
        self.context = ContextNetwork(features, depth)

    def forward(
        self, frame: Tensor | None, references: References, quality: Tensor, coder: SymbolCoder
    ) -> Context:
        reference = references.newest
        prediction, features = self.context(reference.frame, reference.features, quality)
        return Context(prediction=prediction, features=features)


class FixedBlockMatching(MotionNetwork):
    """Block motion, one vector a `block`, found by `block_search` against the reconstruction of the
    last frame.

    Vectors are coded in units that are learned per quality (a quarter of a pixel at the start) and
    rounded by the coder.

    Args:
        features: F of the reference state.
        entropy: network for the 2-channel motion latent.
        block: side of a block.
        depth: gated blocks of the refinement after warping.
        cheapest, dearest: cost of a bit of motion in the search at quality 63 and 0, in grey levels
            of 255.

    Raises:
        CodecError: a block that is not 8 or 16, or an entropy network for another number of
            channels.
    """

    made_for = "ycc"  # the search compares lumas

    def __init__(
        self,
        features: int,
        entropy: EntropyNetwork,
        block: int = 16,
        depth: int = 2,
        cheapest: float = 4.0,
        dearest: float = 40.0,
    ) -> None:
        super().__init__()
        if block not in _BLOCKS:
            raise CodecError(f"motion.block: {block} given; choose from {_BLOCKS}")
        check_channels("motion_entropy", entropy, 2)
        self.entropy = entropy
        self.features = features
        self.context = ContextNetwork(features, depth)
        self.fineness = QualityGain(2, torch.full((2,), 4.0).log())
        self.block, self.cheapest, self.dearest = block, cheapest, dearest

    def forward(
        self, frame: Tensor | None, references: References, quality: Tensor, coder: SymbolCoder
    ) -> Context:
        reference = references.newest
        latent = None
        if coder.encodes and frame is not None:
            latent = self.estimate_motion(frame, reference.frame, quality)
        size = (reference.frame.shape[-2] // self.block, reference.frame.shape[-1] // self.block)
        prior = {"previous": reference.motion, "previous_quality": reference.quality}
        sent = self.entropy.code("motion", latent, size, quality, coder, **prior)
        field = sent / self.fineness(quality)
        moving = (field.abs() >= STILL).any(1, keepdim=True).float()
        warped, features = self.warp(field * moving, reference.frame, reference.features)
        prediction, features = self.context(warped, features, quality)
        return Context(
            prediction=prediction, features=features, motion=sent, warped=warped, motion_mask=moving
        )

    def estimate_motion(self, frame: Tensor, reference: Tensor, quality: Tensor) -> Tensor:
        """The motion latent `(B, 2, h, w)`: vectors in coded units."""
        penalty = log_interpolate(self.dearest, self.cheapest, quality) / 255
        field = block_search(
            frame[:, :1].float(), reference[:, :1].detach().float(), self.block, penalty
        )
        return field * self.fineness(quality)

    def warp(self, field: Tensor, frame: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Warp `frame` `(B, 3, H, W)` and `features` `(B, F, H / 8, W / 8)` by a vector a block, in
        pixels of the frame.
        """
        warped = block_warp(frame, field, self.block)
        return warped, block_warp(features, field / _FEATURE_STRIDE, self.block // _FEATURE_STRIDE)
