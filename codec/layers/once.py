"""What follows from parameters alone, computed once for all frames of a step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class Once:
    """A module that can keep what it makes of its parameters."""

    _made: dict[Any, tuple[Any, Tensor]] | None = None

    def once(self, key: Any, make: Callable[[], Tensor]) -> Tensor:
        """What `make` gives; within `computed_once` it is called once for each `key`, by identity."""
        if self._made is None:
            return make()
        if id(key) not in self._made:
            self._made[id(key)] = key, make()  # the key is kept, or another could get its identity
        return self._made[id(key)][1]


@contextmanager
def computed_once(network: nn.Module) -> Iterator[None]:
    """Let modules keep what they make, its history for gradients too; parameters must not change."""
    modules = [module for module in network.modules() if isinstance(module, Once)]
    for module in modules:
        module._made = {}
    try:
        yield
    finally:
        for module in modules:
            module._made = None
