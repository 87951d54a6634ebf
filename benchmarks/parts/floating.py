"""Exact networks in floating point, to compare with."""

import copy
from functools import cache

from torch import nn

from codec.entropy.models.integer_layers import Exact


def floating(module: nn.Module) -> nn.Module:
    """A copy whose exact networks never round, evaluated and frozen neither: weights, tables and
    values stay as they are.
    """
    other = copy.deepcopy(module)
    for part in other.modules():
        if isinstance(part, Exact):
            part.__class__ = _floating_class(type(part))
    return other


@cache
def _floating_class(kind: type[nn.Module]) -> type[nn.Module]:
    return type(
        f"Floating{kind.__name__}", (kind,), {"rounds": False, "freeze": lambda self, name: None}
    )
