"""No motion bits: the decoder's own features say what moves."""

from torch import Tensor

from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.motion.network import ContextNetwork, MotionNetwork
from codec.references import Context, References


class ImplicitMotion(MotionNetwork):
    """The last frame, and features that a network has looked over.

    Args:
        features: F of the reference state.
        depth: gated blocks.

    Source: Jia et al., *Towards Practical Real-Time Neural Video Compression*, CVPR 2025, sec. 3.1.
    """

    def __init__(self, features: int, depth: int = 2) -> None:
        super().__init__()
        self.features = features
        self.context = ContextNetwork(features, depth)

    def forward(
        self, frame: Tensor | None, references: References, quality: Tensor, coder: SymbolCoder
    ) -> Context:
        reference = references.newest
        prediction, features = self.context(reference.frame, reference.features, quality)
        return Context(prediction=prediction, features=features)
