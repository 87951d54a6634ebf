"""Values learned per quality: one codec covers the whole rate range."""

import torch
from torch import Tensor, nn

from codec.quality import QUALITIES


class QualityTable(nn.Module):
    """A value per channel that varies smoothly with quality: learned at a few knots, linear between them.

    Interpolated knots instead of 64 rows: a row is trained by every sample, not by one in 64.

    Args:
        channels: C.
        start: `(C,)` or `(knots, C)` initial values.
        knots: number of learned rows, at least 2.
    """

    def __init__(self, channels: int, start: Tensor, knots: int = 9) -> None:
        super().__init__()
        self.values = nn.Parameter(start.float().expand(knots, channels).clone())

    def forward(self, quality: Tensor) -> Tensor:
        """Values `(B, C, 1, 1)` at `quality` `(B,)`, 0..63."""
        position = quality.to(torch.float32) * ((self.values.shape[0] - 1) / (QUALITIES - 1))
        lower = position.floor().long().clamp(max=self.values.shape[0] - 2)
        share = (position - lower)[:, None]
        row = self.values[lower] * (1 - share) + self.values[lower + 1] * share
        return row[:, :, None, None]


class QualityGain(QualityTable):
    """A positive factor per channel and quality (`exp` of a `QualityTable`).

    Source: Cui et al., *Asymmetric Gained Deep Image Compression With Continuous Rate Adaptation*, CVPR 2021, sec. 3.2.
    """

    def forward(self, quality: Tensor) -> Tensor:
        """Factors `(B, C, 1, 1)` at `quality` `(B,)`."""
        return super().forward(quality).exp()
