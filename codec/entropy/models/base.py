"""What every entropy network offers."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.errors import CodecError

# Latents of so few channels (motion) get networks a third as wide.
FEW_CHANNELS = 64


class EntropyNetwork(nn.Module, ABC):
    """Says how a latent is distributed, and codes it.

    Attributes:
        channels: of the latents that it is made for.
        exact: what selects a symbol's table, and its mean, comes from integers by exact
            arithmetic: the same on every machine. False: from floating point, which rounds
            differently elsewhere.
    """

    channels: int
    exact: bool = False

    @abstractmethod
    def code(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        coder: SymbolCoder,
        previous: Tensor | None = None,
        previous_quality: Tensor | None = None,
    ) -> Tensor:
        """Send or receive one latent.

        Args:
            component: whose bits these are; hyper-latents go under `component.hyper`.
            latent: `(B, C, h, w)` on the sending side, None on the receiving side.
            size: `(h, w)`, known to both.
            quality: `(B,)` indices 0..63.
            coder: where it goes to or comes from.
            previous: what the last predicted frame's `code` returned, known to both sides, or
                None; for temporal priors.
            previous_quality: `(B,)` indices 0..63 that `previous` was coded at, or None: not said.
                Networks may ignore it.

        Returns:
            y_hat `(B, C, h, w)` float32, the same on both sides.
        """

    def start_from(self, magnitude: Tensor) -> None:
        """Set the initial scales from `(knots, C)` expected mean magnitudes of the latents, in
        quantisation steps.
        """


def check_channels(part: str, entropy: EntropyNetwork, channels: int) -> None:
    """Raise CodecError where the entropy network of `part` is made for another number of latent
    channels.
    """
    if entropy.channels != channels:
        raise CodecError(
            f"{part}.channels: {entropy.channels} given, but the latent has {channels}; make them "
            "equal"
        )


def network_sizes(channels: int, hyper: int, width: int) -> tuple[int, int]:
    """Channels of the hyper-latent and width of the networks: smaller ones for few latent channels,
    as motion has.
    """
    return (
        (hyper, width) if channels > FEW_CHANNELS else (max(hyper // 2, 1), max(width // 24 * 8, 8))
    )
