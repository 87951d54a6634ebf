"""A small learned flow, coded at a low resolution, that warps features and pixels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.base import EntropyNetwork, check_channels
from codec.layers.blocks import Network, downward, pointwise, stack, upward
from codec.layers.quality import QualityGain
from codec.layers.warping import warp
from codec.motion.base import ContextNetwork, MotionNetwork
from codec.references import Context, Reference, References

_FEATURE_STRIDE, _LATENT_STRIDE = 8, 16
_LARGEST = 8.0  # feature positions: 64 pixels


class FlowAnalysis(Network):
    """Frame, reference `(B, 3, H, W)` and features -> motion latent `(B, M, H / 16, W / 16)`."""

    def __init__(self, features: int, channels: int, depth: int) -> None:
        super().__init__()
        self.pixels = downward(6, features, _FEATURE_STRIDE)
        self.context = pointwise(features, features)
        self.blocks = stack(features, depth)
        self.head = downward(features, channels, 2)

    def forward(self, frame: Tensor, reference: Tensor, features: Tensor) -> Tensor:
        pixels = self.pixels(self.cast(torch.cat([frame, reference], 1)))
        return self.head(self.blocks(pixels + self.context(self.cast(features))))


class FlowSynthesis(Network):
    """Motion latent -> flow `(B, 2, H / 8, W / 8)` in feature positions, within ±8; zero at the
    start.
    """

    def __init__(self, features: int, channels: int, depth: int) -> None:
        super().__init__()
        self.latent = upward(channels, features, 2)
        self.blocks = stack(features, depth)
        self.head = pointwise(features, 2, zero=True)

    def forward(self, latent: Tensor) -> Tensor:
        return _LARGEST * torch.tanh(
            self.head(self.blocks(self.latent(self.cast(latent)))).float() / _LARGEST
        )


class FeatureFlow(MotionNetwork):
    """Networks find the motion, code it as a latent at 1/16, and turn it into a flow at 1/8.

    Args:
        features: F of the reference state.
        entropy: network for the motion latent.
        latent_channels: M.
        depth: gated blocks in analysis, synthesis and the refinement after warping.

    Raises:
        CodecError: the entropy network is made for another number of channels.

    Source: feature-space motion compensation after Hu et al., *FVC: A New Framework towards Deep
    Video Compression in Feature Space*, CVPR 2021, with one flow in place of deformable kernels.
    """

    def __init__(
        self, features: int, entropy: EntropyNetwork, latent_channels: int = 32, depth: int = 2
    ) -> None:
        super().__init__()
        check_channels("motion_entropy", entropy, latent_channels)
        self.entropy = entropy
        self.analysis = FlowAnalysis(features, latent_channels, depth)
        self.synthesis = FlowSynthesis(features, latent_channels, depth)
        self.encoder_gain = QualityGain(latent_channels, torch.zeros(latent_channels))
        self.decoder_gain = QualityGain(latent_channels, torch.zeros(latent_channels))
        self.features = features
        self.context = ContextNetwork(features, depth)

    def forward(
        self, frame: Tensor | None, references: References, quality: Tensor, coder: SymbolCoder
    ) -> Context:
        reference, latent = references.newest, None
        if coder.encodes:
            latent = self.analysis(
                frame, reference.frame, reference.features
            ).float() * self.encoder_gain(quality)
        height, width = reference.frame.shape[-2:]
        size = (height // _LATENT_STRIDE, width // _LATENT_STRIDE)
        prior = {"previous": reference.motion, "previous_quality": reference.quality}
        sent = self.entropy.code("motion", latent, size, quality, coder, **prior)
        warped, features = self.warp(self.synthesis(sent * self.decoder_gain(quality)), reference)
        prediction, features = self.context(warped, features, quality)
        return Context(prediction=prediction, features=features, motion=sent)

    @staticmethod
    def warp(flow: Tensor, reference: Reference) -> tuple[Tensor, Tensor]:
        """Frame and features of `reference`, warped by `flow` `(B, 2, H / 8, W / 8)` in feature
        positions.
        """
        pixels = (
            F.interpolate(flow, reference.frame.shape[-2:], mode="bilinear", align_corners=False)
            * _FEATURE_STRIDE
        )
        return warp(reference.frame, pixels), warp(reference.features, flow)
