"""`search_for` on the CPU: numba kernels.

First each level's blocks are searched in each reference alone, smallest first; then the quadtree is
decided in two passes over the frame, each with the last one's vectors as neighbours. Threads share
the rows of 64x64 blocks; a row reads neighbours in other rows from the last pass only, so that the
result does not depend on the threads.

Most kernels are made without numba's counting of references (`_nrt=False`), which took a fifth of
the time; they therefore allocate nothing and get their memory as `Scratch`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional as F

from codec.layers.kernels import in_bands
from codec.motion.block_decisions import (
    CELL,
    MARGIN,
    SIDES,
    BlockDecisions,
    BlockPrices,
    bits_by_difference,
    reference_pairs,
)
from codec.motion.block_errors import LANES, SAD_SCALE, best_sads, byte_at, satd, satd_of_two

_TAPS = 8
_CLEARLY = 1.05  # by how much a choice must win not to be looked at again
_HOPEFUL = 1.08  # by how much an average may cost more than one reference before it is refined
# rounds of refinement by level (64, 32, 16, 8), with steps of 1, 2, 4 and 8 quarter pixels
_DX, _DY = np.array([-1, 1, 0, 0, 0]), np.array([0, 0, -1, 1, 0])
_ROUNDS = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [2, 1, 4, 2], [1, 1, 2, 1]])


class Frames(NamedTuple):
    """What is compared; addresses of uint8 arrays, for blocks are compared by address."""

    current: int  # (B, H, W)
    planes: np.ndarray  # (R,) of (B, 16, H + 2 margin, W + 2 margin)
    height: int
    width: int
    limit_x: int  # quarter pixels
    limit_y: int
    bit_price: np.ndarray  # (B,) float64
    same: np.ndarray  # (B, 2) float64: bits of a vector that is not, and that is, its prediction
    bits: np.ndarray  # (B, N) float64: bits of a component by its difference


class Found(NamedTuple):
    """The best vectors of every block of every level, and their SATD.

    What belongs to block (i, j) of a level lies at its first cell.
    """

    vectors: np.ndarray  # (B, R, 4, h, w, 2) int32, in each reference alone
    errors: np.ndarray  # (B, R, 4, h, w) float32
    pairs: np.ndarray  # (B, P, 4, h, w, 4) int32, of each average
    pair_errors: np.ndarray  # (B, P, 4, h, w) float32, negative before it is searched


class Tables(NamedTuple):
    """Modes and the bits of side information."""

    pairs: np.ndarray  # (M, 2) int64: the references of each mode
    uses: np.ndarray  # (M + 1, R) bool: whether a mode uses a reference; the last row: undecided
    split: np.ndarray  # (B, 4, 2) float64; zeros for blocks of 8
    mode: np.ndarray  # (B, 4, M) float64


def interpolate_levels(luma: Tensor, filters: Tensor) -> Tensor:
    """The `levels` of `PhasePlanes` from luma `(B, 1, H, W)` in -0.5..0.5."""
    batch, _, height, width = luma.shape
    size = batch, 16, height + 2 * MARGIN, width + 2 * MARGIN
    planes = torch.empty(size, dtype=torch.uint8)
    arrays = luma[:, 0].contiguous().numpy(), filters.float().contiguous().numpy(), planes.numpy()
    in_bands(lambda first, end: interpolate_rows(*arrays, first, end), batch * size[2])
    return planes


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def interpolate_rows(luma, filters, planes, first, end):
    """Rows `first .. end - 1`, counted over the batch: columns filtered first, then each row."""
    height, width = luma.shape[1:]
    rows, wide = planes.shape[2:]
    line, filtered = np.empty(wide + _TAPS, np.float32), np.empty(wide, np.float32)
    for n in range(first, end):
        b, row = n // rows, n % rows
        for phase_y in range(4):
            _filter_columns(luma[b], filters[phase_y], row - MARGIN, line[MARGIN + 3 :])
            line[: MARGIN + 3] = line[MARGIN + 3]
            line[MARGIN + 3 + width :] = line[MARGIN + 2 + width]
            for phase_x in range(4):
                _filter_row(line, filters[phase_x], filtered)
                _to_levels(filtered, planes[b, 4 * phase_y + phase_x, row])


@njit(nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _filter_columns(luma, taps, row, line):
    """One row of luma between rows."""
    height, width = luma.shape
    f0, f1, f2, f3 = taps[0], taps[1], taps[2], taps[3]
    f4, f5, f6, f7 = taps[4], taps[5], taps[6], taps[7]
    r0, r1 = luma[_clamp(row - 3, height)], luma[_clamp(row - 2, height)]
    r2, r3 = luma[_clamp(row - 1, height)], luma[_clamp(row, height)]
    r4, r5 = luma[_clamp(row + 1, height)], luma[_clamp(row + 2, height)]
    r6, r7 = luma[_clamp(row + 3, height)], luma[_clamp(row + 4, height)]
    for x in range(width):
        left = f0 * r0[x] + f1 * r1[x] + f2 * r2[x] + f3 * r3[x]
        line[x] = left + (f4 * r4[x] + f5 * r5[x] + f6 * r6[x] + f7 * r7[x])


@njit(nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _filter_row(line, taps, target):
    """One row between columns, as levels with 0.5 added for rounding."""
    f0, f1, f2, f3 = taps[0], taps[1], taps[2], taps[3]
    f4, f5, f6, f7 = taps[4], taps[5], taps[6], taps[7]
    count = len(target)
    p0, p1, p2, p3 = line[:count], line[1 : count + 1], line[2 : count + 2], line[3 : count + 3]
    p4, p5, p6 = line[4 : count + 4], line[5 : count + 5], line[6 : count + 6]
    p7 = line[7 : count + 7]
    scale, offset = np.float32(255), np.float32(128)  # 127.5 + rounding
    for x in range(count):
        left = f0 * p0[x] + f1 * p1[x] + f2 * p2[x] + f3 * p3[x]
        value = left + (f4 * p4[x] + f5 * p5[x] + f6 * p6[x] + f7 * p7[x])
        target[x] = value * scale + offset


@njit(nogil=True)
def _to_levels(values, target):
    zero, top = np.float32(0), np.float32(255)
    for x in range(len(target)):
        target[x] = np.uint8(np.int32(min(max(values[x], zero), top)))


@njit(inline="always")
def _clamp(index, size):
    return min(max(index, 0), size - 1)


def full_search(current: Tensor, reference: Tensor, rates: Tensor) -> Tensor:
    """The vector of each 4x4 block with the least SAD + rate, of all in a square.

    Args:
        current, reference: `(B, 1, H, W)` uint8, of whole blocks.
        rates: `(B, 2 N, 2 N)` float32, of each vector (-N .. N - 1) down and across, in SAD.

    Returns:
        `(B, 2, H / 4, W / 4)` int64, (x, y).
    """
    batch, _, height, width = current.shape
    steps = rates.shape[1] // 2
    across = -(-2 * steps // LANES) * LANES
    far = steps, across - steps + 4, steps, steps
    padded = F.pad(reference.float(), far, mode="replicate").to(torch.uint8).contiguous()
    dear = torch.full((batch, 2 * steps, across), 65535, dtype=torch.int32)
    dear[:, :, : 2 * steps] = (rates * SAD_SCALE).clamp(max=65535).round().int()
    best = torch.zeros(batch, 2, height // 4, width // 4, dtype=torch.int64)
    mine = current.contiguous()
    addresses = mine.data_ptr(), padded.data_ptr()
    size = padded.shape[2], padded.shape[3]
    arrays = dear.numpy().astype(np.uint16), best.numpy()
    in_bands(
        lambda first, end: full_search_rows(*addresses, *size, *arrays, first, end),
        batch * best.shape[2],
    )
    return best


@njit(cache=True, nogil=True)
def full_search_rows(current, reference, tall, wide, rates, best, first, end):
    """Rows `first .. end - 1` of blocks, counted over the batch; frames are given by address."""
    rows, columns = best.shape[2:]
    down, across = rates.shape[1:]
    costs = np.empty(LANES, np.uint16)
    stored = costs.ctypes.data
    for line in range(first, end):
        b, row = line // rows, line % rows
        mine = current + (b * rows + row) * 4 * (columns * 4)
        other = reference + (b * tall + row * 4) * wide
        prices = rates[b].ctypes.data
        for column in range(columns):
            least = 1 << 30
            for y in range(down):
                for x in range(0, across, LANES):
                    cost = best_sads(
                        mine + 4 * column,
                        4 * columns,
                        other + y * wide + 4 * column + x,
                        wide,
                        prices + 2 * (y * across + x),
                        stored,
                    )
                    if cost < least:
                        least = cost
                        for lane in range(LANES):
                            if costs[lane] == cost:
                                best[b, 0, row, column] = x + lane - down // 2
                                best[b, 1, row, column] = y - down // 2
                                break


class Scratch(NamedTuple):
    """Memory of one thread."""

    candidates: np.ndarray  # (16, 2)
    around: np.ndarray  # (4, 2): vectors of neighbours
    near: np.ndarray  # (R, 2): what vectors are predicted from
    vectors: np.ndarray  # (R, 2): the best of each reference alone
    errors: np.ndarray  # (R,)
    pair: np.ndarray  # (4,): the best of the average at hand
    chosen: np.ndarray  # (1 + 2 R,): mode and vectors of the block at hand
    costs: np.ndarray  # (4,): of all that is decided inside the block at hand, by its level
    patches: np.ndarray  # (2, 64 * 64) uint8


def _scratch(references: int) -> Scratch:
    return Scratch(
        candidates=np.empty((16, 2), np.int64),
        around=np.empty((4, 2), np.int64),
        near=np.empty((references, 2), np.int64),
        vectors=np.empty((references, 2), np.int64),
        errors=np.empty(references),
        pair=np.empty(4, np.int64),
        chosen=np.empty(1 + 2 * references, np.int64),
        costs=np.zeros(4),
        patches=np.empty((2, 64 * 64), np.uint8),
    )


class KernelSearch:
    """The search for one batch of frames; arguments as `search_for` prepares them."""

    def __init__(
        self,
        current: Tensor,
        planes: Sequence[Tensor],
        *,
        bit_price: Tensor,
        prices: BlockPrices,
        limits: tuple[int, int],
    ) -> None:
        self.kept = current.contiguous(), [plane.contiguous() for plane in planes]
        self.batch, _, height, width = current.shape
        self.references = len(planes)
        self.prices = prices
        self.rows, self.columns = height // CELL, width // CELL
        self.lines = -(-height // 64)
        self.frames = Frames(
            current=self.kept[0].data_ptr(),
            planes=np.array([plane.data_ptr() for plane in self.kept[1]], np.int64),
            height=height,
            width=width,
            limit_x=limits[0],
            limit_y=limits[1],
            bit_price=bit_price.double().numpy(),
            same=prices.same.double().numpy(),
            bits=bits_by_difference(prices, 2 * max(limits)).double().numpy(),
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
        """Vectors of blocks once it is known how they will be coded: their means where that is
            cheaper.

        Args:
            level: of the blocks.
            pairs: the references of each mode, twice the same for one alone.
            mode: `(B, 1, h, w)` int64.
            vectors, means: `(B, 2 R, h, w)` int32.
            present: `(B, 1, h, w)` bool, where there is a block to decide.

        Returns:
            `(B, 2 R, h, w)` int32.
        """
        kept = vectors.contiguous().clone()
        arrays = mode[:, 0].contiguous(), kept, means.contiguous(), present[:, 0].contiguous()
        maps = [array.numpy() for array in arrays]
        table = np.array(pairs, np.int64)
        in_bands(
            lambda first, end: revise_rows(
                self.frames, level, table, *maps, first, end, np.empty((2, 64 * 64), np.uint8)
            ),
            mode.shape[0] * mode.shape[2],
        )
        return kept

    def decide(
        self, coarse: Tensor, last: Tensor | None, forced: tuple[Tensor, Tensor] | None
    ) -> BlockDecisions:
        """Decisions from `coarse` vectors, the `last` frame's and `forced` levels and modes."""
        size = self.batch, self.references, self.rows, self.columns
        field = np.zeros((*size, 2), np.int32)
        before = _last_to_end(last, field)
        start = coarse.permute(0, 1, 3, 4, 2).int().contiguous().numpy()
        found = self._nothing_found()
        in_bands(
            lambda first, end: search_rows(
                self.frames,
                found.vectors,
                found.errors,
                start,
                before,
                first,
                end,
                _scratch(self.references),
            ),
            self.batch * self.lines,
        )
        pairs = np.array(reference_pairs(self.references), np.int64)
        tables = Tables(
            pairs=pairs,
            uses=np.array(
                [[r in pair for r in range(self.references)] for pair in pairs]
                + [[True] * self.references]
            ),
            split=np.pad(self.prices.split.double().numpy(), ((0, 0), (0, 1), (0, 0))),
            mode=self.prices.mode.double().numpy(),
        )
        level = np.zeros((self.batch, self.rows, self.columns), np.int8)
        mode = np.full((self.batch, self.rows, self.columns), -1, np.int8)
        forced_maps = self._forced(forced)
        field[:] = found.vectors[:, :, 2, ::2, ::2].repeat(2, 2).repeat(2, 3)
        new = field, mode, level
        known = np.full((self.batch, len(SIDES), self.rows, self.columns, 2), np.inf)
        for again in (False, True):
            old = field.copy(), mode.copy()
            in_bands(
                lambda first, end, old=old, again=again: decide_rows(
                    self.frames,
                    found,
                    before,
                    old,
                    new,
                    known,
                    again,
                    tables,
                    forced_maps,
                    first,
                    end,
                    _scratch(self.references),
                ),
                self.batch * self.lines,
            )
        vectors = torch.from_numpy(field).to(torch.int16).permute(0, 1, 4, 2, 3)
        return BlockDecisions(
            level=torch.from_numpy(level)[:, None],
            mode=torch.from_numpy(mode)[:, None],
            vectors=vectors.reshape(self.batch, -1, self.rows, self.columns),
        )

    def _nothing_found(self) -> Found:
        pyramid = len(SIDES), self.rows, self.columns
        pairs = self.references * (self.references - 1) // 2
        return Found(
            np.zeros((self.batch, self.references, *pyramid, 2), np.int32),
            np.zeros((self.batch, self.references, *pyramid), np.float32),
            np.zeros((self.batch, pairs, *pyramid, 4), np.int32),
            np.full((self.batch, pairs, *pyramid), -1, np.float32),
        )

    def _forced(self, forced: tuple[Tensor, Tensor] | None) -> tuple[np.ndarray, np.ndarray]:
        if forced is None:
            nothing = np.full((self.batch, self.rows, self.columns), -1, np.int8)
            return nothing, nothing
        return forced[0][:, 0].contiguous().numpy(), forced[1][:, 0].contiguous().numpy()


def _last_to_end(last: Tensor | None, like: np.ndarray) -> np.ndarray:
    """`(B, 2 R, h, w)` -> `(B, R, h, w, 2)` int32, zeros for None."""
    if last is None:
        return np.zeros_like(like)
    return last.int().unflatten(1, (-1, 2)).permute(0, 1, 3, 4, 2).contiguous().numpy()


@njit(nogil=True, _nrt=False, forceinline=True)
def _moved(frames, b, r, top, left, size, x, y, patch):
    """Address and stride of the block at (top, left) moved by (x, y); in `patch` at the border."""
    tall, wide = frames.height + 2 * MARGIN, frames.width + 2 * MARGIN
    phase = 4 * (y & 3) + (x & 3)
    plane = frames.planes[r] + (b * 16 + phase) * tall * wide
    row, column = top + (y >> 2) + MARGIN, left + (x >> 2) + MARGIN
    if row >= 0 and column >= 0 and row + size <= tall and column + size <= wide:
        return plane + row * wide + column, wide
    _cut(plane, tall, wide, row, column, size, patch)
    return patch.ctypes.data, 64


@njit(nogil=True, _nrt=False)
def _cut(plane, tall, wide, row, column, size, patch):
    """Fill `patch` from a plane at (row, column), borders repeated."""
    for i in range(size):
        line = plane + _clamp(row + i, tall) * wide
        for j in range(size):
            patch[i * 64 + j] = byte_at(line + _clamp(column + j, wide))


@njit(nogil=True, _nrt=False, forceinline=True)
def _bits(frames, b, x, y, near_x, near_y):
    if x == near_x and y == near_y:
        return frames.same[b, 1]
    return frames.same[b, 0] + frames.bits[b, abs(x - near_x)] + frames.bits[b, abs(y - near_y)]


@njit(nogil=True, _nrt=False, forceinline=True)
def _error(frames, b, r, top, left, size, x, y, patch):
    """SATD of a block predicted from one reference."""
    moved, stride = _moved(frames, b, r, top, left, size, x, y, patch)
    mine = frames.current + (b * frames.height + top) * frames.width + left
    return satd(mine, frames.width, moved, stride, size)


@njit(nogil=True, _nrt=False, forceinline=True)
def _error_of_pair(frames, b, r, s, top, left, size, x, y, fixed, stride, patch):
    """SATD of the average of a block at address `fixed` and the one at (x, y) in `r`."""
    moved, wide = _moved(frames, b, r, top, left, size, x, y, patch)
    mine = frames.current + (b * frames.height + top) * frames.width + left
    return satd_of_two(mine, frames.width, moved, wide, fixed, stride, size)


@njit(nogil=True, _nrt=False)
def _add(candidates, count, limit_x, limit_y, x, y):
    """Put a vector on the list, limited, unless it is there; how many are there then."""
    x = min(max(x, -limit_x), limit_x)
    y = min(max(y, -limit_y), limit_y)
    for n in range(count):
        if candidates[n, 0] == x and candidates[n, 1] == y:
            return count
    candidates[count, 0], candidates[count, 1] = x, y
    return count + 1


@njit(nogil=True, _nrt=False)
def _append(vectors, count, vector):
    """Put a vector on a list; how many are there then."""
    vectors[count, 0], vectors[count, 1] = vector[0], vector[1]
    return count + 1


@njit(nogil=True, _nrt=False)
def _best_candidate(frames, b, r, top, left, size, candidates, count, near_x, near_y, patch):
    """(x, y, cost, error) of the candidate with the least error + rate."""
    price = frames.bit_price[b]
    best_x, best_y, best, least = 0, 0, np.inf, np.inf
    for n in range(count):
        x, y = candidates[n, 0], candidates[n, 1]
        rate = price * _bits(frames, b, x, y, near_x, near_y)
        if rate < best:
            error = _error(frames, b, r, top, left, size, x, y, patch)
            if error + rate < best:
                best_x, best_y, best, least = x, y, error + rate, error
    return best_x, best_y, best, least


@njit(nogil=True, _nrt=False)
def _refine(frames, b, r, top, left, size, start, near_x, near_y, step, rounds, patch):
    """Move (x, y, cost, error) to the best of its neighbours, at most `rounds` times.

    The neighbours are four, and the one between the better of each two.
    """
    price = frames.bit_price[b]
    best_x, best_y, best, least = start
    for _ in range(rounds):
        middle_x, middle_y = best_x, best_y
        towards_x, towards_y, lower = 0, 0, np.inf
        for n in range(5):
            dx, dy = _DX[n] * step, _DY[n] * step
            if n == 4:
                dx, dy = towards_x, towards_y
            x, y, cost = middle_x + dx, middle_y + dy, np.inf
            if abs(x) <= frames.limit_x and abs(y) <= frames.limit_y:
                cost = price * _bits(frames, b, x, y, near_x, near_y)
                if cost < best or n < 4:
                    error = _error(frames, b, r, top, left, size, x, y, patch)
                    cost += error
                    if cost < best:
                        best_x, best_y, best, least = x, y, cost, error
            if n == 0 or n == 2:
                lower = cost
            elif n == 1:
                towards_x = dx if cost < lower else -dx
            elif n == 3:
                towards_y = dy if cost < lower else -dy
        if best_x == middle_x and best_y == middle_y:
            break
    return best_x, best_y, best, least


@njit(cache=True, nogil=True, _nrt=False)
def revise_rows(frames, level, pairs, mode, vectors, means, present, first, end, patches):
    """`KernelSearch.revise` for rows `first .. end - 1` of blocks, counted over the batch; changes
    `vectors`.
    """
    rows, columns = mode.shape[1:]
    size, largest = 64 >> level, frames.bits.shape[1] - 1
    for line in range(first, end):
        b, i = line // rows, line % rows
        price = frames.bit_price[b]
        for j in range(columns):
            if not present[b, i, j]:
                continue
            r, s = pairs[mode[b, i, j], 0], pairs[mode[b, i, j], 1]
            top, left, best, kept = size * i, size * j, np.inf, 0
            for choice in range(2 if r == s else 4):
                x, y = vectors[b, 2 * r, i, j], vectors[b, 2 * r + 1, i, j]
                far_x, far_y = vectors[b, 2 * s, i, j], vectors[b, 2 * s + 1, i, j]
                if choice & 1:
                    x, y = means[b, 2 * r, i, j], means[b, 2 * r + 1, i, j]
                if choice & 2:
                    far_x, far_y = means[b, 2 * s, i, j], means[b, 2 * s + 1, i, j]
                if max(abs(x), abs(y), abs(far_x), abs(far_y)) > 32000:
                    continue
                cost = price * _bits_to_mean(
                    frames, b, x, y, means[b, 2 * r : 2 * r + 2, i, j], largest
                )
                if r == s:
                    cost += _error(frames, b, r, top, left, size, x, y, patches[0])
                else:
                    cost += price * _bits_to_mean(
                        frames, b, far_x, far_y, means[b, 2 * s : 2 * s + 2, i, j], largest
                    )
                    fixed, stride = _moved(frames, b, s, top, left, size, far_x, far_y, patches[0])
                    cost += _error_of_pair(
                        frames, b, r, s, top, left, size, x, y, fixed, stride, patches[1]
                    )
                if cost < best:
                    best, kept = cost, choice
            if kept & 1:
                vectors[b, 2 * r, i, j] = means[b, 2 * r, i, j]
                vectors[b, 2 * r + 1, i, j] = means[b, 2 * r + 1, i, j]
            if kept & 2:
                vectors[b, 2 * s, i, j] = means[b, 2 * s, i, j]
                vectors[b, 2 * s + 1, i, j] = means[b, 2 * s + 1, i, j]


@njit(nogil=True, _nrt=False, forceinline=True)
def _bits_to_mean(frames, b, x, y, mean, largest):
    across, down = min(abs(x - mean[0]), largest), min(abs(y - mean[1]), largest)
    if across == 0 and down == 0:
        return frames.same[b, 1]
    return frames.same[b, 0] + frames.bits[b, across] + frames.bits[b, down]


@njit(nogil=True, _nrt=False)
def _vector_median(vectors, count):
    """Of `count` vectors the one nearest to all; zero if there is none."""
    best_x, best_y, least = 0, 0, 1 << 40
    for n in range(count):
        distance = 0
        for m in range(count):
            distance += abs(vectors[n, 0] - vectors[m, 0]) + abs(vectors[n, 1] - vectors[m, 1])
        if distance < least:
            best_x, best_y, least = vectors[n, 0], vectors[n, 1], distance
    return best_x, best_y


@njit(cache=True, nogil=True, _nrt=False)
def search_rows(frames, vectors, errors, start, before, first, end, scratch):
    """Fill `vectors` and `errors` of `Found` for rows `first .. end - 1` of 64x64 blocks.

    Rows are counted over the batch. `start` holds vectors of 16x16 blocks from the full search,
    `before` the last frame's.
    """
    lines = (frames.height + 63) // 64
    rows, columns = before.shape[2:4]
    patch, candidates, around = scratch.patches[0], scratch.candidates, scratch.around
    for line in range(first, end):
        b, row = line // lines, line % lines
        for column in range((frames.width + 63) // 64):
            for r in range(len(frames.planes)):
                for level in (2, 3, 1, 0):
                    side, across = 8 >> level, 1 << level
                    for n in range(across * across):
                        i, j = across * row + n // across, across * column + n % across
                        if (i + 1) * side > rows or (j + 1) * side > columns:
                            continue
                        if level == 2:
                            tried, near_x, near_y = _candidates_16(
                                frames, vectors, start, before, b, r, i, j, candidates, around
                            )
                        elif level == 3:
                            tried, near_x, near_y = _candidates_8(
                                frames, vectors, before, b, r, i, j, candidates
                            )
                        else:
                            tried, near_x, near_y = _candidates_of_large(
                                frames, vectors, level, b, r, i, j, candidates
                            )
                        size = 64 >> level
                        top, left = size * i, size * j
                        best = _best_candidate(
                            frames, b, r, top, left, size, candidates, tried, near_x, near_y, patch
                        )
                        for power in range(3, -1, -1):
                            rounds = _ROUNDS[level, power]
                            best = _refine(
                                frames,
                                b,
                                r,
                                top,
                                left,
                                size,
                                best,
                                near_x,
                                near_y,
                                1 << power,
                                rounds,
                                patch,
                            )
                        vectors[b, r, level, side * i, side * j, 0] = best[0]
                        vectors[b, r, level, side * i, side * j, 1] = best[1]
                        errors[b, r, level, side * i, side * j] = best[3]


@njit(nogil=True, _nrt=False)
def _candidates_16(frames, vectors, start, before, b, r, i, j, candidates, around):
    """From the full search, the blocks around, the last frame, and newer references."""
    rows, columns = start.shape[2:4]
    count = 0
    if j > 0:
        count = _append(around, count, vectors[b, r, 2, 2 * i, 2 * (j - 1)])
    if i > 0:
        above = vectors[b, r, 2, 2 * (i - 1), 2 * j] if i % 4 else start[b, r, i - 1, j]
        count = _append(around, count, above)
    if j + 1 < columns:
        count = _append(around, count, start[b, r, i, j + 1])
    if i + 1 < rows:
        count = _append(around, count, start[b, r, i + 1, j])
    near_x, near_y = _vector_median(around, count)
    tried = _add(
        candidates, 0, frames.limit_x, frames.limit_y, start[b, r, i, j, 0], start[b, r, i, j, 1]
    )
    tried = _add(candidates, tried, frames.limit_x, frames.limit_y, 0, 0)
    for n in range(count):
        tried = _add(candidates, tried, frames.limit_x, frames.limit_y, around[n, 0], around[n, 1])
    last = before[b, r, 2 * i + 1, 2 * j + 1]
    tried = _add(candidates, tried, frames.limit_x, frames.limit_y, last[0], last[1])
    if r > 0:
        newer = vectors[b, r - 1, 2, 2 * i, 2 * j]
        tried = _add(candidates, tried, frames.limit_x, frames.limit_y, newer[0], newer[1])
        x, y = newer[0] * (r + 1) // r, newer[1] * (r + 1) // r
        tried = _add(candidates, tried, frames.limit_x, frames.limit_y, x, y)
    return tried, near_x, near_y


@njit(nogil=True, _nrt=False)
def _candidates_8(frames, vectors, before, b, r, i, j, candidates):
    """From the 16x16 block that it lies in, those beside it, and the last frame."""
    rows, columns = before.shape[2:4]
    top, left = i - i % 2, j - j % 2
    near = vectors[b, r, 2, top, left]
    near_x, near_y = near[0], near[1]
    tried = _add(candidates, 0, frames.limit_x, frames.limit_y, near_x, near_y)
    beside = left + (2 if j % 2 else -2)
    if 0 <= beside < columns and beside // 8 <= j // 8:
        vector = vectors[b, r, 2, top, beside]
        tried = _add(candidates, tried, frames.limit_x, frames.limit_y, vector[0], vector[1])
    above = top + (2 if i % 2 else -2)
    if 0 <= above < rows and above // 8 == i // 8:
        vector = vectors[b, r, 2, above, left]
        tried = _add(candidates, tried, frames.limit_x, frames.limit_y, vector[0], vector[1])
    if j > 0:
        vector = vectors[b, r, 3, i, j - 1]
        tried = _add(candidates, tried, frames.limit_x, frames.limit_y, vector[0], vector[1])
    if i % 8:
        vector = vectors[b, r, 3, i - 1, j]
        tried = _add(candidates, tried, frames.limit_x, frames.limit_y, vector[0], vector[1])
    last = before[b, r, i, j]
    tried = _add(candidates, tried, frames.limit_x, frames.limit_y, last[0], last[1])
    return tried, near_x, near_y


@njit(nogil=True, _nrt=False)
def _candidates_of_large(frames, vectors, level, b, r, i, j, candidates):
    """From the four blocks inside and the one on the left."""
    side = 8 >> level
    near_x, near_y = 0, 0
    tried = _add(candidates, 0, frames.limit_x, frames.limit_y, 0, 0)
    for n in range(4):
        y, x = side * i + (n // 2) * side // 2, side * j + (n % 2) * side // 2
        near_x, near_y = vectors[b, r, level + 1, y, x, 0], vectors[b, r, level + 1, y, x, 1]
        tried = _add(candidates, tried, frames.limit_x, frames.limit_y, near_x, near_y)
    if j > 0:
        left = vectors[b, r, level, side * i, side * (j - 1)]
        near_x, near_y = left[0], left[1]
        tried = _add(candidates, tried, frames.limit_x, frames.limit_y, near_x, near_y)
    return tried, near_x, near_y


@njit(cache=True, nogil=True, _nrt=False)
def decide_rows(frames, found, before, old, new, known, again, tables, forced, first, end, scratch):
    """Decide rows `first .. end - 1` of 64x64 blocks, counted over the batch.

    `old` is the last pass's (field, mode); `new`, now (field, mode, level), starts as `old`.
    `known` keeps each block's cost as a whole and split, by which a pass `again` saves work.
    """
    lines = (frames.height + 63) // 64
    rows, columns = new[1].shape[1:]
    costs = scratch.costs
    costs[:] = 0
    for line in range(first, end):
        b, row = line // lines, line % lines
        price = frames.bit_price[b]
        for column in range((columns + 7) // 8):
            for n in range(64):  # in order of the quadtree: bits of n are y x y x y x
                y = 8 * row + (n >> 5 & 1) * 4 + (n >> 3 & 1) * 2 + (n >> 1 & 1)
                x = 8 * column + (n >> 4 & 1) * 4 + (n >> 2 & 1) * 2 + (n & 1)
                closed = _closed(known, forced, b, y, x) if again else 3
                for level in range(closed, -1, -1):
                    cells = 64 >> 2 * level
                    if n & (cells - 1) != cells - 1:
                        break  # not the last of this block
                    side = 8 >> level
                    i, j = y // side, x // side
                    if (i + 1) * side <= rows and (j + 1) * side <= columns:
                        top, left = side * i, side * j
                        wanted = forced[0][b, top, left]
                        apart = costs[level] + price * tables.split[b, level, 1]
                        if level == closed:
                            apart = np.inf
                        whole = np.inf
                        if not again or wanted >= 0 or not _hopeless(known, b, level, top, left):
                            whole = price * tables.split[b, level, 0] + _evaluate(
                                frames,
                                found,
                                before,
                                old,
                                new,
                                tables,
                                forced,
                                b,
                                level,
                                i,
                                j,
                                scratch,
                            )
                        known[b, level, top, left, 0] = whole
                        known[b, level, top, left, 1] = apart
                        if level == 3 or ((whole <= apart) if wanted < 0 else wanted <= level):
                            _write(new, scratch.chosen, b, level, i, j)
                            costs[level] = whole
                        else:
                            costs[level] = apart
                    if level > 0:
                        costs[level - 1] += costs[level]
                    costs[level] = 0


@njit(nogil=True, _nrt=False)
def _closed(known, forced, b, y, x):
    """The level at (y, x) below which splitting cost much more in the last pass; 3 if none."""
    if forced[0][b, y, x] < 0:
        for level in range(3):
            side = 8 >> level
            costs = known[b, level, y - y % side, x - x % side]
            if costs[0] * _CLEARLY < costs[1]:
                return level
    return 3


@njit(nogil=True, _nrt=False)
def _hopeless(known, b, level, top, left):
    """Whether a block cost much more as a whole in the last pass than split."""
    costs = known[b, level, top, left]
    return costs[1] * _CLEARLY < costs[0]


@njit(nogil=True, _nrt=False, forceinline=True)
def _write(new, chosen, b, level, i, j):
    field, mode, levels = new
    side = 8 >> level
    for y in range(side * i, side * i + side):
        for x in range(side * j, side * j + side):
            levels[b, y, x] = level
            mode[b, y, x] = chosen[0]
            for r in range(field.shape[1]):
                field[b, r, y, x, 0] = chosen[1 + 2 * r]
                field[b, r, y, x, 1] = chosen[2 + 2 * r]


@njit(nogil=True, _nrt=False, forceinline=True)
def _neighbours(old, new, tables, b, r, level, i, j, around):
    """Fill `around` with the vectors of the neighbours that use `r`; how many do."""
    rows, columns = new[1].shape[1:]
    side = 8 >> level
    top, left, half = side * i, side * j, side // 2
    count = 0
    for n in range(4):
        y = top + half if n < 2 else (top - 1 if n == 2 else top + side)
        x = left + half if n >= 2 else (left - 1 if n == 0 else left + side)
        if y < 0 or x < 0 or y >= rows or x >= columns:
            continue
        if y // 8 == top // 8:
            field, mode = new[0], new[1][b, y, x]
        else:
            field, mode = old[0], old[1][b, y, x]
        if tables.uses[mode, r]:
            around[count, 0], around[count, 1] = field[b, r, y, x, 0], field[b, r, y, x, 1]
            count += 1
    return count


@njit(nogil=True, _nrt=False, forceinline=True)
def _evaluate(frames, found, before, old, new, tables, forced, b, level, i, j, scratch):
    """The least cost of block (i, j) of `level` as a whole; `scratch.chosen` holds the choice."""
    vectors, errors, chosen = scratch.vectors, scratch.errors, scratch.chosen
    references, side, price = len(errors), 8 >> level, frames.bit_price[b]
    wanted = forced[1][b, side * i, side * j] if forced[0][b, side * i, side * j] >= 0 else -1
    best, best_mode = np.inf, 0
    for r in range(references):
        cost = _evaluate_alone(frames, found, before, old, new, tables, b, r, level, i, j, scratch)
        cost += price * tables.mode[b, level, r]
        if cost < best or wanted == r:
            best, best_mode = cost, r
        if wanted == r:
            break
    for mode in range(references, len(tables.pairs)):
        if 0 <= wanted != mode:
            continue
        cost = _evaluate_pair(frames, found, tables, b, mode, level, i, j, best, scratch)
        cost += price * tables.mode[b, level, mode]
        if cost < best or wanted == mode:
            best, best_mode = cost, mode
            r, s = tables.pairs[mode, 0], tables.pairs[mode, 1]
            chosen[1:] = 0
            chosen[1 + 2 * r], chosen[2 + 2 * r] = scratch.pair[0], scratch.pair[1]
            chosen[1 + 2 * s], chosen[2 + 2 * s] = scratch.pair[2], scratch.pair[3]
    chosen[0] = best_mode
    if best_mode < references:
        chosen[1:] = 0
        chosen[1 + 2 * best_mode] = vectors[best_mode, 0]
        chosen[2 + 2 * best_mode] = vectors[best_mode, 1]
    return best


@njit(nogil=True, _nrt=False, forceinline=True)
def _evaluate_alone(frames, found, before, old, new, tables, b, r, level, i, j, scratch):
    """The cost of a block predicted from `r`, without its mode; the best vector in `scratch`."""
    near, candidates = scratch.near, scratch.candidates
    size, side, price = 64 >> level, 8 >> level, frames.bit_price[b]
    count = _neighbours(old, new, tables, b, r, level, i, j, scratch.around)
    near[r, 0], near[r, 1] = _vector_median(scratch.around, count)
    known = found.vectors[b, r, level, side * i, side * j]
    error = found.errors[b, r, level, side * i, side * j]
    best = error + price * _bits(frames, b, known[0], known[1], near[r, 0], near[r, 1])
    tried = _add(candidates, 0, frames.limit_x, frames.limit_y, known[0], known[1])
    tried = _add(candidates, tried, frames.limit_x, frames.limit_y, near[r, 0], near[r, 1])
    for n in range(count):
        tried = _add(
            candidates,
            tried,
            frames.limit_x,
            frames.limit_y,
            scratch.around[n, 0],
            scratch.around[n, 1],
        )
    tried = _add(candidates, tried, frames.limit_x, frames.limit_y, 0, 0)
    y, x = side * i + side // 2, side * j + side // 2
    tried = _add(
        candidates,
        tried,
        frames.limit_x,
        frames.limit_y,
        before[b, r, y, x, 0],
        before[b, r, y, x, 1],
    )
    if tables.uses[old[1][b, y, x], r]:
        tried = _add(
            candidates,
            tried,
            frames.limit_x,
            frames.limit_y,
            old[0][b, r, y, x, 0],
            old[0][b, r, y, x, 1],
        )
    scratch.vectors[r, 0], scratch.vectors[r, 1] = known[0], known[1]
    patch = scratch.patches[0]
    if tried > 1:
        other = _best_candidate(
            frames,
            b,
            r,
            size * i,
            size * j,
            size,
            candidates[1:],
            tried - 1,
            near[r, 0],
            near[r, 1],
            patch,
        )
        if other[2] < best:
            scratch.vectors[r, 0], scratch.vectors[r, 1] = other[0], other[1]
            best, error = other[2], other[3]
    scratch.errors[r] = error
    return best


@njit(nogil=True, _nrt=False, forceinline=True)
def _evaluate_pair(frames, found, tables, b, mode, level, i, j, alone, scratch):
    """The cost of a block as an average of two, without its mode; its vectors in `scratch.pair`."""
    near, vectors, errors, pair = scratch.near, scratch.vectors, scratch.errors, scratch.pair
    r, s = tables.pairs[mode, 0], tables.pairs[mode, 1]
    size, price = 64 >> level, frames.bit_price[b]
    top, left = size * i, size * j
    y, x, p = (8 >> level) * i, (8 >> level) * j, mode - len(errors)
    known = found.pairs[b, p, level, y, x]
    known_error = found.pair_errors[b, p, level, y, x]
    best = np.inf
    if known_error >= 0:
        rate = _bits(frames, b, known[0], known[1], near[r, 0], near[r, 1])
        rate += _bits(frames, b, known[2], known[3], near[s, 0], near[s, 1])
        best = known_error + price * rate
        pair[0], pair[1], pair[2], pair[3] = known[0], known[1], known[2], known[3]
    for choice in range(4):
        first = vectors[r] if choice & 1 == 0 else near[r]
        second = vectors[s] if choice & 2 == 0 else near[s]
        rate = _bits(frames, b, first[0], first[1], near[r, 0], near[r, 1])
        rate = price * (rate + _bits(frames, b, second[0], second[1], near[s, 0], near[s, 1]))
        if rate >= best:
            continue
        fixed, stride = _moved(
            frames, b, s, top, left, size, second[0], second[1], scratch.patches[0]
        )
        error = rate + _error_of_pair(
            frames, b, r, s, top, left, size, first[0], first[1], fixed, stride, scratch.patches[1]
        )
        if error < best:
            best = error
            pair[0], pair[1], pair[2], pair[3] = first[0], first[1], second[0], second[1]
    if known_error < 0:
        turns = 2 if best < _HOPEFUL * alone else 0
        for turn in range(turns):
            moving = int(errors[r] > errors[s]) ^ turn ^ 1  # the worse one first
            best = _refine_pair(
                frames, b, tables.pairs[mode], moving, top, left, size, best, scratch
            )
        rate = _bits(frames, b, pair[0], pair[1], near[r, 0], near[r, 1])
        rate += _bits(frames, b, pair[2], pair[3], near[s, 0], near[s, 1])
        known[0], known[1], known[2], known[3] = pair[0], pair[1], pair[2], pair[3]
        found.pair_errors[b, p, level, y, x] = max(best - price * rate, 0.0)
    return best


@njit(nogil=True, _nrt=False, forceinline=True)
def _refine_pair(frames, b, references, moving, top, left, size, best, scratch):
    """Move one vector of `scratch.pair` in small steps, the other kept; the cost after it."""
    pair, near, price = scratch.pair, scratch.near, frames.bit_price[b]
    r, s = references[moving], references[1 - moving]
    kept_x, kept_y = pair[2 * (1 - moving)], pair[2 * (1 - moving) + 1]
    fixed, stride = _moved(frames, b, s, top, left, size, kept_x, kept_y, scratch.patches[0])
    kept_bits = _bits(frames, b, kept_x, kept_y, near[s, 0], near[s, 1])
    best_x, best_y = pair[2 * moving], pair[2 * moving + 1]
    for step in (2, 1):
        middle_x, middle_y = best_x, best_y
        towards_x, towards_y, lower = 0, 0, np.inf
        for n in range(5):
            dx, dy = _DX[n] * step, _DY[n] * step
            if n == 4:
                dx, dy = towards_x, towards_y
            x, y, cost = middle_x + dx, middle_y + dy, np.inf
            if abs(x) <= frames.limit_x and abs(y) <= frames.limit_y:
                cost = price * (kept_bits + _bits(frames, b, x, y, near[r, 0], near[r, 1]))
                if cost < best or n < 4:
                    cost += _error_of_pair(
                        frames, b, r, s, top, left, size, x, y, fixed, stride, scratch.patches[1]
                    )
                    if cost < best:
                        best_x, best_y, best = x, y, cost
            if n == 0 or n == 2:
                lower = cost
            elif n == 1:
                towards_x = dx if cost < lower else -dx
            elif n == 3:
                towards_y = dy if cost < lower else -dy
    pair[2 * moving], pair[2 * moving + 1] = best_x, best_y
    return best
