"""What a checkpoint must hold, besides the weights to keep, for training to go on; and taking it up
again.
"""

from typing import Any

from torch import Tensor

from codec.checkpoint import with_todays_names
from codec.errors import CodecError
from codec.training.module import CodecTraining

_COUNTS = {
    "codec_steps": int,
    "samples": int,
    "skipped": int,
    "skipped_in_a_row": int,
    "stages_done": int,
    "figures": dict,
    "before": dict,
}


def training_state(module: CodecTraining) -> dict[str, Any]:
    """Counts, figures, the optimizer, where the data stands, and the weights themselves where an
    average of them is kept.
    """
    state = {name: getattr(module, name) for name in _COUNTS} | {
        "stage": module.stage.name,
        "means": module.means.state(),
    }
    if module.average:
        state |= {"weights": module.codec.state_dict(), "average": module.average.state()}
    return state | {
        "data": module.data_state(module.samples),
        "optimizer": module.optimizer.state_dict(),
    }


def restore(module: CodecTraining, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Take up what a checkpoint held: the weights that were kept, and a `training_state`.

    Raises:
        CodecError: the checkpoint is of an earlier version, or of a run with other settings.
    """
    if "means" not in state:
        raise CodecError(
            "resume: the checkpoint is of an earlier version; take its weights with init_from=RUN"
        )
    for name, kind in _COUNTS.items():
        if type(state[name]) is not kind or (kind is int and state[name] < 0):
            raise TypeError(f"{name} is {state[name]!r:.100}")
    load(module, weights, state)
    for name in _COUNTS:
        setattr(module, name, state[name])
    module.means.restore(state["means"])
    module.resumed_data = state["data"]


def load(module: CodecTraining, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Take up weights, their average and the optimizer, but no counts."""
    weights, _ = with_todays_names(module.codec, weights)
    own, _ = with_todays_names(module.codec, state.get("weights", weights))
    module.codec.load_state_dict(own)
    if module.average:
        module.average.restore(weights, state["average"])
    module.optimizer.load_state_dict(state["optimizer"])
