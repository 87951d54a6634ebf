"""Values learned per quality: one codec covers the whole rate range.

Tables interpolated between a few knots, gains, quantisation steps; and what follows from parameters
alone computed once for all frames of a training step.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from codec.quality import QUALITIES, log_interpolate

KNOTS = 9
_UNIT = 8.0


class Once:
    """A module that can keep what it makes of its parameters."""

    _made: dict[tuple[int, ...], tuple[Any, Tensor]] | None = None

    def once(self, make: Callable[[], Tensor], *of: Any) -> Tensor:
        """What `make` makes `of` some objects; within `computed_once` once of the same objects."""
        if self._made is None:
            return make()
        key = torch.is_grad_enabled(), *map(id, of)  # without gradients it has no history
        if key not in self._made:
            self._made[key] = of, make()  # they are kept, or others could get their identities
        return self._made[key][1]


@contextmanager
def computed_once(network: nn.Module) -> Iterator[None]:
    """Let modules keep what they make, its history for gradients too; parameters must
    not change.
    """
    modules = [module for module in network.modules() if isinstance(module, Once)]
    for module in modules:
        module._made = {}
    try:
        yield
    finally:
        for module in modules:
            module._made = None


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
