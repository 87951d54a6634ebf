"""The one rate knob: a quality index 0..63 a sample, and the lambda that belongs to it."""

import math

import torch
from torch import Tensor

from codec.errors import CodecError

QUALITIES = 64


def check_quality(quality: int) -> int:
    """Return `quality` if it is an integer in 0..63.

    Raises:
        CodecError: it is not.
    """
    if isinstance(quality, bool) or not isinstance(quality, int) or not 0 <= quality < QUALITIES:
        raise CodecError(f"quality: {quality!r} given; expected an integer from 0 (smallest file) to {QUALITIES - 1}")
    return quality


def check_qualities(quality: Tensor) -> None:
    """Raise CodecError where a batch's qualities `(B,)` are not all integers in 0..63."""
    if quality.is_floating_point() or quality.min() < 0 or quality.max() >= QUALITIES:
        raise CodecError(f"quality: {quality.tolist()} given; expected integers from 0 (smallest file) to {QUALITIES - 1}")


def log_interpolate(low: float, high: float, quality: Tensor) -> Tensor:
    """Interpolate between `low` (quality 0) and `high` (quality 63), evenly in the logarithm.

    Args:
        low, high: positive ends.
        quality: `(B,)` integer or float indices.

    Returns:
        `(B,)` float32.
    """
    share = quality.to(torch.float32) / (QUALITIES - 1)
    return torch.exp(math.log(low) + share * math.log(high / low))
