"""Random block motion, as an encoder might have decided it."""

import torch
from torch import Tensor

from codec.entropy.models.quadtree import CELLS, prediction_modes


def block_maps(
    batch: int, references: int, size: tuple[int, int], seed: int = 0, farthest: int = 40
) -> Tensor:
    """Maps `(B, 2 + 2·R, h, w)` as `QuadtreeEntropy` codes them.

    A quadtree, modes, and vectors up to `farthest` quarter pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    maps = torch.zeros(batch, 2 + 2 * references, height, width)
    exists = torch.ones(batch, 1, -(-height // 8), -(-width // 8), dtype=torch.bool)
    for level, cells in enumerate(CELLS):
        rows, columns = -(-height // cells), -(-width // cells)
        exists, shape = exists[..., :rows, :columns], (batch, 1, rows, columns)
        fits = ((torch.arange(rows) + 1) * cells <= height)[:, None] & (
            (torch.arange(columns) + 1) * cells <= width
        )
        split = exists & ((torch.rand(shape, generator=generator) < 0.6) | ~fits) & (cells > 1)
        mode = torch.randint(0, len(prediction_modes(references)), shape, generator=generator)
        vectors = torch.randint(
            -farthest, farthest + 1, (batch, 2 * references, rows, columns), generator=generator
        )
        values = torch.cat([torch.full(shape, level), mode, vectors], 1).float()
        maps = torch.where(_fine(exists & ~split, cells, size), _fine(values, cells, size), maps)
        exists = split.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return maps


def _fine(values: Tensor, cells: int, size: tuple[int, int]) -> Tensor:
    return values.repeat_interleave(cells, 2).repeat_interleave(cells, 3)[..., : size[0], : size[1]]
