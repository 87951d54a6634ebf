"""No motion at all: what other motion networks are measured against."""

from torch import Tensor

from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.motion.network import MotionNetwork
from codec.references import Context, References


class StillMotion(MotionNetwork):
    """Predicts that nothing changes: the last frame and its features, as they are."""

    def forward(
        self, frame: Tensor | None, references: References, quality: Tensor, coder: SymbolCoder
    ) -> Context:
        return Context(prediction=references.newest.frame, features=references.newest.features)
