"""Quantisation steps that are learned per channel and quality: what turns a fixed-rate codec into a
variable-rate one.
"""

import torch
from torch import Tensor, nn

from codec.layers.gain import KNOTS, QualityGain
from codec.quality import QUALITIES, log_interpolate


class QualitySteps(nn.Module):
    """A gain before quantisation and its own inverse after, both per channel and quality.

    Args:
        channels: C of the latent.
        coarsest, finest: the steps that quality 0 and 63 start with, in units of the latent.
        beside: further channels that are in quantisation steps already and only need the inverse.
        gains: False leaves latents as they are: one rate.

    Source: Cui et al., *Asymmetric Gained Deep Image Compression With Continuous Rate Adaptation*,
    CVPR 2021, sec. 3.2.
    """

    def __init__(
        self, channels: int, coarsest: float, finest: float, gains: bool = True, beside: int = 0
    ) -> None:
        super().__init__()
        steps = log_interpolate(coarsest, finest, torch.linspace(0, QUALITIES - 1, KNOTS))[:, None]
        self.channels, self.beside = channels, beside
        self.encoder = QualityGain(channels, -steps.log()) if gains else None
        self.decoder = QualityGain(channels + beside, steps.log()) if gains else None

    def divide(self, latent: Tensor, quality: Tensor) -> Tensor:
        """`(B, C, h, w)` in units of the network -> the same in quantisation steps of `quality`
        `(B,)`, float32.
        """
        return latent.float() if self.encoder is None else latent.float() * self.encoder(quality)

    def multiply(self, latent: Tensor, quality: Tensor) -> Tensor:
        """Back from quantisation steps; the channels `beside` come last."""
        return latent if self.decoder is None else latent * self.decoder(quality)

    def factors(self, quality: Tensor) -> tuple[Tensor, Tensor]:
        """What `divide` and `multiply` multiply with, `(B, C, 1, 1)` and `(B, C +
        beside, 1, 1)`.
        """
        one = torch.ones(len(quality), self.channels + self.beside, 1, 1, device=quality.device)
        return self.divide(one[:, : self.channels], quality), self.multiply(one, quality)

    def neutralise(self) -> None:
        """Make all steps one, as in a fixed-rate codec."""
        with torch.no_grad():
            for value in self.state_dict().values():
                value.zero_()
