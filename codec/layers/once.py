"""What follows from parameters alone, computed once for all frames of a step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Once:
    """A module that can keep what it makes of its parameters."""

    _made: dict[tuple[int, ...], tuple[Any, Tensor]] | None = None

    def once(self, make: Callable[[], Tensor], *of: Any) -> Tensor:
        """What `make` makes `of` some objects; within `computed_once` once of the same objects."""
        if self._made is None:
            return make()
        key = torch.is_grad_enabled(), *map(id, of)  # without gradients it has no history
        if key not in self._made:
            self._made[key] = of, make()  # they are kept, or others could get their identities
        return self._made[key][1]


@contextmanager
def computed_once(network: nn.Module) -> Iterator[None]:
    """Let modules keep what they make, its history for gradients too; parameters must
    not change.
    """
    modules = [module for module in network.modules() if isinstance(module, Once)]
    for module in modules:
        module._made = {}
    try:
        yield
    finally:
        for module in modules:
            module._made = None
