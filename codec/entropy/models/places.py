"""Places of maps, for networks that compute in some of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.layers.kernels import on_cpu


@dataclass(frozen=True, eq=False, kw_only=True)
class Places:
    """Where in maps `(B, ·, h, w)` a network computes, and where it is asked.

    A place is its number, row by row, through one sample after another. What is coded at the places
    that are asked has a form that channels take and that keeps samples apart: maps `(1, C, 1, N)`
    of one sample, or else maps `(B, C, h, w)` of everywhere and a mask.

    Attributes:
        shape: `(B, h, w)`.
        computed: `(M,)` int64, the places that are computed, or None: all.
        answers: `(N,)` int64, which of these are asked, or None: all.
        neighbours: `(N, 9)` int64, which of those computed are the 3×3 places about each that is
            asked; -1 where none is.
        mask: where something is coded, bool, in the form of what is coded, with C = 1.
    """

    shape: tuple[int, int, int]
    computed: Tensor | None
    answers: Tensor | None
    neighbours: Tensor
    mask: Tensor

    @property
    def asked(self) -> Tensor | None:
        """`(N,)` int64, or None: all places."""
        if self.answers is None or self.computed is None:
            return self.computed if self.answers is None else self.answers
        return self.computed[self.answers]

    def rows(self, values: Tensor) -> Tensor:
        """Of all places those that are computed: `(B·h·w, C)` or maps `(B, C, h, w)` ->
        `(M, C)`.
        """
        if values.dim() == 4:
            values = values.permute(0, 2, 3, 1).flatten(0, 2)
        return values if self.computed is None else values.index_select(0, self.computed)

    def of_samples(self, values: Tensor) -> Tensor:
        """`(B, C)` -> `(M, C)`, or `(1, C)` where there is one sample."""
        batch, height, width = self.shape
        if batch == 1:
            return values
        if self.computed is None:
            return values.repeat_interleave(height * width, 0)
        return values[self.computed // (height * width)]

    def answered(self, rows: Tensor) -> Tensor:
        """`(M, C)` -> `(N, C)`."""
        return rows if self.answers is None else rows.index_select(0, self.answers)

    def spread(self, rows: Tensor) -> Tensor:
        """Rows `(N, C)` in the form of what is coded."""
        asked = self.asked
        if self.shape[0] == 1:
            return rows.mT[None, :, None]
        if asked is not None:
            whole = rows.new_zeros(math.prod(self.shape), rows.shape[1])
            rows = whole.index_copy(0, asked, rows)
        return rows.view(*self.shape, -1).permute(0, 3, 1, 2)

    def at(self, maps: Tensor) -> Tensor:
        """Maps `(B, C, h, w)` in the form of what is coded."""
        if self.shape[0] > 1:
            return maps
        flat, asked = maps.flatten(2), self.asked
        return (flat if asked is None else flat.index_select(2, asked)).unsqueeze(2)

    def put(self, maps: Tensor, values: Tensor) -> Tensor:
        """Maps `(B, C, h, w)` with other values, in the form of what is coded, where `mask` is."""
        values = torch.where(self.mask, values, self.at(maps))
        if self.shape[0] > 1:
            return values
        flat, asked = maps.flatten(2), self.asked
        made = values.squeeze(2)
        return (made if asked is None else flat.index_copy(2, asked, made)).view_as(maps)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # training may use them after decoding did
def all_places(
    batch: int, height: int, width: int, colour: int | None, device: torch.device
) -> Places:
    """All are computed; asked are those of a colour, 0 or 1, of a checkerboard with 0 in the top
    left corner, or with None all.
    """
    numbers = torch.arange(height * width).view(1, height, width)
    around = F.pad(numbers, (1, 1, 1, 1), value=-1)[0]
    around = around.unfold(0, 3, 1).unfold(1, 3, 1).reshape(1, -1, 9)
    starts = torch.arange(batch).view(-1, 1, 1) * height * width
    around = torch.where(around < 0, -1, around + starts).flatten(0, 1)
    own = [
        number
        for number in range(batch * height * width)
        if colour in (None, (number // width % height + number % width) % 2)
    ]
    asked = torch.tensor(own, dtype=torch.int64)
    mask = torch.zeros(batch * height * width, dtype=torch.bool).index_fill(0, asked, True)
    shape = (batch, 1, height, width) if batch > 1 else (1, 1, 1, -1)
    mask = mask.view(shape) if batch > 1 else mask[asked].view(shape)
    return Places(
        shape=(batch, height, width),
        computed=None,
        answers=None if colour is None else asked.to(device),
        neighbours=around[asked].to(device),
        mask=mask.to(device),
    )


def present_places(present: Tensor, colour: int | None = None) -> Places:
    """Those where `present` `(B, 1, h, w)` bool is, and of them those of a colour.

    A network there sees nothing of other places. On the CPU only these are computed; elsewhere,
    where asking would wait, all are.
    """
    batch, _, height, width = present.shape
    whole = all_places(batch, height, width, colour, present.device)
    there, flat = whole.neighbours >= 0, present.flatten()
    if not on_cpu(present):
        near = torch.where(there & flat[whole.neighbours.clamp(min=0)], whole.neighbours, -1)
        mask = whole.mask & whole.at(present)
        return Places(
            shape=whole.shape,
            computed=None,
            answers=whole.answers,
            neighbours=near,
            mask=mask,
        )
    computed = flat.nonzero()[:, 0]
    numbers = torch.full((len(flat) + 1,), -1, dtype=torch.int64)  # the last is that of -1
    numbers[computed] = torch.arange(len(computed))
    near = numbers[whole.neighbours]
    answers = None
    if whole.answers is None:
        near = near[computed]
    else:
        kept = flat[whole.answers]
        answers, near = numbers[whole.answers[kept]], near[kept]
    mask = whole.mask & present if batch > 1 else torch.ones(1, 1, 1, len(near), dtype=torch.bool)
    return Places(
        shape=whole.shape,
        computed=computed,
        answers=answers,
        neighbours=near,
        mask=mask,
    )
