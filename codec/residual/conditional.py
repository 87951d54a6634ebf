"""Residual coding conditional on the context: a block DCT that works untrained, and networks beside
it that learn.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.errors import CodecError
from codec.layers.assemble import add_gated_patches, add_patches
from codec.layers.blocks import Network, downward, pointwise, stack, upward
from codec.layers.dct import BlockTransform, typical_magnitude
from codec.layers.quality import QualityGain, QualityTable, step_ladder
from codec.references import Context
from codec.residual.base import ResidualNetwork


class Analysis(Network):
    """What the networks add to the linear analysis, `(B, C, H / 16, W / 16)` in quantisation steps;
    zero at the start.
    """

    def __init__(self, features: int, channels: int, depth: int) -> None:
        super().__init__()
        self.pixels = downward(6, features, 8)
        self.context = pointwise(features, features)
        self.quality = QualityTable(features, torch.zeros(features))
        self.blocks = stack(features, depth)
        self.head = downward(features, channels, 2, zero=True)

    def forward(
        self, frame: Tensor, prediction: Tensor, features: Tensor, quality: Tensor
    ) -> Tensor:
        pixels = self.pixels(self.cast(frame - prediction), self.cast(prediction))
        known = pixels + self.context(self.cast(features)) + self.cast(self.quality(quality))
        return self.head(self.blocks(known))


class Synthesis(Network):
    """What the networks add to the linear synthesis, in quantisation steps, and the features for
    later.

    It comes as patches `(B, 3·8², H / 8, W / 8)` for `codec.layers.assemble`.
    """

    def __init__(self, features: int, channels: int, depth: int) -> None:
        super().__init__()
        self.latent = upward(channels, features, 2)
        self.pixels = downward(3, features, 8)
        self.context = pointwise(features, features)
        self.quality = QualityTable(features, torch.zeros(features))
        self.blocks = stack(features, depth)
        self.head = upward(features, 3, 8, zero=True)

    def forward(
        self, latent: Tensor, linear: Tensor, features: Tensor, quality: Tensor
    ) -> tuple[Tensor, Tensor]:
        known = (
            self.latent(self.cast(latent))
            + self.pixels(self.cast(linear))
            + self.context(self.cast(features))
        )
        features = self.blocks(known + self.cast(self.quality(quality)))
        return self.head[0](features), features


class ConditionalResidual(ResidualNetwork):
    """Frame minus prediction through a linear block transform, plus networks that see prediction
    and features.

    Quantisation steps are gains learned per channel and quality; they start at the step that suits
    the lambda. What the networks add is measured in steps too: at high quality there is little to
    add, and little that can go wrong.

    Args:
        features: F of the context.
        transform: the linear path; its block is 16 pixels, so that latents lie at 1/16.
        depth: gated blocks at 1/8 in analysis and in synthesis.
        finest, coarsest: initial quantisation step at quality 63 and 0, in grey levels of 255.
        skip: keep static content for which nothing is coded (`skip_gate`).

    Source: conditional coding after Li et al., *Deep Contextual Video Compression*, NeurIPS 2021;
    the linear path is ours.
    """

    latent_stride, made_for = 16, "ycc"
    start_steps: Tensor

    def __init__(
        self,
        features: int,
        transform: BlockTransform,
        depth: int = 3,
        finest: float = 8.0,
        coarsest: float = 90.0,
        skip: bool = False,
    ) -> None:
        super().__init__()
        if transform.block != self.latent_stride:
            raise CodecError(
                f"residual.transform.block: {transform.block} given; expected {self.latent_stride}"
            )
        self.features, self.latent_channels, self.skip = features, transform.channels, skip
        self.transform = transform
        self.analysis = Analysis(features, transform.channels, depth)
        self.synthesis = Synthesis(features, transform.channels, depth)
        self.register_buffer("start_steps", step_ladder(coarsest, finest), persistent=False)
        self.encoder_gain = QualityGain(transform.channels, -self.start_steps.log())
        self.decoder_gain = QualityGain(transform.channels, self.start_steps.log())
        self.correction_gain = QualityGain(1, self.start_steps.log())

    def analyse(self, frame: Tensor, context: Context, quality: Tensor) -> Tensor:
        linear = self.transform.analyse(frame - context.prediction)
        learned = self.analysis(frame, context.prediction, context.features, quality)
        return linear * self.encoder_gain(quality) + learned.float()

    def synthesise(
        self, latent: Tensor, context: Context, quality: Tensor
    ) -> tuple[Tensor, Tensor]:
        blocks = self.transform.synthesise(latent * self.decoder_gain(quality))
        linear = add_patches(context.prediction, blocks)
        learned, features = self.synthesis(latent, linear, context.features, quality)
        gain = self.correction_gain(quality)
        gate = skip_gate(latent, context) if self.skip else None
        if gate is None or context.warped is None:
            return add_patches(linear, learned, gain), features
        return add_gated_patches(linear, learned, gain, context.warped, gate), features

    def typical_magnitude(self, predicted: bool) -> Tensor:
        coefficients = typical_magnitude(
            self.transform.block, self.transform.luma, self.transform.chroma, predicted
        )
        return coefficients[None] / self.start_steps


def skip_gate(latent: Tensor, context: Context) -> Tensor | None:
    """Where a reconstruction is let through: where something moves or something was coded.
        Elsewhere the last frame stays.

    Without it the networks' corrections add up, frame after frame, where nothing happens: that
    drifts or costs bits. The gate costs no bits: both sides know what it is made of, the
    transmitted motion and the latent. Expected values alone, which are below half a step where no
    symbol is coded, do not open it.

    Args:
        latent: `(B, C, h, w)` transmitted, in quantisation steps.
        context: with `warped` and `motion_mask` `(B, 1, h', w')`; without them there is nothing to
            keep.

    Returns:
        `(B, 1, h, w)` in 0..1, or None: nothing to keep.
    """
    if context.warped is None or context.motion_mask is None:
        return None
    coded = (2 * latent.abs().amax(1, keepdim=True) - 1).clamp(0, 1)
    moving = F.adaptive_max_pool2d(context.motion_mask, coded.shape[-2:])
    return F.max_pool2d(torch.maximum(coded, moving.to(coded)), 3, stride=1, padding=1)
