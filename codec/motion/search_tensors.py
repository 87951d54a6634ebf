"""Block matching in torch operations, for any device: all blocks of a batch at once."""

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.layers.block_warp import dense
from codec.layers.warp import warp


class TensorMatching:
    """Matches blocks of `current` with `reference`.

    Args:
        current, reference: luma `(B, 1, H, W)` float32, H and W multiples of `block`.
        block: side of a block.
        farthest: no vector is longer, in pixels along x or y.
    """

    def __init__(self, current: Tensor, reference: Tensor, block: int, farthest: int) -> None:
        self.current, self.reference, self.block, self.farthest = (
            current,
            reference,
            block,
            farthest,
        )

    def best_of_all(self, vectors: Tensor, rates: Tensor) -> Tensor:
        """For each block the index of the vector with the least SAD + rate, where every block tries
        every vector.

        Args:
            vectors: `(N, 2)` int64, (x, y) in whole pixels.
            rates: `(N, B)`, in SAD.

        Returns:
            `(B, h, w)` int64; of equals the first.
        """
        far, (height, width) = self.farthest, self.current.shape[-2:]
        padded = F.pad(self.reference, (far,) * 4, mode="replicate")
        steps = self.current.shape[0], height // self.block, width // self.block
        least = self.current.new_full(steps, torch.inf)
        best = torch.zeros(steps, dtype=torch.int64, device=least.device)
        for index, (x, y) in enumerate(vectors.tolist()):
            moved = padded[..., far + y : far + y + height, far + x : far + x + width]
            cost = self._sad(moved) + rates[index].view(-1, 1, 1)
            best = best.masked_fill(cost < least, index)
            least = torch.minimum(cost, least)
        return best

    def best(self, proposals: Tensor, rates: Tensor) -> Tensor:
        """For each block the vector with the least SAD + rate among its own `N`.

        Args:
            proposals: `(N, B, 2, h, w)` float32, (x, y) in pixels, multiples of 1/4.
            rates: `(N, B, h, w)`, in SAD.

        Returns:
            `(B, 2, h, w)` float32; of equals the first.
        """
        best = proposals[0]
        least: Tensor | None = None
        for proposal, rate in zip(proposals, rates, strict=True):
            cost = self._sad(warp(self.reference, dense(proposal, self.block))) + rate
            if least is None:
                least = cost
            best = torch.where((cost < least)[:, None], proposal, best)
            least = torch.minimum(cost, least)
        return best

    def _sad(self, moved: Tensor) -> Tensor:
        """Sums of absolute differences `(B, h, w)`."""
        return F.avg_pool2d((self.current - moved).abs(), self.block)[:, 0] * self.block**2
