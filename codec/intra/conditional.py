"""Intra frames in two layers: a quarter of the size first, then the whole, conditional on that."""

from torch import Tensor
from torch.nn import functional as F

from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.base import EntropyNetwork, check_channels
from codec.intra.base import IntraCoder, IntraNetwork
from codec.layers.frames import pad_frames, padded
from codec.motion.base import ContextNetwork
from codec.references import Context, Reference
from codec.residual.base import ResidualNetwork

_FACTOR = 4


class ConditionalIntra(IntraNetwork):
    """Codes a small version of the frame, enlarges it, and codes the rest as a predicted frame's
    residual is coded.

    Args:
        coarse: codes the frame at a quarter of its width and height, under the component
            `intra.coarse`.
        transform: analysis and synthesis of the whole frame, given the enlarged one.
        entropy: network for its latent.
        features: F of the reference state.
        depth: gated blocks that refine what was enlarged.

    Raises:
        CodecError: the entropy network is made for another number of channels than the latent has.

    Source: the Laplacian pyramid of Burt and Adelson, *The Laplacian pyramid as a compact image
    code*, 1983, with conditional instead of residual coding.
    """

    def __init__(
        self,
        coarse: IntraCoder,
        transform: ResidualNetwork,
        entropy: EntropyNetwork,
        features: int,
        depth: int = 1,
    ) -> None:
        super().__init__()
        check_channels("intra_entropy", entropy, transform.latent_channels)
        self.coarse, self.transform, self.entropy, self.features = (
            coarse,
            transform,
            entropy,
            features,
        )
        self.latent_stride = transform.latent_stride
        self.context = ContextNetwork(features, depth)
        magnitude = transform.typical_magnitude(predicted=False)
        if magnitude is not None:
            entropy.start_from(magnitude)

    def forward(
        self, frame: Tensor | None, size: tuple[int, int], quality: Tensor, coder: SymbolCoder
    ) -> Reference:
        context = self.enlarged(frame, size, quality, coder)
        given = None
        if coder.encodes and frame is not None:
            given = self.transform.analyse(frame, context, quality)
        latent_size = (size[0] // self.latent_stride, size[1] // self.latent_stride)
        latent = self.entropy.code("intra", given, latent_size, quality, coder)
        reconstruction, features = self.transform.synthesise(latent, context, quality)
        return Reference(frame=reconstruction, features=features)

    def enlarged(
        self, frame: Tensor | None, size: tuple[int, int], quality: Tensor, coder: SymbolCoder
    ) -> Context:
        """Transmit the small version; the context that it gives for the whole frame."""
        stride = self.coarse.latent_stride
        small = None if frame is None else pad_frames(F.avg_pool2d(frame, _FACTOR), stride)
        small_size = (size[0] // _FACTOR, size[1] // _FACTOR)
        coarse = self.coarse(
            small, (padded(small_size[0], stride), padded(small_size[1], stride)), quality, coder
        )
        picture = coarse.frame[..., : small_size[0], : small_size[1]]
        picture = F.interpolate(picture, size, mode="bilinear", align_corners=False)
        features = coarse.features.new_zeros(
            len(picture), coarse.features.shape[1], size[0] // 8, size[1] // 8
        )
        prediction, features = self.context(picture, features, quality)
        return Context(prediction=prediction, features=features)
