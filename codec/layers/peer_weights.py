"""State dicts of CompressAI's models: their names, and whether they fit."""

import re

import torch
from torch import Tensor, nn

from codec.errors import CodecError
from codec.layers.compressai import get_scale_table
from codec.layers.weights import check_weights

# What CompressAI stores and we compute, by the end of its name.
_COMPUTED = (
    "._offset",
    "._quantized_cdf",
    "._cdf_length",
    ".bound",
    ".target",
    ".scale_table",
    ".scale_bound",
)
_OLD_NAMES = {"_bias": "biases", "_matrix": "matrices", "_factor": "factors"}


def stored_weights(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """The part of a module's state dict that CompressAI stores too, with `prefix` and a dot before
    the names.
    """
    named = {f"{prefix}.{name}": value for name, value in module.state_dict().items()}
    return {name: value for name, value in named.items() if not name.endswith(_COMPUTED)}


def peer_weights(
    state_dict: dict[str, Tensor], expected: dict[str, Tensor], model: str
) -> dict[str, Tensor]:
    """The weights in a state dict of CompressAI's, by today's names, without what is computed.

    Args:
        state_dict: what came; names of older versions and of parallel training are understood.
        expected: tensors of the right shapes by CompressAI's names.
        model: whose they are, for errors.

    Raises:
        CodecError: other names, another shape, a value that is not finite, or a table of scales
            other than CompressAI's.
    """
    came = {_new_name(name): value for name, value in state_dict.items()}
    for name, value in came.items():
        if name.endswith(".scale_table") and value.numel() and not _is_usual(value):
            raise CodecError(
                f"{model} state dict: {name} is not CompressAI's get_scale_table(), which is the "
                "only one supported"
            )
    weights = {name: value for name, value in came.items() if not name.endswith(_COMPUTED)}
    fix = (
        f"give the state dict of a CompressAI {model}",
        "make the codec's widths those of the model",
    )
    check_weights(weights, expected, f"{model} state dict", *fix)
    return weights


def _is_usual(table: Tensor) -> bool:
    usual = get_scale_table()
    return table.shape == usual.shape and torch.allclose(table.cpu().float(), usual)


def _new_name(name: str) -> str:
    """The name that CompressAI gives a weight today, without what training in parallel puts before
    it.
    """
    old = r"(?<=entropy_bottleneck\.)(_bias|_matrix|_factor)(\d)$"
    return re.sub(
        old, lambda found: f"{_OLD_NAMES[found[1]]}.{found[2]}", name.removeprefix("module.")
    )
