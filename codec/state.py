"""What is handed from frame to frame and from network to network."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class ReferenceState:
    """What both sides have after a frame.

    Attributes:
        frame: `(B, 3, H, W)` the reconstruction in the codec's colours, padded, float32.
        features: `(B, F, H / 8, W / 8)` what the synthesis knew beyond the pixels.
        symbols: `(B, C, h, w)` the last predicted frame's transmitted latent, or None after an intra frame.
        motion: `(B, M, h, w)` the last predicted frame's transmitted motion, or None.
        prediction: `(B, 3, H, W)` what the frame was predicted to be, or None after an intra frame.
        estimate: as `Context.estimate`, or None.
    """

    frame: Tensor
    features: Tensor
    symbols: Tensor | None = None
    motion: Tensor | None = None
    prediction: Tensor | None = None
    estimate: Tensor | None = None

    def detach(self) -> "ReferenceState":
        """The same values without a history."""
        return ReferenceState(*(None if value is None else value.detach() for value in vars(self).values()))


@dataclass
class Context:
    """What a motion network offers the residual network.

    Attributes:
        prediction: `(B, 3, H, W)` of the frame, as `ReferenceState.frame`.
        features: `(B, F, H / 8, W / 8)`.
        motion: what was transmitted, for the next state, or None.
        copied: `(B, 3, H, W)` the last frame, moved and otherwise untouched, or None.
        moving: `(B, 1, h, w)` 1 where what was copied comes from elsewhere, 0 where it stood still; or None.
        estimate: `(B, 3, H, W)` the last frame moved as it was estimated, before the estimate was coded; of networks that learn
            to estimate, where no stream is made.
    """

    prediction: Tensor
    features: Tensor
    motion: Tensor | None = None
    copied: Tensor | None = None
    moving: Tensor | None = None
    estimate: Tensor | None = None
