"""`search_for` in tensor operations, for any device: all blocks of a level at once.

The same steps as the kernels of `block_search_numba`, with neighbours from the last step where
those read what is already decided, so that results differ a little. Nothing waits for the device.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.motion.block_decisions import (
    CELL,
    BlockDecisions,
    BlockPrices,
    bits_by_difference,
    compensate,
    reference_pairs,
    satd_of_cells,
    vector_median,
)

_PASSES = 2
_STEPS = {0: (2, 1), 1: (2, 1), 2: (8, 4, 4, 2, 1), 3: (4, 2, 1)}  # quarter pixels, by level
_AROUND = [(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1) if x or y]


def full_search(current: Tensor, reference: Tensor, rates: Tensor) -> Tensor:
    """As `block_search_numba.full_search`."""
    batch, _, height, width = current.shape
    steps = rates.shape[1] // 2
    padded = F.pad(reference.float(), (steps, steps - 1, steps, steps - 1), mode="replicate")[:, 0]
    mine = current.float()[:, 0, :, None]
    least = mine.new_full((batch, height // 4, width // 4), torch.inf)
    best = torch.zeros_like(least, dtype=torch.int64)
    for y in range(2 * steps):
        moved = padded[:, y : y + height].unfold(2, width, 1)  # (B, H, 2 N, W): all vectors across
        apart = (mine - moved).abs().view(batch, height // 4, 4, 2 * steps, width // 4, 4)
        costs = apart.sum((2, 5)) + rates[:, y].view(batch, 1, -1, 1)
        cost, x = costs.min(2)
        index = x + 2 * steps * y
        best = torch.where(cost < least, index, best)
        least = torch.minimum(cost, least)
    return torch.stack([best % (2 * steps), best // (2 * steps)], 1) - steps


class TensorSearch:
    """The search for one batch of frames; arguments as `search_for` prepares them.

    Maps of a level have one value a block; all cover the frame in whole blocks of 64.
    """

    def __init__(
        self,
        current: Tensor,
        planes: Sequence[Tensor],
        *,
        bit_price: Tensor,
        prices: BlockPrices,
        limits: tuple[int, int],
    ) -> None:
        height, width = current.shape[-2:]
        self.rows, self.columns = height // CELL, width // CELL
        self.margins = (0, -width % 64, 0, -height % 64)
        self.current = F.pad(current.float(), self.margins, mode="replicate")
        inside = torch.ones_like(current[:1, :, ::CELL, ::CELL], dtype=torch.float32)
        self.inside = self._pad(inside, 0)
        self.planes = planes
        self.price = bit_price.view(-1, 1, 1, 1)
        self.prices = prices
        self.limits = limits
        self.bits = bits_by_difference(prices, 2 * max(limits))
        self.same = prices.same.T.view(2, 1, -1, 1, 1, 1)
        self.pairs = reference_pairs(len(planes))

    def decide(
        self, coarse: Tensor, last: Tensor | None, forced: tuple[Tensor, Tensor] | None
    ) -> BlockDecisions:
        """As `block_search_numba.KernelSearch.decide`."""
        if last is None:
            last = torch.zeros_like(coarse.flatten(1, 2)).repeat_interleave(2, 2)
            last = last.repeat_interleave(2, 3)
        last = self._pad(last.int(), 0).unflatten(1, (-1, 2))
        alone: list[list[tuple]] = []
        for r in range(len(self.planes)):
            start = F.pad(coarse[:, r].float(), [m // 16 for m in self.margins], mode="replicate")
            alone.append(self._search_alone(r, start.int(), last[:, r], alone))
        field = torch.stack([found[2][0] for found in alone], 1)
        field = field.repeat_interleave(2, 3).repeat_interleave(2, 4)
        used = torch.ones_like(field[:, :, :1], dtype=torch.bool)
        pairs: list[list[Tensor]] = [[] for _ in range(4)]
        if forced is not None:
            forced = self._pad(forced[0], -1), self._pad(forced[1], 0)
        for _ in range(_PASSES):
            level, mode, field = self._decide_once(alone, pairs, field, used, last, forced)
            used = torch.stack([self._uses(mode, r) for r in range(len(self.planes))], 1)
        crop = (..., slice(self.rows), slice(self.columns))
        vectors = (field * used).flatten(1, 2).to(torch.int16)
        return BlockDecisions(
            level=level.to(torch.int8)[crop].contiguous(),
            mode=mode.to(torch.int8)[crop].contiguous(),
            vectors=vectors[crop].contiguous(),
        )

    def revise(
        self,
        level: int,
        pairs: Sequence[tuple[int, int]],
        mode: Tensor,
        vectors: Tensor,
        means: Tensor,
        present: Tensor,
    ) -> Tensor:
        """As `block_search_numba.KernelSearch.revise`."""
        both = self._whole_grid(vectors, level), self._whole_grid(means, level)
        chosen, rows = self._whole_grid(mode, level)[:, :1], []
        numbers = torch.tensor(pairs, device=mode.device)[chosen]  # (B, 1, h, w, 2)
        for choice in range(4):
            cost: Tensor | int = 0
            moved: Tensor | int = 0
            for end in range(2):
                taken = both[choice >> end & 1]
                for r in range(len(self.planes)):
                    used = (numbers[..., end] == r).unsqueeze(0)
                    vector, mean = (
                        values[None, :, 2 * r : 2 * r + 2] for values in (taken, both[1])
                    )
                    moved = moved + used_pixels(used, level) * self._moved(r, level, vector) / 2
                    counts = used & (numbers[..., 0] != numbers[..., 1]) if end else used
                    cost = cost + counts * self._rates(vector, mean)
            assert isinstance(moved, Tensor)
            rows.append(cost + self._errors(moved, level))
        alone = (numbers[..., 0] == numbers[..., 1]).unsqueeze(0)
        costs = torch.cat(rows)
        costs = torch.stack(
            [
                costs[0],
                costs[1].where(~alone[0], torch.inf),
                costs[2].where(~alone[0], torch.inf),
                costs[3],
            ]
        )
        best = costs.argmin(0)
        kept = both[0].clone()
        for end in range(2):
            takes = (best >> end & 1).bool()
            for r in range(len(self.planes)):
                here = takes & (numbers[..., end] == r)
                part = slice(2 * r, 2 * r + 2)
                kept[:, part] = torch.where(here, both[1][:, part], kept[:, part])
        height, width = vectors.shape[-2:]
        return torch.where(present, kept[..., :height, :width], vectors)

    def _whole_grid(self, values: Tensor, level: int) -> Tensor:
        """Values of the blocks of a level, for all of the padded frame."""
        height, width = self.current.shape[-2] >> 6 - level, self.current.shape[-1] >> 6 - level
        margins = 0, width - values.shape[-1], 0, height - values.shape[-2]
        return F.pad(values.float(), margins, mode="replicate").to(values.dtype)

    def _pad(self, cells: Tensor, value: int) -> Tensor:
        return F.pad(cells, [margin // CELL for margin in self.margins], value=value)

    def _uses(self, mode: Tensor, reference: int) -> Tensor:
        used = torch.zeros_like(mode, dtype=torch.bool)
        for index, pair in enumerate(self.pairs):
            if reference in pair:
                used |= mode == index
        return used

    def _moved(self, r: int, level: int, vectors: Tensor) -> Tensor:
        """The reference moved by `(N, B, 2, h, w)` of a level: `(N, B, 1, H, W)`."""
        side = CELL >> level
        cells = vectors.repeat_interleave(side, 3).repeat_interleave(side, 4)
        return compensate(self.planes[r], cells).float()

    def _errors(self, moved: Tensor, level: int) -> Tensor:
        """SATD `(N, B, 1, h, w)` of predictions `(N, B, 1, H, W)`."""
        side = CELL >> level
        cells = satd_of_cells((self.current - moved).flatten(0, 1)) * self.inside
        return (F.avg_pool2d(cells, side) * side**2).unflatten(0, moved.shape[:2])

    def _rates(self, vectors: Tensor, near: Tensor) -> Tensor:
        """What vectors `(N, B, 2, h, w)` cost that are expected at `near`: `(N, B, 1, h, w)`."""
        difference = (vectors - near).abs().clamp(max=self.bits.shape[1] - 1).long()
        sample = torch.arange(len(self.bits), device=near.device).view(1, -1, 1, 1, 1)
        apart = self.bits[sample, difference].sum(2, keepdim=True) + self.same[0]
        same = (difference == 0).all(2, keepdim=True)
        return self.price * torch.where(same, self.same[1], apart)

    def _limit(self, vectors: Tensor) -> Tensor:
        x, y = self.limits
        return torch.stack([vectors[:, :, 0].clamp(-x, x), vectors[:, :, 1].clamp(-y, y)], 2)

    def _best(self, r: int, level: int, proposals: list[Tensor], near: Tensor) -> tuple:
        """(vectors, error) of the proposals that cost least, by block."""
        vectors = self._limit(torch.stack(proposals))
        errors = self._errors(self._moved(r, level, vectors), level)
        return _take_least(errors + self._rates(vectors, near), vectors, errors)

    def _search_alone(self, r: int, start: Tensor, last: Tensor, newer: list) -> list[tuple]:
        """(vectors, error) of reference `r` alone for each level."""
        found: list = [None] * 4
        around = _beside(start)
        near = vector_median(torch.stack(around))
        proposals = [start, *around, torch.zeros_like(start), last[..., 1::2, 1::2]]
        if newer:
            vectors = newer[-1][2][0]
            proposals += [vectors, vectors * (r + 1) // r]
        vectors, _ = self._refined(r, 2, proposals, near)
        around = _beside(vectors)  # good vectors spread, as they do from block to block in kernels
        found[2] = self._refined(r, 2, [vectors, *around], vector_median(torch.stack(around)))
        near = found[2][0].repeat_interleave(2, 2).repeat_interleave(2, 3)
        found[3] = self._refined(r, 3, [near, *_beside(near, 2), last], near)
        for level in (1, 0):
            smaller = found[level + 1][0]
            children = [smaller[..., y::2, x::2] for y in (0, 1) for x in (0, 1)]
            near = vector_median(torch.stack(children))
            found[level] = self._refined(r, level, [*children, torch.zeros_like(near)], near)
        return found

    def _refined(self, r: int, level: int, proposals: list[Tensor], near: Tensor) -> tuple:
        best = self._best(r, level, proposals, near)
        for step in _STEPS[level]:
            vectors = best[0]
            around = [_shift(vectors, x * step, y * step) for x, y in _AROUND]
            best = self._best(r, level, [vectors, *around], near)
        return best

    def _decide_once(
        self,
        alone: list,
        pairs: list,
        field: Tensor,
        used: Tensor,
        last: Tensor,
        forced: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Level, mode `(B, 1, h, w)` and field `(B, R, 2, h, w)` of one pass over all levels."""
        cost = level_map = mode_map = vectors_map = field[:0]
        for level in (3, 2, 1, 0):
            side = CELL >> level
            wanted = None if forced is None else [cells[..., ::side, ::side] for cells in forced]
            whole, mode, vectors = self._whole(alone, pairs, level, field, used, last, wanted)
            mode = mode.repeat_interleave(side, 2).repeat_interleave(side, 3)
            vectors = vectors.repeat_interleave(side, 3).repeat_interleave(side, 4)
            if level == 3:
                cost, mode_map, vectors_map = whole, mode, vectors
                level_map = torch.full_like(mode, level)
                continue
            fits = F.avg_pool2d(self.inside, side) == 1
            split = self.prices.split[:, level].T.view(2, -1, 1, 1, 1)
            apart = F.avg_pool2d(cost, 2) * 4 + fits * self.price * split[1]
            whole = whole + self.price * split[0]
            join = whole <= apart
            if wanted is not None:
                join = torch.where(wanted[0] < 0, join, wanted[0] <= level)
            join = join & fits
            cost = torch.where(join, whole, apart)
            join = join.repeat_interleave(side, 2).repeat_interleave(side, 3)
            level_map = torch.where(join, level, level_map)
            mode_map = torch.where(join, mode, mode_map)
            vectors_map = torch.where(join[:, None], vectors, vectors_map)
        return level_map, mode_map, vectors_map

    def _whole(
        self,
        alone: list,
        pairs: list,
        level: int,
        field: Tensor,
        used: Tensor,
        last: Tensor,
        wanted: list[Tensor] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Least cost, mode `(B, 1, h, w)` and vectors `(B, R, 2, h, w)` of blocks of a level."""
        references = len(self.planes)
        side = CELL >> level
        middle = (..., slice(side // 2, None, side), slice(side // 2, None, side))
        near, best, errors, costs, chosen = [], [], [], [], []
        for r in range(references):
            around, known = _neighbours(field[:, r], used[:, r], side)
            near.append(vector_median(around, known))
            others = [
                torch.where(valid, vector, near[r])
                for vector, valid in zip(around, known, strict=True)
            ]
            kept = torch.where(used[:, r][middle], field[:, r][middle], near[r])
            proposals = [alone[r][level][0], near[r], *others, last[:, r][middle], kept]
            proposals.append(torch.zeros_like(near[r]))
            vectors, error = self._best(r, level, proposals, near[r])
            best.append(vectors)
            errors.append(error)
            costs.append(error + self._rates(vectors[None], near[r])[0])
            nothing = [torch.zeros_like(vectors)] * references
            chosen.append(torch.stack([*nothing[:r], vectors, *nothing[r + 1 :]], 1))
        first_pass = not pairs[level]
        for index, (r, s) in enumerate(self.pairs[references:]):
            proposals = [(best[r], best[s]), (near[r], best[s]), (best[r], near[s])]
            proposals.append((near[r], near[s]))
            if not first_pass:
                proposals.append(pairs[level][index])
            pair = self._best_pair((r, s), level, proposals, near)
            if first_pass:
                pair = self._refined_pair((r, s), level, pair[:2], near)
                pairs[level].append(pair[:2])
            costs.append(pair[2])
            nothing = [torch.zeros_like(pair[0])] * references
            nothing[r], nothing[s] = pair[0], pair[1]
            chosen.append(torch.stack(nothing, 1))
        rates = self.price * self.prices.mode[:, level].T.view(len(costs), -1, 1, 1, 1)
        cost = torch.stack(costs) + rates
        if wanted is not None:
            modes = torch.arange(len(costs), device=cost.device).view(-1, 1, 1, 1, 1)
            cost = cost.masked_fill((wanted[0] >= 0) & (wanted[1] != modes), torch.inf)
        least, mode = cost.min(0)
        vectors = torch.stack(chosen)
        place = mode[None, :, None].expand(1, *vectors.shape[1:])
        return least, mode, vectors.gather(0, place)[0]

    def _best_pair(
        self,
        references: tuple[int, int],
        level: int,
        proposals: list[tuple[Tensor, Tensor]],
        near: list[Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(vectors of the first, of the second, cost) of the best average."""
        r, s = references
        first = self._limit(torch.stack([pair[0] for pair in proposals]))
        second = self._limit(torch.stack([pair[1] for pair in proposals]))
        moved = (self._moved(r, level, first) + self._moved(s, level, second)) / 2
        rates = self._rates(first, near[r]) + self._rates(second, near[s])
        costs = self._errors(moved, level) + rates
        both, cost = _take_least(costs, torch.cat([first, second], 2), costs)
        return both[:, :2], both[:, 2:], cost

    def _refined_pair(
        self,
        references: tuple[int, int],
        level: int,
        pair: tuple[Tensor, Tensor],
        near: list[Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Each vector moved in small steps in turn, the other kept."""
        for step in (2, 1, 2, 1):
            first, second, _ = best = self._best_pair(
                references,
                level,
                [pair, *((_shift(pair[0], x * step, y * step), pair[1]) for x, y in _AROUND)],
                near,
            )
            around = [(first, _shift(second, x * step, y * step)) for x, y in _AROUND]
            best = self._best_pair(references, level, [(first, second), *around], near)
            pair = best[:2]
        return best


def _take_least(costs: Tensor, vectors: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
    """Of N by block: vectors `(B, C, h, w)` of the least cost and their error `(B, 1, h, w)`."""
    index = costs.argmin(0, keepdim=True)
    channels = index.expand(1, *vectors.shape[1:])
    return vectors.gather(0, channels)[0], errors.gather(0, index)[0]


def _shift(vectors: Tensor, x: int, y: int) -> Tensor:
    return torch.stack([vectors[:, 0] + x, vectors[:, 1] + y], 1)


def _beside(vectors: Tensor, distance: int = 1) -> list[Tensor]:
    """The vectors left, right, above and below, of `(B, 2, h, w)`; borders repeated."""
    d = distance
    wide = F.pad(vectors.float(), (d,) * 4, mode="replicate").int()
    height, width = vectors.shape[-2:]
    places = [(d, 0), (d, 2 * d), (0, d), (2 * d, d)]
    return [wide[..., y : y + height, x : x + width] for y, x in places]


def _neighbours(vectors: Tensor, used: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The vectors beside the middle of each block's sides, and which of them are in use.

    Args:
        vectors: `(B, 2, h, w)` by cell.
        used: `(B, 1, h, w)` bool.
        side: of the blocks, in cells.

    Returns:
        `(4, B, 2, h / side, w / side)`: left, right, above, below; `(4, B, 1, …)` bool.
    """
    height, width = vectors.shape[-2:]
    top = torch.arange(0, height, side, device=vectors.device)
    left = torch.arange(0, width, side, device=vectors.device)
    half = side // 2
    places = [
        (top + half, left - 1),
        (top + half, left + side),
        (top - 1, left + half),
        (top + side, left + half),
    ]
    around, known = [], []
    for rows, columns in places:
        inside = ((rows >= 0) & (rows < height)).view(-1, 1) & (columns >= 0) & (columns < width)
        y, x = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        around.append(vectors.index_select(2, y).index_select(3, x))
        known.append(used.index_select(2, y).index_select(3, x) & inside)
    return torch.stack(around), torch.stack(known)


def used_pixels(used: Tensor, level: int) -> Tensor:
    """Flags of blocks `(N, B, 1, h, w)` for each of their pixels."""
    side = 64 >> level
    return used.repeat_interleave(side, 3).repeat_interleave(side, 4)
