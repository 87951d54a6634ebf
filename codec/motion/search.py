"""Classical block search: a motion field found at the encoder, without learning."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.layers.warp import warp

_COARSE = 4  # the full search runs at a quarter of the size


@torch.no_grad()
def block_search(current: Tensor, reference: Tensor, block: int, penalty: Tensor, reach: int = 32) -> Tensor:
    """Where each block of `current` comes from in `reference`: rate-aware, to a quarter of a pixel.

    A full search at quarter resolution, then candidates from neighbours and from ever smaller steps.

    Args:
        current, reference: luma `(B, 1, H, W)` float32, H and W multiples of `block`.
        block: side of a block, a multiple of 4.
        penalty: `(B,)` cost, in summed absolute differences, of a bit of motion.
        reach: largest displacement in pixels of the full search.

    Returns:
        `(B, 2, H / block, W / block)` float32, displacement (x, y) in pixels, multiples of 1/4.

    Source: predictive search in the manner of Tourapis, *Enhanced predictive zonal search*, 2002.
    """
    penalty = penalty.view(-1, 1, 1, 1)
    field = _full_search(current, reference, block, penalty, reach)
    cost = partial(_cost, current, reference, block, penalty)
    field = _improve(field, cost, [partial(torch.roll, shifts=s, dims=d) for s in (1, -1) for d in (2, 3)])
    field = _improve(field, cost, [_median, torch.zeros_like])
    for step in (2.0, 1.0, 0.5, 0.25):
        field = _improve(field, cost, [partial(_shift, by=(dx * step, dy * step)) for dx, dy in _AROUND])
    return _improve(field, cost, [_median, torch.zeros_like])


_AROUND = [(dx, dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dx or dy]


def _full_search(current: Tensor, reference: Tensor, block: int, penalty: Tensor, reach: int) -> Tensor:
    small, other = F.avg_pool2d(current, _COARSE), F.avg_pool2d(reference, _COARSE)
    steps = reach // _COARSE
    other = F.pad(other, (steps,) * 4, mode="replicate")
    height, width = small.shape[-2:]
    best_cost = best = None
    for dy in range(-steps, steps + 1):
        for dx in range(-steps, steps + 1):
            moved = other[..., steps + dy : steps + dy + height, steps + dx : steps + dx + width]
            vector = small.new_tensor([dx * _COARSE, dy * _COARSE]).view(1, 2, 1, 1)
            cost = F.avg_pool2d((small - moved).abs(), block // _COARSE) * block**2 + penalty * _vector_bits(vector)
            if best is None:
                best_cost, best = cost, vector.expand(len(cost), 2, *cost.shape[-2:])
            else:
                best = torch.where(cost < best_cost, vector, best)
                best_cost = torch.minimum(cost, best_cost)
    return best.contiguous()


def _improve(field: Tensor, cost: Callable[[Tensor, Tensor], Tensor], candidates: list[Callable]) -> Tensor:
    """Replace each block's vector by the best of `candidates(field)` where that is cheaper."""
    expected = _median(field)
    best = cost(field, expected)
    start = field
    for candidate in candidates:
        proposal = candidate(start)
        proposed = cost(proposal, expected)
        field = torch.where(proposed < best, proposal, field)
        best = torch.minimum(proposed, best)
    return field


def _cost(current: Tensor, reference: Tensor, block: int, penalty: Tensor, field: Tensor, expected: Tensor) -> Tensor:
    error = (current - warp(reference, dense(field, block))).abs()
    return F.avg_pool2d(error, block) * block**2 + penalty * _vector_bits(field - expected)


def _vector_bits(difference: Tensor) -> Tensor:
    """About what a vector costs that differs so much, in pixels, from what its neighbours suggest: `(…, 1, h, w)`."""
    return torch.log2(1 + 4 * difference.abs()).sum(1, keepdim=True)


def _median(field: Tensor) -> Tensor:
    """The median of a vector and its four neighbours, component by component."""
    p = F.pad(field, (1, 1, 1, 1), mode="replicate")
    around = [p[..., 1:-1, 1:-1], p[..., 1:-1, :-2], p[..., 1:-1, 2:], p[..., :-2, 1:-1], p[..., 2:, 1:-1]]
    return torch.stack(around).median(0).values


def _shift(field: Tensor, by: tuple[float, float]) -> Tensor:
    return field + field.new_tensor(by).view(1, 2, 1, 1)


def dense(field: Tensor, block: int) -> Tensor:
    """A vector a block -> a vector a pixel, constant in the block: `(B, 2, h, w)` -> `(B, 2, h·block, w·block)`."""
    return field.repeat_interleave(block, 2).repeat_interleave(block, 3)
