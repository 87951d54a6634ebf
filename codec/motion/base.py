"""What every motion network offers, and the refinement they share."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.layers.assemble import add_patches
from codec.layers.blocks import Network, downward, pointwise, stack, upward
from codec.layers.quality import QualityGain, QualityTable, step_ladder
from codec.references import Context, References


class MotionNetwork(nn.Module, ABC):
    """Predicts a frame; may code motion to do so.

    Attributes:
        made_for: colours that it needs, of `codec.layers.frames.COLOURS`; None: any.
        features: F of the features that it makes and expects; None: any number.
    """

    made_for: str | None = None
    features: int | None = None

    @abstractmethod
    def forward(
        self, frame: Tensor | None, references: References, quality: Tensor, coder: SymbolCoder
    ) -> Context:
        """Predict.

        Args:
            frame: `(B, 3, H, W)` the frame to predict, padded, in the codec's colours; None on the
                receiving side.
            references: what both sides have.
            quality: `(B,)` indices 0..63.
            coder: where motion bits go.

        Returns:
            The prediction in pixels and features.
        """


class ContextNetwork(Network):
    """Refines a prediction in pixels and features; the pixels start unchanged.

    Args:
        features: F.
        depth: gated blocks at 1/8 of the frame's size.

    Source: the temporal context of Jia et al., *Towards Practical Real-Time Neural Video
    Compression*, CVPR 2025.
    """

    def __init__(self, features: int, depth: int) -> None:
        super().__init__()
        self.pixels = downward(3, features, 8)
        self.before = pointwise(features, features)
        self.quality = QualityTable(features, torch.zeros(features))
        self.blocks = stack(features, depth)
        self.correction = upward(features, 3, 8, zero=True)
        self.correction_gain = QualityGain(1, step_ladder(90.0, 8.0).log())

    def compile_for(self, backend: str) -> None:
        """The blocks alone: what comes after them is a kernel on the CPU, and slower compiled."""
        self.blocks.compile(backend=backend)

    def forward(
        self, prediction: Tensor, features: Tensor, quality: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`(B, 3, H, W)` and `(B, F, H / 8, W / 8)`, quality `(B,)` -> the same shapes, refined."""
        known = self.pixels(self.cast(prediction)) + self.before(self.cast(features))
        features = self.blocks(known + self.cast(self.quality(quality)))
        patches = self.correction[0](features)
        return add_patches(prediction, patches, self.correction_gain(quality)), features
