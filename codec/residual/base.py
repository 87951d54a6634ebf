"""What every residual network offers."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.base import EntropyNetwork, check_channels
from codec.entropy.models.levels import LevelEntropy
from codec.errors import CodecError
from codec.references import Context, Reference


class ResidualCoder(nn.Module, ABC):
    """Codes a frame, given its context, with the help of an entropy network.

    Attributes:
        latent_channels: C.
        latent_stride: pixels a latent position.
        made_for: colours that it needs, of `codec.layers.frames.COLOURS`; None: any.
        features: F of the features that it makes and expects; None: any number.
    """

    latent_channels: int
    latent_stride: int
    made_for: str | None = None
    features: int | None = None

    @abstractmethod
    def code(
        self,
        frame: Tensor | None,
        context: Context,
        newest: Reference,
        quality: Tensor,
        coder: SymbolCoder,
        entropy: EntropyNetwork,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Code one frame.

        Args:
            frame: `(B, 3, H, W)` padded, in the codec's colours; None on the receiving side.
            context: what the motion network offers.
            newest: the reference whose latent is a prior.
            quality: `(B,)` indices 0..63.
            coder: where the bits go, as `residual` and kinds of it.
            entropy: network for the latent.

        Returns:
            The latent `(B, C, H / stride, W / stride)` as the receiving side has it, the
            reconstruction `(B, 3, H, W)` float32, and features `(B, F, H / 8, W / 8)`.
        """

    def prepare_entropy(self, entropy: EntropyNetwork) -> None:
        """Let an entropy network start from what latents are expected to be.

        Raises:
            CodecError: it is not one that `code` can use.
        """
        check_channels("entropy", entropy, self.latent_channels)
        magnitude = self.typical_magnitude(predicted=True)
        if magnitude is not None:
            entropy.start_from(magnitude)

    def typical_magnitude(self, predicted: bool) -> Tensor | None:
        """`(knots, C)` mean magnitudes of latents to expect before training, or None where that
        cannot be said.
        """
        return None


class ResidualNetwork(ResidualCoder):
    """Analysis and synthesis of a frame, given its context. Both are plain networks: no coder,
    tensors in and out.
    """

    def prepare_entropy(self, entropy: EntropyNetwork) -> None:
        if isinstance(entropy, LevelEntropy):
            raise CodecError(
                "entropy: LevelEntropy given; it codes blocks of block_transform alone "
                "(entropy=checkerboard)"
            )
        super().prepare_entropy(entropy)

    @abstractmethod
    def analyse(self, frame: Tensor, context: Context, quality: Tensor) -> Tensor:
        """`frame` `(B, 3, H, W)`, `quality` `(B,)` -> latent `(B, C, H / stride, W / stride)` in
        quantisation steps.
        """

    @abstractmethod
    def synthesise(
        self, latent: Tensor, context: Context, quality: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The transmitted latent -> reconstruction `(B, 3, H, W)` float32 and features `(B, F, H /
        8, W / 8)`.
        """

    def code(
        self,
        frame: Tensor | None,
        context: Context,
        newest: Reference,
        quality: Tensor,
        coder: SymbolCoder,
        entropy: EntropyNetwork,
    ) -> tuple[Tensor, Tensor, Tensor]:
        given = None
        if coder.encodes and frame is not None:
            given = self.analyse(frame, context, quality)
        height, width = context.prediction.shape[-2:]
        latent = entropy.code(
            "residual",
            given,
            size=(height // self.latent_stride, width // self.latent_stride),
            quality=quality,
            coder=coder,
            previous=newest.latent,
            previous_quality=newest.quality,
        )
        return latent, *self.synthesise(latent, context, quality)
