"""Frame minus prediction, pixel by pixel, through a learned transform."""

import torch
from torch import Tensor

from codec.errors import CodecError
from codec.layers.compressai import STRIDE, analysis_transform, synthesis_transform
from codec.layers.quality import QualitySteps
from codec.references import Context
from codec.residual.base import ResidualNetwork


class PixelResidual(ResidualNetwork):
    """Codes the difference between frame and prediction; the synthesis may see the transmitted
    motion too.

    It leaves no features: those of the next state are zero.

    Args:
        latent_channels: C.
        width: channels of the networks.
        motion_channels: of the transmitted motion at 1/16 that the synthesis sees beside the
            latent; 0 for none.
        activation: `relu` or `gdn`.
        gains: quantisation steps learned per quality; False is one rate.
        zero: start with a residual of zero, for codecs that otherwise start as a copy of the last
            frame.

    Raises:
        CodecError: an unknown activation; when used, motion with other than `motion_channels`.

    Source: Agustsson et al., *Scale-space flow*, CVPR 2020 (`relu`, with motion); Lu et al., *DVC*,
    CVPR 2019 (`gdn`).
    """

    latent_stride = STRIDE

    def __init__(
        self,
        latent_channels: int = 192,
        width: int = 128,
        motion_channels: int = 0,
        activation: str = "relu",
        gains: bool = True,
        zero: bool = False,
    ) -> None:
        super().__init__()
        self.latent_channels, self.motion_channels = latent_channels, motion_channels
        self.analysis = analysis_transform(3, width, latent_channels, activation)
        self.synthesis = synthesis_transform(
            latent_channels + motion_channels, width, 3, activation, zero
        )
        self.steps = QualitySteps(
            latent_channels, coarsest=3.0, finest=0.3, gains=gains, beside=motion_channels
        )

    def analyse(self, frame: Tensor, context: Context, quality: Tensor) -> Tensor:
        return self.steps.divide(self.analysis(frame - context.prediction), quality)

    def synthesise(
        self, latent: Tensor, context: Context, quality: Tensor
    ) -> tuple[Tensor, Tensor]:
        known = torch.cat([latent, self._motion(context)], 1) if self.motion_channels else latent
        residual = self.synthesis(self.steps.multiply(known, quality)).float()
        return context.prediction + residual, torch.zeros_like(context.features)

    def _motion(self, context: Context) -> Tensor:
        came = 0 if context.motion is None else context.motion.shape[1]
        if context.motion is None or came != self.motion_channels:
            raise CodecError(
                f"residual.motion_channels: {self.motion_channels} given, but the motion network "
                f"sends {came}; make them equal"
            )
        return context.motion
