"""Scale-space flow: coded displacements that also say how blurred the reference is wanted."""

import torch
from torch import Tensor

from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.base import EntropyNetwork, check_channels
from codec.errors import CodecError
from codec.layers.scale_space import scale_space_warp
from codec.layers.steps import QualitySteps
from codec.layers.transforms import STRIDE, analysis_transform, synthesis_transform
from codec.motion.network import MotionNetwork
from codec.references import Context, References


class ScaleSpaceMotion(MotionNetwork):
    """A network sees both frames and says in a latent where, and how sharp, the reference is to be
    sampled.

    The first reference after an intra frame gets no gradient, as in the paper's training.

    Args:
        entropy: network for the motion latent.
        latent_channels: of the motion latent, at 1/16.
        width: channels of the networks.
        levels, sigma: of the scale space, see `scale_space_warp`.
        gains: quantisation steps learned per quality; False is one rate.

    Raises:
        CodecError: the entropy network is made for another number of channels than
            `latent_channels`, or levels not in 1..5.

    Source: Agustsson et al., *Scale-space flow for end-to-end optimized video compression*, CVPR
    2020.
    """

    def __init__(
        self,
        entropy: EntropyNetwork,
        latent_channels: int = 192,
        width: int = 128,
        levels: int = 5,
        sigma: float = 1.5,
        gains: bool = True,
    ) -> None:
        super().__init__()
        check_channels("motion_entropy", entropy, latent_channels)
        if not 1 <= levels <= 5:
            raise CodecError(
                f"motion.levels: {levels} given; expected 1 to 5, as frames are padded to "
                "multiples of 16"
            )
        self.entropy, self.levels, self.sigma = entropy, levels, sigma
        self.analysis = analysis_transform(2 * 3, width, latent_channels)
        self.synthesis = synthesis_transform(latent_channels, width, 2 + 1)
        self.steps = QualitySteps(latent_channels, coarsest=3.0, finest=0.3, gains=gains)

    def forward(
        self, frame: Tensor | None, references: References, quality: Tensor, coder: SymbolCoder
    ) -> Context:
        newest = references.newest
        reference = newest.frame.detach() if newest.intra else newest.frame
        latent = None
        if coder.encodes and frame is not None:
            latent = self.steps.divide(self.analysis(torch.cat([frame, reference], 1)), quality)
        size = (reference.shape[-2] // STRIDE, reference.shape[-1] // STRIDE)
        prior = {"previous": newest.motion, "previous_quality": newest.quality}
        sent = self.entropy.code("motion", latent, size, quality, coder, **prior)
        prediction = self.predict(sent, reference, quality)
        return Context(prediction=prediction, features=newest.features, motion=sent)

    def predict(self, latent: Tensor, reference: Tensor, quality: Tensor) -> Tensor:
        """`reference` `(B, 3, H, W)` moved as the transmitted latent says."""
        flow = self.synthesis(self.steps.multiply(latent, quality)).float()
        return scale_space_warp(reference, flow, self.levels, self.sigma)
