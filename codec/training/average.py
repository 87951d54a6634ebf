"""The moving average of a codec's weights: what is validated, kept and exported."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from codec.errors import CodecError
from codec.video import VideoCodec


class WeightAverage:
    """An exponential moving average (EMA) of weights, quicker in its first updates, so that short trainings are not held back.

    Args:
        codec: whose weights are followed.
        decay: share that stays at each update, 0 < decay < 1.

    Attributes:
        codec: a copy of the codec with the averaged weights, in evaluation mode.

    Raises:
        CodecError: a decay out of range.

    Source: Polyak and Juditsky, *Acceleration of stochastic approximation by averaging*, 1992; the warm-up is TensorFlow's
    `num_updates`.
    """

    def __init__(self, codec: VideoCodec, decay: float) -> None:
        if not 0 < decay < 1:
            raise CodecError(f"training.ema: {decay} given; expected a share between 0 and 1, for example 0.999, or 0 for none")
        self.decay = decay
        self._model = AveragedModel(codec, multi_avg_fn=self._move)
        self._model.requires_grad_(False).eval()

    @property
    def codec(self) -> VideoCodec:
        return self._model.module

    def update(self, codec: nn.Module) -> None:
        """Take one step towards the codec's weights; buffers are taken over."""
        self._model.to(next(codec.parameters()).device)
        self._model.update_parameters(codec)

    def state(self) -> dict[str, int]:
        """What a checkpoint must hold besides the averaged weights."""
        return {"updates": int(self._model.n_averaged)}

    def restore(self, weights: dict[str, Tensor], state: dict[str, int]) -> None:
        """Take up averaged weights and their `state`."""
        self.codec.load_state_dict(weights)
        self._model.n_averaged.fill_(state["updates"])

    @torch.no_grad()
    def _move(self, averages: list[Tensor], values: list[Tensor], updates: Tensor | int) -> None:
        updates = float(updates)
        torch._foreach_lerp_(averages, values, 1 - min(self.decay, (1 + updates) / (10 + updates)))
