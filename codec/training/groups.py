"""Named groups of an optimizer: a part of the codec each."""

from typing import Any

from torch import nn

from codec.errors import CodecError
from codec.training.stage import Stage
from codec.video import VideoCodec


def parameter_groups(codec: VideoCodec) -> list[dict[str, Any]]:
    """A group for each part of the codec that has parameters (`intra`, `motion`, `residual`,
    `entropy`): its `name` and `params`.

    Entropy networks of motion and intra coder are in the groups of these.
    """
    groups: dict[str, list[Any]] = {}
    for name, parameter in codec.named_parameters():
        groups.setdefault(name.split(".")[0], []).append(parameter)
    return [{"name": name, "params": parameters} for name, parameters in groups.items()]


def set_rates(groups: list[dict[str, Any]], stage: Stage, step: int) -> float:
    """Set every group's rate for a step of a stage, counted from its start; return the rate that
    factors apply to.
    """
    rate = stage.rate(step)
    for group in groups:
        group["lr"] = rate * stage.lr_of.get(group["name"], 1.0)
    return rate


def check_rates(groups: list[dict[str, Any]], stage: Stage) -> None:
    """Raise CodecError where a stage gives a factor to a group that is not there."""
    names = [group["name"] for group in groups]
    if unknown := sorted(set(stage.lr_of) - set(names)):
        raise CodecError(
            f"schedule stage {stage.name!r}: lr_of names {unknown}; this codec's parts are {names}"
        )


def thaw(codec: VideoCodec, stage: Stage, never: set[str]) -> list[nn.Parameter]:
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
