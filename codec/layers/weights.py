"""Whether a state dict is the one that is wanted."""

import torch
from torch import Tensor

from codec.errors import CodecError

_SHOWN = 3


def check_weights(
    came: dict[str, Tensor],
    expected: dict[str, Tensor],
    where: str,
    other_names: str,
    other_shape: str,
) -> None:
    """Raise CodecError, one line, where weights are not those of `expected`: by name, shape, or
        because they are not finite.

    Args:
        came: what was given.
        expected: tensors of the right shapes by name.
        where: begins the message.
        other_names, other_shape: what to do, where names or shapes differ.
    """
    missing, unknown = (
        [name for name in expected if name not in came],
        [name for name in came if name not in expected],
    )
    if missing or unknown:
        raise CodecError(
            f"{where}: {len(missing)} of {len(expected)} names missing ({_few(missing)}), "
            f"{len(unknown)} unknown ({_few(unknown)}); {other_names}"
        )
    for name, value in came.items():
        if value.shape != expected[name].shape:
            shapes = f"{tuple(value.shape)}, this codec's is {tuple(expected[name].shape)}"
            raise CodecError(f"{where}: {name} is {shapes}; {other_shape}")
        if not torch.isfinite(value).all():
            raise CodecError(f"{where}: {name} holds non-finite values; use an earlier checkpoint")


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "") if names else "none"
