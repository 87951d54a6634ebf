"""What both sides know of a frame's block motion while it is coded, coarse blocks first."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import combinations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from codec.entropy.models import quadtree_kernels as kernels
from codec.entropy.models.integer_layers import SIXTEENTHS, Exact
from codec.layers.kernels import by_kernel, in_bands

CELL = 8  # pixels: the smallest block, and the grid of the maps
CELLS = (8, 4, 2, 1)  # cells a side of blocks of 64, 32, 16 and 8 pixels
NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1))  # (x, y)
# How much a place's own guess, a guess beside it, a neighbour that is coded already, and the last
# frame count in a median.
_OWN, _BESIDE, _KNOWN, _TEMPORAL = 1, 1, 3, 2


def prediction_modes(references: int) -> list[tuple[int, ...]]:
    """What a block may be predicted from, by class: one reference alone, or the average of two."""
    return [(r,) for r in range(references)] + list(combinations(range(references), 2))


def used_references(mode: Tensor, references: int) -> Tensor:
    """`(B, 1, h, w)` classes of `prediction_modes` -> `(B, R, h, w)` bool: what a block uses."""
    return uses(references, mode.device)[mode[:, 0]].permute(0, 3, 1, 2)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # training may use it after decoding did
def uses(references: int, device: torch.device) -> Tensor:
    """`(M + 1, R)` bool: whether a mode uses a reference; the last row is that of mode -1."""
    modes = prediction_modes(references)
    rows = [[r in used for r in range(references)] for used in [*modes, ()]]
    return torch.tensor(rows, device=device)


def network_inputs(references: int) -> int:
    """Channels of what `BlockKnowledge.look_around` sees."""
    flags = len(CELLS) + 2
    return 8 * references + len(NEIGHBOURS) + 2 * len(prediction_modes(references)) + 2 + flags


@dataclass(frozen=True, kw_only=True)
class BlockKnowledge:
    """What is known on the grid of one level. On the CPU kernels work on it, elsewhere tensors do.

    Attributes:
        vectors: `(B, 2·R, h, w)` int32, quarter pixels: coded, or as they are expected.
        known: `(B, 1, h, w)` bool: coded.
        mode: `(B, 1, h, w)` int64, -1 where it is not known.
        exists: `(B, 1, h, w)` bool: there is a block here, and it is not decided yet.
    """

    vectors: Tensor
    known: Tensor
    mode: Tensor
    exists: Tensor

    @classmethod
    def start(cls, last: LastFrame) -> BlockKnowledge:
        """Before anything is coded: vectors are expected to be what they were."""
        vectors = last.at(0).vectors.clone(memory_format=torch.contiguous_format)
        nothing = torch.zeros_like(vectors[:, :1], dtype=torch.bool)
        mode = torch.full_like(nothing, -1, dtype=torch.int64)
        return cls(vectors=vectors, known=nothing, mode=mode, exists=~nothing)

    @property
    def grid(self) -> tuple[int, int]:
        """`(h, w)`."""
        return self.known.shape[-2], self.known.shape[-1]

    def look_around(
        self,
        before: Before,
        level: int,
        second: bool,
        exact: Exact,
        slots: Tensor | None,
        rows: int,
    ) -> tuple[Tensor, Tensor]:
        """What is expected of vectors, and what the network sees of a place.

        A vector's mean is, of those around it, the one that differs least from the others.

        Args:
            before: the last frame on this grid.
            level: of the grid.
            second: whether this is the second pass over it.
            exact: whose `companded` is used.
            slots: `(B, h, w)` int32: the row of the inputs that belongs to a place, -1 where none
                does. None: every place has one, in order.
            rows: how many there are.

        Returns:
            Means `(B, 2·R, h, w)` int32, where this pass codes and where there are inputs; and
            `(rows, I)` integers in -127..127.
        """
        levels = [float(k == level) for k in range(len(CELLS))]
        flags = [*levels, float(second), float(before.there)]
        if by_kernel(self.vectors):
            return self._look_by_kernel(before, flags, second, slots, rows)
        return self._look_by_tensors(before, flags, exact)

    def _look_by_kernel(
        self, before: Before, flags: list[float], second: bool, slots: Tensor | None, rows: int
    ) -> tuple[Tensor, Tensor]:
        batch, width, (high, wide) = len(self.vectors), self.vectors.shape[1], self.grid
        references = width // 2
        if slots is None:
            slots = torch.arange(rows, dtype=torch.int32).view(batch, high, wide)
        means = torch.zeros_like(self.vectors)
        inputs = torch.empty(rows, network_inputs(references))
        tensors = self.vectors, self.known[:, 0], self.mode[:, 0], *before.arrays, slots
        arrays = [tensor.numpy() for tensor in tensors]
        counts = np.array(_counts(before.there))
        modes = len(prediction_modes(references))
        constants = np.array(flags, np.float32), modes, counts, int(second)
        made = means.numpy(), inputs.numpy()

        def rows_of(first: int, end: int) -> None:
            kernels.look_around(*arrays, *constants, *made, first, end)

        in_bands(rows_of, batch * high)
        return means, inputs

    def _look_by_tensors(
        self,
        before: Before,
        flags: list[float],
        exact: Exact,
    ) -> tuple[Tensor, Tensor]:
        vectors = [self.vectors, *(_shifted(self.vectors, by) for by in NEIGHBOURS), before.vectors]
        known = [_shifted(self.known, by) & _there(self.known, by) for by in NEIGHBOURS]
        own, guess, neighbour, temporal = _counts(before.there)
        like = torch.zeros_like(self.mode, dtype=torch.int32)
        around = [like + guess + (neighbour - guess) * flag for flag in known]
        weights = [like + own, *around, like + temporal]
        means = _vector_median(torch.stack(vectors), torch.stack(weights))
        distances = torch.cat([lengths(candidate - means) for candidate in vectors], 1).float()
        modes = [_shifted(self.mode, by) for by in NEIGHBOURS]
        classes = range(len(prediction_modes(vectors[0].shape[1] // 2)))
        pairs = list(zip(modes, known, strict=True))
        beside = [torch.stack([(mode == k) & flag for mode, flag in pairs]).sum(0) for k in classes]
        lasting = [before.mode == k for k in classes]
        plain = torch.cat([*known, *beside, *lasting, before.finest, before.mean], 1) * SIXTEENTHS
        same = torch.cat([like[:, :1] + flag * SIXTEENTHS for flag in flags], 1)
        sizes = exact.companded(torch.cat([distances, means.abs().float()], 1))
        seen = torch.cat([sizes, plain.floor(), same], 1)
        return means, seen.permute(0, 2, 3, 1).flatten(0, 2)

    def take(
        self,
        second: bool,
        present: Tensor,
        mode: Tensor,
        vectors: Tensor,
        means: Tensor,
        distances: tuple[int, ...],
    ) -> BlockKnowledge:
        """What is known after a pass; this object is not to be used any more.

        Args:
            second: which pass; it leaves means where it could have coded and did not.
            present: `(B, 1, h, w)` bool, where it coded.
            mode: `(B, 1, h, w)` int64.
            vectors, means: `(B, 2·R, h, w)` int32; vectors count where the mode uses them.
            distances: frames to each reference.
        """
        references = vectors.shape[1] // 2
        if by_kernel(vectors):
            fields = self.vectors, self.known[:, 0], self.mode[:, 0]
            given = present[:, 0], mode[:, 0].contiguous(), vectors.contiguous(), means
            arrays = [tensor.numpy() for tensor in (*fields, *given, uses(references, mode.device))]
            frames = np.array(distances, np.int64)

            def rows(first: int, end: int) -> None:
                kernels.take(*arrays, frames, int(second), first, end)

            in_bands(rows, len(vectors) * self.grid[0])
            return self
        used = used_references(mode, references)
        vectors = torch.where(used.repeat_interleave(2, 1), vectors, means)
        vectors = torch.where(present, _completed(vectors, used, distances), means)
        return replace(
            self,
            vectors=torch.where(self.here(second), vectors, self.vectors),
            known=self.known | present,
            mode=torch.where(present, mode, self.mode),
        )

    def here(self, second: bool) -> Tensor:
        """`(1, 1, h, w)` bool: the places of a pass, those of one colour of a checkerboard."""
        return checkerboard(*self.grid, int(second), self.known.device)

    def decide(self, decided: Tensor, level: int, leaf: Tensor) -> Tensor:
        """`decided` `(B, 2 + 2·R, H, W)` float32 maps with those blocks that are `leaf`.

        What is given is not to be used any more.
        """
        if by_kernel(self.vectors):
            tensors = leaf[:, 0], self.mode[:, 0], self.vectors, decided
            arrays = [tensor.numpy() for tensor in tensors]

            def rows(first: int, end: int) -> None:
                kernels.decide(*arrays, level, CELLS[level], first, end)

            in_bands(rows, len(leaf) * self.grid[0])
            return decided
        size = (decided.shape[-2], decided.shape[-1])
        cells = CELLS[level]
        found = torch.cat([torch.full_like(self.mode, level), self.mode, self.vectors], 1).float()
        return torch.where(_fine(leaf, cells, size), _fine(found, cells, size), decided)

    def finer(self, split: Tensor, size: tuple[int, int]) -> BlockKnowledge:
        """The same on the next grid, of `size`, where the blocks that `split` are four."""
        fields = {"vectors": self.vectors, "known": self.known, "mode": self.mode, "exists": split}
        return BlockKnowledge(**{name: _fine(value, 2, size) for name, value in fields.items()})


@dataclass(frozen=True, kw_only=True)
class Before:
    """The last frame on the grid of a level, `(B, …, h, w)`.

    Attributes:
        vectors: int32.
        mode: int64, -1 where there is no last frame.
        finest, mean: float32, the finest and the mean level within a block.
        there: there is a last frame.
    """

    vectors: Tensor
    mode: Tensor
    finest: Tensor
    mean: Tensor
    there: bool

    @property
    def arrays(self) -> tuple[Tensor, ...]:
        """As the kernel takes them."""
        maps = self.vectors, self.mode[:, 0], self.finest[:, 0], self.mean[:, 0]
        return tuple(value.contiguous() for value in maps)


@dataclass(frozen=True, eq=False)
class LastFrame:
    """The maps of the last frame, `(B, 2 + 2·R, h, w)`, zero where there are none."""

    maps: Tensor
    there: bool
    _levels: dict[int, Before] = field(default_factory=dict)

    @classmethod
    def of(cls, maps: Tensor | None, like: Tensor) -> LastFrame:
        """`like`: maps of the frame to be coded."""
        if maps is None:
            return cls(torch.zeros_like(like), False)
        return cls(maps.detach().float(), True)

    def at(self, level: int) -> Before:
        """On the grid of a level: vectors and mode in the middle of each block; made once."""
        if level not in self._levels:
            self._levels[level] = self._at(level)
        return self._levels[level]

    def _at(self, level: int) -> Before:
        cells = CELLS[level]
        maps = _whole_blocks(self.maps, cells)
        middle, depth = maps[..., cells // 2 :: cells, cells // 2 :: cells], maps[:, :1]
        mode = middle[:, 1:2].long()
        finest = mean = depth
        if cells > 1:
            finest, mean = F.max_pool2d(depth, cells), F.avg_pool2d(depth, cells)
        return Before(
            vectors=middle[:, 2:].int(),
            mode=mode if self.there else torch.full_like(mode, -1),
            finest=finest,
            mean=mean,
            there=self.there,
        )


def grid_of(size: tuple[int, int], level: int) -> tuple[int, int]:
    """Blocks of a level in maps of `size`, those that cross the border included."""
    return -(-size[0] // CELLS[level]), -(-size[1] // CELLS[level])


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def inside(size: tuple[int, int], level: int, device: torch.device) -> Tensor:
    """`(1, 1, h, w)` bool: the block does not cross the border of maps of `size`."""
    cells, (height, width) = CELLS[level], grid_of(size, level)
    rows = (torch.arange(height, device=device) + 1) * cells <= size[0]
    columns = (torch.arange(width, device=device) + 1) * cells <= size[1]
    return (rows[:, None] & columns[None])[None, None]


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def checkerboard(height: int, width: int, colour: int, device: torch.device) -> Tensor:
    """`(1, 1, h, w)` bool: where row plus column, modulo two, is `colour`."""
    rows = torch.arange(height, device=device)[:, None]
    columns = torch.arange(width, device=device)[None]
    return ((rows + columns) % 2 == colour)[None, None]


def lengths(vectors: Tensor) -> Tensor:
    """`(B, 2·R, …)` -> `(B, R, …)`: |x| + |y|."""
    return vectors.abs().unflatten(1, (-1, 2)).sum(2)


def _counts(temporal: bool) -> tuple[int, int, int, int]:
    """How much the vectors around a place count, `_TEMPORAL` only where there is a last frame."""
    return _OWN, _BESIDE, _KNOWN, _TEMPORAL if temporal else 0


def _vector_median(vectors: Tensor, weights: Tensor) -> Tensor:
    """Of N vectors, the one whose summed weighted distance to the others is least; ties: the first.

    `vectors` `(N, B, 2·R, h, w)` and `weights` `(N, B, 1, h, w)`, int32 -> `(B, 2·R, h, w)` int32.

    Source: Astola et al., *Vector median filters*, 1990.
    """
    pairs = vectors.unflatten(2, (-1, 2))
    distance = [((pairs - one).abs().sum(3) * weights).sum(0) for one in pairs]
    key = torch.stack([total * len(distance) + n for n, total in enumerate(distance)])
    least = key.argmin(0)[None, :, :, None].expand(1, *pairs.shape[1:])
    return pairs.gather(0, least)[0].flatten(1, 2)


def _completed(vectors: Tensor, used: Tensor, distances: tuple[int, ...]) -> Tensor:
    """Where a reference is not used, the vector of the first one that is, scaled by distance."""
    parts, flags = vectors.unflatten(1, (-1, 2)).unbind(1), used.split(1, 1)
    count = len(distances)
    scaled = list(parts)
    for source in reversed(range(count)):  # the first that is used counts in the end
        for r in range(count):
            if r != source:
                guess = _rescaled(parts[source], distances[r], distances[source])
                scaled[r] = torch.where(flags[source] & ~flags[r], guess, scaled[r])
    return torch.stack(scaled, 1).flatten(1, 2)


def _rescaled(vectors: Tensor, wanted: int, given: int) -> Tensor:
    """Integer `vectors` over `given` frames as they are over `wanted`, rounded to the nearest."""
    wanted, given = (wanted, given) if given > 0 else (-wanted, -given)
    return torch.div(2 * wanted * vectors + given, 2 * given, rounding_mode="floor")


def _shifted(values: Tensor, by: tuple[int, int]) -> Tensor:
    """The value of the neighbour at `by` (x, y); the place's own at the border."""
    x, y = by
    height, width = values.shape[-2:]
    rows = torch.arange(height, device=values.device).add(y).clamp(0, height - 1)
    columns = torch.arange(width, device=values.device).add(x).clamp(0, width - 1)
    return values.index_select(-2, rows).index_select(-1, columns)


def _there(like: Tensor, by: tuple[int, int]) -> Tensor:
    """`(1, 1, h, w)` bool: the neighbour at `by` lies in the frame."""
    height, width = like.shape[-2:]
    rows = torch.arange(height, device=like.device) + by[1]
    columns = torch.arange(width, device=like.device) + by[0]
    here = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None]
    return here[None, None]


def _whole_blocks(maps: Tensor, cells: int) -> Tensor:
    height, width = maps.shape[-2:]
    return F.pad(maps, (0, -width % cells, 0, -height % cells), mode="replicate")


def _fine(values: Tensor, cells: int, size: tuple[int, int]) -> Tensor:
    """Blocks' values in each of their cells, contiguous."""
    large = values.repeat_interleave(cells, 2).repeat_interleave(cells, 3)
    return large[..., : size[0], : size[1]].contiguous()
