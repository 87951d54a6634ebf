"""A GPU that is not there: tensors without values that know their device, so that mistakes show
where there is none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import _lru_cache_wrapper

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from codec.blocks import rebuild
from codec.entropy.coding import categorical, cdf_tables, laplace
from codec.entropy.models import checkerboard, places, quadtree_state


@contextmanager
def fake_cuda() -> Iterator[None]:
    """New tensors are fake and on `cuda`; what modules keep for a device is forgotten before and
    after.
    """
    _forget()
    try:
        with FakeTensorMode(), torch.device("cuda"):
            yield
    finally:
        _forget()


def _forget() -> None:
    for module in (
        categorical,
        cdf_tables,
        checkerboard,
        laplace,
        places,
        quadtree_state,
        rebuild,
    ):
        for value in vars(module).values():
            if isinstance(value, _lru_cache_wrapper):
                value.cache_clear()
