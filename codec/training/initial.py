"""A new run's weights from an earlier one: what matches by name and shape."""

import torch
from torch import Tensor

from codec.checkpoint import read_checkpoint, with_todays_names
from codec.errors import CodecError
from codec.video import VideoCodec

_SHOWN = 12


def init_from(codec: VideoCodec, where: str) -> str:
    """Load the weights of a checkpoint file or run folder that match by name and shape; the rest
    stays as it is.

    Returns:
        What matched and what did not, in a few lines.

    Raises:
        CodecError: no checkpoint there, nothing matches, or a weight that does is not finite.
    """
    came, _ = with_todays_names(codec, read_checkpoint(where)["codec"])
    own = codec.state_dict()
    taken = {
        name: value
        for name, value in came.items()
        if name in own and value.shape == own[name].shape
    }
    if not taken:
        raise CodecError(
            f"init_from={where}: none of its {len(came)} tensors has a name and shape of this "
            "codec; remove it"
        )
    for name, value in taken.items():
        if not torch.isfinite(value).all():
            raise CodecError(
                f"init_from={where}: {name} holds non-finite values; give an earlier checkpoint"
            )
    codec.load_state_dict(taken, strict=False)
    reshaped = [name for name in own if name in came and name not in taken]
    kinds = {
        "of another shape there, left as they are": _modules(reshaped, own, came),
        "not there, left as they are": _modules([name for name in own if name not in came], own),
        "there but not in this codec, not used": _modules(
            [name for name in came if name not in own], came
        ),
    }
    return "\n".join(
        [
            f"init_from={where}: {len(taken)} of {len(own)} tensors taken",
            *(_few(k, v) for k, v in kinds.items() if v),
        ]
    )


def _modules(
    names: list[str], all_of_them: dict[str, Tensor], there: dict[str, Tensor] | None = None
) -> list[str]:
    """Names with shapes; those of a module, all of whose tensors are among them, are one entry."""
    listed, groups = set(names), {}
    others = [name for name in all_of_them if name not in listed]
    for name in names:
        parts = name.split(".")
        prefixes = [".".join(parts[:depth]) + "." for depth in range(1, len(parts))]
        group = next(
            (
                prefix
                for prefix in prefixes
                if not any(other.startswith(prefix) for other in others)
            ),
            name,
        )
        groups.setdefault(group, []).append(name)
    return [_entry(group, members, all_of_them, there) for group, members in groups.items()]


def _entry(
    group: str, members: list[str], shapes: dict[str, Tensor], there: dict[str, Tensor] | None
) -> str:
    first = members[0]
    shape = f"{tuple(shapes[first].shape)}" + (
        f", there {tuple(there[first].shape)}" if there else ""
    )
    return (
        f"{first} {shape}"
        if len(members) == 1
        else f"{group}* ({len(members)} tensors, as {first} {shape})"
    )


def _few(kind: str, entries: list[str]) -> str:
    more = f"; and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return f"  {kind}: " + "; ".join(entries[:_SHOWN]) + more
