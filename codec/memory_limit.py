"""A limit on the memory that building a network may take: a file's sizes are not to be believed."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from codec.errors import CodecError


class MemoryLimit(TorchDispatchMode):
    """Raises, before the memory is taken, where tensors made inside of the `with` outgrow a limit.

    What is freed again still counts, so that the limit is to be several times what is expected.

    Args:
        most: bytes, of all tensors made.
        what: begins the error.

    Raises:
        CodecError: from the operation that would exceed the limit.
    """

    def __init__(self, most: int, what: str) -> None:
        super().__init__()
        self.most = most
        self.what = what
        self.taken = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        self.taken += _bytes_made(func, args, kwargs)
        if self.taken > self.most:
            raise CodecError(
                f"{self.what}: its config asks for more than {self.most / 1e6:.0f} MB, "
                "many times what the file holds; do not use this file"
            )
        return func(*args, **kwargs)


def _bytes_made(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Bytes of the new tensors that an operation makes, asked of the device without memory."""
    schema = func._schema
    if schema.is_mutable or any(made.alias_info is not None for made in schema.returns):
        return 0  # in place, or a view
    args, kwargs = tree_map_only(Tensor, _without_memory, (args, kwargs))
    if any(argument.name == "device" for argument in schema.arguments):
        kwargs = kwargs | {"device": torch.device("meta")}
    try:
        made = func(*args, **kwargs)
    except (NotImplementedError, RuntimeError):  # an operation that needs values: it makes little
        return 0
    tensors = [value for value in tree_leaves(made) if isinstance(value, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _without_memory(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
