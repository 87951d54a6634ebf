"""What is drawn at random for a training sample."""

import numpy as np
import torch
from torch import Tensor

from codec.entropy.noise import ClipNoise
from codec.quality import QUALITIES


def draw(seed: int, first: int, count: int, device: torch.device) -> tuple[Tensor, ClipNoise]:
    """Qualities `(count,)` on `device` and quantisation noise of the samples `first`, `first + 1`,
    ...

    They follow from the seed and the sample's number alone: its batch, process and place in them
    change nothing.
    """
    keys = [(seed, number) for number in range(first, first + count)]
    qualities = [int(np.random.default_rng(key).integers(QUALITIES)) for key in keys]
    return torch.tensor(qualities, device=device), ClipNoise(keys)
