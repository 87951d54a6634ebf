"""Values learned per quality: one codec covers the whole rate range."""

import torch
from torch import Tensor, nn

from codec.layers.once import Once
from codec.quality import QUALITIES, log_interpolate

KNOTS = 9
_UNIT = 8.0


class QualityTable(Once, nn.Module):
    """A value per channel that varies smoothly with quality: learned at a few knots, linear between
        them.

    Interpolated knots instead of 64 rows: a row is trained by every sample, not by one in 64. What
    is learned is the distance to the start, in a unit large enough that an optimizer's small steps
    can cross it in a few hundred updates.

    Args:
        channels: C.
        start: `(C,)` or `(KNOTS, C)` initial values.
    """

    start: Tensor

    def __init__(self, channels: int, start: Tensor) -> None:
        super().__init__()
        self.register_buffer("start", start.float().expand(KNOTS, channels).clone())
        self.moved = nn.Parameter(torch.zeros(KNOTS, channels))

    def knots(self) -> Tensor:
        """Values `(KNOTS, C)`, evenly spaced over quality."""
        return self.start + _UNIT * self.moved

    def forward(self, quality: Tensor) -> Tensor:
        """Values `(B, C, 1, 1)` at `quality` `(B,)`, 0..63."""
        return self.once(lambda: self.values_at(quality), quality)

    def values_at(self, quality: Tensor) -> Tensor:
        """As `forward`, computed anew."""
        values = self.knots()
        position = quality.to(torch.float32) * ((KNOTS - 1) / (QUALITIES - 1))
        lower = position.floor().long().clamp(max=KNOTS - 2)
        share = (position - lower)[:, None]
        row = values[lower] * (1 - share) + values[lower + 1] * share
        return row[:, :, None, None]


class QualityGain(QualityTable):
    """A positive factor per channel and quality (`exp` of a `QualityTable`).

    Source: Cui et al., *Asymmetric Gained Deep Image Compression With Continuous Rate Adaptation*,
    CVPR 2021, sec. 3.2.
    """

    def values_at(self, quality: Tensor) -> Tensor:
        """Factors `(B, C, 1, 1)` at `quality` `(B,)`."""
        return super().values_at(quality).exp()


def step_ladder(coarsest: float, finest: float) -> Tensor:
    """Quantisation steps `(KNOTS, 1)` from quality 0 to 63 for frames in -0.5..0.5; the ends are in
    grey levels of 255.
    """
    return log_interpolate(coarsest, finest, torch.linspace(0, QUALITIES - 1, KNOTS))[:, None] / 255
