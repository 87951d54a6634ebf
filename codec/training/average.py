"""The moving average of a codec's weights: what is validated, kept and exported."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from codec.errors import CodecError
from codec.video import VideoCodec


class WeightAverage:
    """An exponential moving average (EMA) of weights, quicker in its first updates, so that short
    trainings are not held back.

    Update n = 0, 1, ... leaves the share min(decay, (1 + n) / (10 + n)) of the average.

    Args:
        codec: whose weights are followed.
        decay: share that stays at each update in the end, 0 < decay < 1.

    Attributes:
        codec: a copy of the codec with the averaged weights, in evaluation mode.
        updates: n.

    Raises:
        CodecError: a decay out of range.

    Source: Polyak and Juditsky, *Acceleration of stochastic approximation by averaging*, 1992; the
    warm-up is TensorFlow's `num_updates`.
    """

    def __init__(self, codec: VideoCodec, decay: float) -> None:
        if not 0 < decay < 1:
            raise CodecError(
                f"training.ema: {decay} given; expected a share between 0 and 1, for example "
                "0.999, or 0 for none"
            )
        self.decay, self.updates = decay, 0
        self.codec = copy.deepcopy(codec).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, codec: nn.Module) -> None:
        """Take one step towards the codec's weights; buffers are taken over. Both are on one
        device.
        """
        share = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.codec.parameters()), list(codec.parameters()), 1 - share)
        for average, value in zip(self.codec.buffers(), codec.buffers(), strict=True):
            average.copy_(value)
        self.updates += 1

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold besides the averaged weights."""
        return {"updates": self.updates}

    def restore(self, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take up averaged weights and their `state`."""
        self.codec.load_state_dict(weights)
        self.updates = state["updates"]
