"""What every intra coder offers, and the plain one: a residual network with nothing to predict
from.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.base import EntropyNetwork, check_channels
from codec.layers.frames import padded
from codec.references import Context, Reference
from codec.residual.base import ResidualNetwork


class IntraNetwork(nn.Module, ABC):
    """Codes a frame by itself.

    Attributes:
        latent_stride: frames are padded to multiples of so many pixels.
        made_for: colours that it needs, of `codec.layers.frames.COLOURS`; None: any.
        features: F of the features that it makes; None: any number.
    """

    latent_stride: int
    made_for: str | None = None
    features: int | None = None

    @abstractmethod
    def forward(
        self, frame: Tensor | None, size: tuple[int, int], quality: Tensor, coder: SymbolCoder
    ) -> Reference:
        """Code one frame.

        Args:
            frame: `(B, 3, H, W)` padded, in the codec's colours; None on the receiving side.
            size: `(H, W)`.
            quality: `(B,)` indices 0..63.
            coder: where the bits go.

        Returns:
            What the next frame is predicted from.
        """


class IntraCoder(IntraNetwork):
    """A residual network with nothing to predict from, and its entropy network.

    Args:
        transform: analysis and synthesis, given a mid-grey prediction and empty features.
        entropy: network for its latent.
        features: F of the reference state.
        component: whose bits these are.

    Raises:
        CodecError: the entropy network is made for another number of channels than the latent has.
    """

    features: int

    def __init__(
        self,
        transform: ResidualNetwork,
        entropy: EntropyNetwork,
        features: int,
        component: str = "intra",
    ) -> None:
        super().__init__()
        check_channels("intra_entropy", entropy, transform.latent_channels)
        self.transform, self.entropy, self.features, self.component = (
            transform,
            entropy,
            features,
            component,
        )
        self.latent_stride = transform.latent_stride
        magnitude = transform.typical_magnitude(predicted=False)
        if magnitude is not None:
            entropy.start_from(magnitude)

    def forward(
        self, frame: Tensor | None, size: tuple[int, int], quality: Tensor, coder: SymbolCoder
    ) -> Reference:
        context = self.empty_context(len(quality), size, quality.device)
        given = None
        if coder.encodes and frame is not None:
            given = self.transform.analyse(frame, context, quality)
        stride = self.transform.latent_stride
        latent_size = (padded(size[0], stride) // stride, padded(size[1], stride) // stride)
        latent = self.entropy.code(self.component, given, latent_size, quality, coder)
        reconstruction, features = self.transform.synthesise(latent, context, quality)
        return Reference(frame=reconstruction, features=features)

    def empty_context(self, batch: int, size: tuple[int, int], device: torch.device) -> Context:
        """Mid-grey pixels and zero features."""
        return Context(
            prediction=torch.zeros(batch, 3, *size, device=device),
            features=torch.zeros(batch, self.features, size[0] // 8, size[1] // 8, device=device),
        )
