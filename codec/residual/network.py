"""What every residual network offers."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from codec.references import Context


class ResidualNetwork(nn.Module, ABC):
    """Analysis and synthesis of a frame, given its context. Both are plain networks: no channel, tensors in and out.

    Attributes:
        latent_channels: C.
        latent_stride: pixels a latent position.
        made_for: colours that it needs, of `codec.layers.frames.COLOURS`; None: any.
    """

    latent_channels: int
    latent_stride: int
    made_for: str | None = None

    @abstractmethod
    def analyse(self, frame: Tensor, context: Context, quality: Tensor) -> Tensor:
        """`frame` `(B, 3, H, W)`, `quality` `(B,)` -> latent `(B, C, H / stride, W / stride)` in quantisation steps."""

    @abstractmethod
    def synthesise(self, latent: Tensor, context: Context, quality: Tensor) -> tuple[Tensor, Tensor]:
        """The transmitted latent -> reconstruction `(B, 3, H, W)` float32 and features `(B, F, H / 8, W / 8)`."""

    def typical_magnitude(self, predicted: bool) -> Tensor | None:
        """`(knots, C)` mean magnitudes of latents to expect before training, or None where that cannot be said."""
        return None
