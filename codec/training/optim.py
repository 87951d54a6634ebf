"""What the optimizer steps: groups of parameters and their rates; the average of weights (EMA)."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from codec.errors import CodecError
from codec.training.schedule import Stage
from codec.video import VideoCodec


def param_groups(codec: VideoCodec) -> list[dict[str, Any]]:
    """A group for each part of the codec that has parameters (`intra`, `motion`, `residual`,
    `entropy`): its `name` and `params`.

    Entropy networks of motion and intra coder are in the groups of these.
    """
    groups: dict[str, list[Any]] = {}
    for name, parameter in codec.named_parameters():
        groups.setdefault(name.split(".")[0], []).append(parameter)
    return [{"name": name, "params": parameters} for name, parameters in groups.items()]


def set_learning_rates(groups: list[dict[str, Any]], stage: Stage, step: int) -> float:
    """Set every group's rate for a step of a stage, counted from its start; return the rate that
    factors apply to.
    """
    rate = stage.rate(step)
    for group in groups:
        group["lr"] = rate * stage.lr_of.get(group["name"], 1.0)
    return rate


def check_learning_rates(groups: list[dict[str, Any]], stage: Stage) -> None:
    """Raise CodecError where a stage gives a factor to a group that is not there."""
    names = [group["name"] for group in groups]
    if unknown := sorted(set(stage.lr_of) - set(names)):
        raise CodecError(
            f"schedule stage {stage.name!r}: lr_of names {unknown}; this codec's parts are {names}"
        )


def set_trainable(codec: VideoCodec, stage: Stage, never: set[str]) -> list[nn.Parameter]:
    """Let a stage's gradients reach what it does not freeze, except for the parameters `never`;
    return what is trained.

    Raises:
        CodecError: the stage freezes a part that the codec does not have, or everything.
    """
    modules = [name for name, _ in codec.named_modules()]
    for part in stage.frozen:
        if part not in modules:
            raise CodecError(
                f"schedule stage {stage.name!r}: frozen names {part!r}, which the codec does not "
                "have"
            )
    trained = []
    for name, parameter in codec.named_parameters():
        frozen = name in never or any(name.startswith(part + ".") for part in stage.frozen)
        parameter.requires_grad_(not frozen)
        if not frozen:
            trained.append(parameter)
    if not trained:
        raise CodecError(
            f"schedule stage {stage.name!r}: nothing is left to train; take parts out of frozen"
        )
    return trained


class EMA:
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

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold besides the averaged weights."""
        return {"updates": self.updates}

    def load_state_dict(self, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go on from averaged weights and their `state_dict`."""
        self.codec.load_state_dict(weights)
        self.updates = state["updates"]
