"""Block matching on the CPU: numba kernels, for what `TensorMatching` does elsewhere."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional as F

from codec.layers.bands import in_bands

_ONE = np.float32(1)


class KernelMatching:
    """As `TensorMatching`, equal but for rounding; torch's number of threads share the rows of
    blocks of a batch.
    """

    def __init__(self, current: Tensor, reference: Tensor, block: int, farthest: int) -> None:
        self.block, self.margin = block, farthest + 1  # one more for bilinear interpolation
        margins = (self.margin, self.margin + -2 * self.margin % block, self.margin, self.margin)
        self.reference = F.pad(reference, margins, mode="replicate")[:, 0].contiguous()
        self.current = current[:, 0].contiguous()

    def best_of_all(self, vectors: Tensor, rates: Tensor) -> Tensor:
        batch, height, width = self.current.shape
        best = torch.zeros(
            batch, height // self.block, width // self.block, dtype=torch.int64
        )  # where all costs are NaN
        lumas = (_by_phase(luma, self.block).numpy() for luma in (self.current, self.reference))
        arrays = *lumas, (vectors + self.margin).numpy(), rates.contiguous().numpy(), best.numpy()
        in_bands(lambda first, end: match_all(*arrays, first, end), batch * best.shape[1])
        return best

    def best(self, proposals: Tensor, rates: Tensor) -> Tensor:
        best = torch.empty_like(proposals[0])
        arrays = (
            self.current.numpy(),
            self.reference.numpy(),
            self.margin,
            proposals.numpy(),
            rates.numpy(),
            best.numpy(),
        )
        kernel = matching_kernel(self.block)
        in_bands(lambda first, end: kernel(*arrays, first, end), best.shape[0] * best.shape[2])
        return best


def _by_phase(luma: Tensor, block: int) -> Tensor:
    """`(B, H, W)` -> `(B, H, block, W / block)`: beside a pixel lies the one in the same place of
    the next block.
    """
    return luma.unflatten(2, (-1, block)).transpose(2, 3).contiguous()


@njit(cache=True, nogil=True, fastmath={"contract"})
def match_all(current, reference, places, rates, best, first, end):
    """`best_of_all` for rows of blocks `first .. end - 1` of the batch; vectorised along the blocks
    of a row.

    `current` and `reference` are laid out by `_by_phase`, `places` are vectors from the reference's
    margin.
    """
    block, wide = current.shape[2:]
    tall = best.shape[1]
    cost, least = np.empty(wide, np.float32), np.empty(wide, np.float32)
    for line in range(first, end):
        b, row = line // tall, line % tall
        least[:] = np.inf
        winner = best[b, row]
        for n in range(len(places)):
            cost[:] = rates[n, b]
            for i in range(row * block, (row + 1) * block):
                for phase in range(block):
                    x = phase + places[n, 0]
                    mine, other = (
                        current[b, i, phase],
                        reference[b, i + places[n, 1], x % block, x // block :],
                    )
                    for column in range(wide):
                        cost[column] += abs(mine[column] - other[column])
            for column in range(wide):
                if cost[column] < least[column]:
                    least[column], winner[column] = cost[column], n


@cache
def matching_kernel(block: int) -> Callable:
    """The kernel of `KernelMatching.best`, made for one `block` so that its inner loops have a
    fixed length.
    """

    @njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
    def match(current, reference, margin, proposals, rates, best, first, end):
        tall, wide = best.shape[2:]
        for line in range(first, end):
            b, row = line // tall, line % tall
            for column in range(wide):
                least, best_x, best_y = np.float32(np.inf), np.float32(0), np.float32(0)
                for n in range(len(proposals)):
                    x, y = proposals[n, b, 0, row, column], proposals[n, b, 1, row, column]
                    if n > 0 and x == best_x and y == best_y:
                        continue
                    cost = rates[n, b, row, column]
                    cost = _cost(
                        current[b],
                        reference[b],
                        row * block,
                        column * block,
                        margin,
                        x,
                        y,
                        cost,
                        least,
                        block,
                    )
                    if cost < least:
                        least, best_x, best_y = cost, x, y
                best[b, 0, row, column], best[b, 1, row, column] = best_x, best_y

    return match


@njit(inline="always")
def _cost(current, reference, top, left, margin, x, y, cost, enough, block):
    """`cost` and the SAD of the block at (top, left), moved by (x, y); or, early, any value that is
    not below `enough`.
    """
    whole_x, whole_y = np.floor(x), np.floor(y)
    right, down = x - whole_x, y - whole_y
    column, row = left + margin + int(whole_x), top + margin + int(whole_y)
    w11 = right * down
    w01, w10 = right - w11, down - w11
    w00 = _ONE - right - w10
    top, left, row, column = (
        np.uintp(top),
        np.uintp(left),
        np.uintp(row),
        np.uintp(column),
    )  # signed ones do not vectorise:
    side, one = np.uintp(block), np.uintp(1)  # numba lets them count from the end
    for i in range(side):
        error = np.float32(0)
        if right == 0 and down == 0:
            for j in range(side):
                error += abs(current[top + i, left + j] - reference[row + i, column + j])
        else:
            for j in range(side):
                upper = (
                    w00 * reference[row + i, column + j]
                    + w01 * reference[row + i, column + j + one]
                )
                lower = (
                    w10 * reference[row + i + one, column + j]
                    + w11 * reference[row + i + one, column + j + one]
                )
                error += abs(current[top + i, left + j] - (upper + lower))
        cost += error
        if cost >= enough:
            break
    return cost
