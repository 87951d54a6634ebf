"""The two halves of a latent: a checkerboard in space, opposite for the first and the last half of
the channels.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Pick:
    """Which positions give their first, and which their last half of the channels.

    Attributes:
        even: `(1, 1, h, w)` bool, true where it is the first half.
        first, last: int64, those positions and the others, counted row by row.
        order: int64, where in both of them, one after the other, each position is.
        halves: `(h·w,)` int64, which of the `(h·w, 2)` halves are picked.
    """

    even: Tensor
    first: Tensor
    last: Tensor
    order: Tensor
    halves: Tensor

    def half(self, values: Tensor) -> Tensor:
        """The picked values: `(B, C, h, w)`, or `(B, C, 1, 1)` for everywhere -> `(B, C / 2, h,
        w)`.
        """
        if values.shape[2:] != self.even.shape[2:]:
            return torch.where(self.even, *values.chunk(2, 1))
        halves = _halves(values).index_select(1, self.halves)
        return halves.unflatten(1, values.shape[2:]).permute(0, 3, 1, 2)

    def whole(self, values: Tensor) -> Tensor:
        """The inverse of `half`, with zeros for the channels that it left out: `(B, C / 2, h, w)`
        -> `(B, C, h, w)`.
        """
        places = self.even.permute(0, 2, 3, 1)
        both = values.permute(0, 2, 3, 1).unsqueeze(3) * torch.stack([places, ~places], 3)
        return both.flatten(3).permute(0, 3, 1, 2)


def _halves(values: Tensor) -> Tensor:
    """`(B, C, h, w)` -> `(B, 2·h·w, C / 2)`: the first and the last channels of each position."""
    return values.permute(0, 2, 3, 1).reshape(len(values), -1, values.shape[1] // 2)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # training may use them after decoding did
def picks(height: int, width: int, device: torch.device) -> tuple[Pick, Pick]:
    """The half that has the first channels in the top left corner, and the other; made once a size,
    so no device waits.
    """
    colours = [(row + column) % 2 for row in range(height) for column in range(width)]
    numbers = [[place for place, own in enumerate(colours) if own == colour] for colour in (0, 1)]
    first, last = (torch.tensor(places, dtype=torch.int64, device=device) for places in numbers)
    orders = [torch.argsort(torch.cat(pair)) for pair in ((first, last), (last, first))]
    late = torch.tensor(colours, device=device)
    even = late.view(1, 1, height, width) == 0
    firsts = torch.arange(height * width, device=device) * 2
    return (
        Pick(even, first, last, orders[0], firsts + late),
        Pick(~even, last, first, orders[1], firsts + 1 - late),
    )
