"""Numba kernels of `QuadtreeEntropy` and `BlockKnowledge`, which say the same in tensors."""

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def look_around(
    vectors,
    known,
    mode,
    before,
    mode_before,
    finest,
    mean_level,
    slots,
    flags,
    modes,
    counts,
    colour,
    means,
    inputs,
    first,
    end,
):
    """What is known around every block: rows `first .. end - 1`, counted over the batch.

    Args:
        vectors, before: `(B, 2·R, h, w)` int32, of the frame so far and of the last one.
        known: `(B, h, w)` bool.
        mode, mode_before: `(B, h, w)` int64, -1 where there is none.
        finest, mean_level: `(B, h, w)` float32, of the last frame.
        slots: `(B, h, w)` int32, the row of `inputs` that a place fills, -1 where none.
        flags: `(F,)` float32, the same everywhere.
        modes: number of classes.
        counts: int64, how much a place's own guess, a guess beside it, a known neighbour and the
            last frame count.
        colour: of a checkerboard: where means are made even without a slot.
        means: `(B, 2·R, h, w)` int32, filled.
        inputs: `(n, I)` float32, filled.
    """
    references, height, width = vectors.shape[1] // 2, vectors.shape[2], vectors.shape[3]
    xs, ys, weights = np.empty(6, np.int32), np.empty(6, np.int32), np.empty(6, np.int32)
    rows, columns = np.empty(4, np.int64), np.empty(4, np.int64)
    there = np.empty(4, np.bool_)
    weights[0], weights[5] = counts[0], counts[3]
    for line in range(first, end):
        b, i = line // height, line % height
        for j in range(width):
            slot = slots[b, i, j]
            if slot < 0 and (i + j) % 2 != colour:
                continue
            rows[0], columns[0], there[0] = i, max(j - 1, 0), j > 0
            rows[1], columns[1], there[1] = i, min(j + 1, width - 1), j < width - 1
            rows[2], columns[2], there[2] = max(i - 1, 0), j, i > 0
            rows[3], columns[3], there[3] = min(i + 1, height - 1), j, i < height - 1
            for n in range(4):
                there[n] = there[n] and known[b, rows[n], columns[n]]
                weights[n + 1] = counts[2] if there[n] else counts[1]
            for r in range(references):
                x, y = vectors[b, 2 * r], vectors[b, 2 * r + 1]
                xs[0], ys[0] = x[i, j], y[i, j]
                for n in range(4):
                    xs[n + 1], ys[n + 1] = x[rows[n], columns[n]], y[rows[n], columns[n]]
                xs[5], ys[5] = before[b, 2 * r, i, j], before[b, 2 * r + 1, i, j]
                best = _median(xs, ys, weights)
                means[b, 2 * r, i, j], means[b, 2 * r + 1, i, j] = xs[best], ys[best]
                if slot >= 0:
                    target = inputs[slot]
                    for n in range(6):
                        apart = abs(xs[n] - xs[best]) + abs(ys[n] - ys[best])
                        target[n * references + r] = _companded(apart)
                    target[6 * references + 2 * r] = _companded(abs(xs[best]))
                    target[6 * references + 2 * r + 1] = _companded(abs(ys[best]))
            if slot < 0:
                continue
            target, place = inputs[slot], 8 * references
            for n in range(4):
                target[place + n] = 16 if there[n] else 0
            place += 4
            target[place : place + 2 * modes] = 0
            for n in range(4):
                if there[n] and mode[b, rows[n], columns[n]] >= 0:
                    target[place + mode[b, rows[n], columns[n]]] += 16
            if mode_before[b, i, j] >= 0:
                target[place + modes + mode_before[b, i, j]] = 16
            place += 2 * modes
            target[place] = 16 * finest[b, i, j]
            target[place + 1] = math.floor(16 * mean_level[b, i, j])
            for n in range(len(flags)):
                target[place + 2 + n] = 16 * flags[n]


@njit(inline="always")
def _median(xs, ys, weights):
    alike = True
    for n in range(1, len(xs)):
        alike = alike and xs[n] == xs[0] and ys[n] == ys[0]
    if alike:
        return 0
    best, least = 0, np.int64(2**62)
    for n in range(len(xs)):
        total = np.int64(0)
        for m in range(len(xs)):
            total += weights[m] * (abs(xs[n] - xs[m]) + abs(ys[n] - ys[m]))
        if total < least:
            best, least = n, total
    return best


@njit(inline="always")
def _companded(length):
    return np.float32(np.rint(min(4 * math.sqrt(np.float32(length) * np.float32(16)), 127.0)))


@njit(cache=True, nogil=True)
def take(
    vectors,
    known,
    mode,
    present,
    new_mode,
    new_vectors,
    means,
    uses,
    distances,
    colour,
    first,
    end,
):
    """`BlockKnowledge.take` for rows `first .. end - 1`, counted over the batch.

    It changes the first three arrays.

    Args:
        vectors, new_vectors, means: `(B, 2·R, h, w)` int32.
        known, present: `(B, h, w)` bool.
        mode, new_mode: `(B, h, w)` int64.
        uses: `(M + 1, R)` bool.
        distances: int64, of the references that there are.
        colour: of the places of this pass.
    """
    references, height, width = vectors.shape[1] // 2, vectors.shape[2], vectors.shape[3]
    for line in range(first, end):
        b, i = line // height, line % height
        for j in range((i + colour) % 2, width, 2):
            if not present[b, i, j]:
                for c in range(2 * references):
                    vectors[b, c, i, j] = means[b, c, i, j]
                continue
            known[b, i, j] = True
            mode[b, i, j] = new_mode[b, i, j]
            used = uses[new_mode[b, i, j]]
            for c in range(2 * references):
                vectors[b, c, i, j] = new_vectors[b, c, i, j] if used[c // 2] else means[b, c, i, j]
            source = 0
            while source < len(distances) and not used[source]:
                source += 1
            if source == len(distances):
                continue
            for r in range(len(distances)):
                if not used[r]:
                    for c in range(2):
                        value = new_vectors[b, 2 * source + c, i, j]
                        scaled = _rescaled(value, distances[r], distances[source])
                        vectors[b, 2 * r + c, i, j] = scaled


@njit(inline="always")
def _rescaled(value, wanted, given):
    if given < 0:
        wanted, given = -wanted, -given
    return np.int32(2 * wanted * value + given) // (2 * given)  # int32 may wrap, as tensors do


@njit(cache=True, nogil=True)
def decide(leaf, mode, vectors, decided, level, cells, first, end):
    """`BlockKnowledge.decide` for rows `first .. end - 1` of blocks, counted over the batch.

    Args:
        leaf: `(B, h, w)` bool.
        mode: `(B, h, w)` int64.
        vectors: `(B, 2·R, h, w)` int32.
        decided: `(B, 2 + 2·R, H, W)` float32, changed.
        level, cells: number of the level, and cells a side of its blocks.
    """
    height, width = leaf.shape[1:]
    for line in range(first, end):
        b, i = line // height, line % height
        for j in range(width):
            if leaf[b, i, j]:
                for y in range(cells * i, cells * i + cells):
                    for x in range(cells * j, cells * j + cells):
                        decided[b, 0, y, x] = level
                        decided[b, 1, y, x] = mode[b, i, j]
                        for c in range(vectors.shape[1]):
                            decided[b, 2 + c, y, x] = vectors[b, c, i, j]


@njit(cache=True, nogil=True)
def gather_places(wanted, slots, computed, answers, neighbours):
    """Places that are wanted, and those that touch them: what a 3×3 convolution needs.

    Args:
        wanted: `(B, h, w)` bool.
        slots: `(B, h, w)` int32, filled: the number of a place that is computed, -1 elsewhere.
        computed: `(B·h·w,)` int64, filled: where computed places are, in order.
        answers: `(B·h·w,)` int64, filled: the numbers of those that are wanted, in order.
        neighbours: `(B·h·w, 9)` int64, filled: the numbers of the 3×3 places about each that is
            wanted, row by row, -1 outside.

    Returns:
        How many are computed, and how many are wanted.
    """
    batch, height, width = wanted.shape
    count, found = 0, 0
    slots[:] = -1
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                if wanted[b, i, j]:
                    for y in range(max(i - 1, 0), min(i + 2, height)):
                        for x in range(max(j - 1, 0), min(j + 2, width)):
                            slots[b, y, x] = 0
        for i in range(height):
            for j in range(width):
                if slots[b, i, j] == 0:
                    slots[b, i, j] = count
                    computed[count] = (b * height + i) * width + j
                    count += 1
        for i in range(height):
            for j in range(width):
                if wanted[b, i, j]:
                    answers[found] = slots[b, i, j]
                    for k in range(9):
                        y, x = i + k // 3 - 1, j + k % 3 - 1
                        inside = 0 <= y < height and 0 <= x < width
                        neighbours[found, k] = slots[b, y, x] if inside else -1
                    found += 1
    return count, found
