"""Quantisation noise that follows from the sample, not from its place in a batch or on
a machine.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class ClipNoise:
    """Noise for the samples of a batch: a function of each one's keys and of the frame.

    However samples are divided into batches, processes and passes, and however often a frame is
    computed again, a sample gets the same noise.

    Args:
        keys: for each sample, non-negative integers that name it, for example the run's seed and
            the sample's number.
    """

    def __init__(self, keys: Sequence[tuple[int, ...]]) -> None:
        self.keys = tuple(keys)

    def __getitem__(self, samples: slice) -> "ClipNoise":
        """The noise of some of the samples."""
        return ClipNoise(self.keys[samples])

    def frame(self, number: int) -> "FrameNoise":
        """The noise of one frame of every sample, from its beginning."""
        return FrameNoise(
            [
                int(np.random.SeedSequence([*key, number]).generate_state(1, np.uint64)[0]) >> 1
                for key in self.keys
            ]
        )


class FrameNoise:
    """Draws for one frame, one after the other; made by `ClipNoise.frame`.

    Args:
        seeds: one a sample.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = seeds
        self._generators: list[torch.Generator] = []

    def like(self, values: Tensor) -> Tensor:
        """Uniform in 0..1, of the shape, type and device of `values` `(B, ...)`."""
        if not self._generators:
            self._generators = [
                torch.Generator(values.device).manual_seed(seed) for seed in self.seeds
            ]
        draws = [
            torch.rand(
                values.shape[1:], generator=generator, device=values.device, dtype=values.dtype
            )
            for generator in self._generators
        ]
        return torch.stack(draws)
