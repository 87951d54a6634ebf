"""No motion at all: what other motion networks are measured against."""

from torch import Tensor

from codec.entropy.channel import Channel
from codec.motion.network import MotionNetwork
from codec.state import Context, ReferenceState


class StillMotion(MotionNetwork):
    """Predicts that nothing changes: the last frame and its features, as they are."""

    def forward(self, frame: Tensor | None, state: ReferenceState, quality: Tensor, channel: Channel) -> Context:
        return Context(state.frame, state.features)
