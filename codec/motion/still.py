"""No motion at all: what other motion networks are measured against."""

from torch import Tensor

from codec.entropy.channel import Channel
from codec.motion.network import MotionNetwork
from codec.references import Context, References


class StillMotion(MotionNetwork):
    """Predicts that nothing changes: the last frame and its features, as they are."""

    def forward(
        self, frame: Tensor | None, references: References, quality: Tensor, channel: Channel
    ) -> Context:
        return Context(prediction=references.newest.frame, features=references.newest.features)
