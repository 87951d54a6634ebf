"""Numba kernel of `QuadtreeEntropy`: what is known around every block, in one pass; `quadtree` says it in tensors."""

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def look_around(vectors, known, mode, before, mode_before, finest, mean_level, flags, modes, counts, means, inputs, first, end):
    """Fill rows `first .. end - 1`, counted over the batch, of `means` `(B, 2·R, h, w)` int32 and `inputs` `(B, h, w, I)` float32.

    Args:
        vectors, before: `(B, 2·R, h, w)` int32, of the frame so far and of the last one.
        known: `(B, h, w)` bool.
        mode, mode_before: `(B, h, w)` int64, -1 where there is none.
        finest, mean_level: `(B, h, w)` float32, of the last frame.
        flags: `(F,)` float32, the same everywhere.
        modes: number of classes.
        counts: int64, how much a place's own guess, a guess beside it, a known neighbour and the last frame count.
    """
    references, height, width = vectors.shape[1] // 2, vectors.shape[2], vectors.shape[3]
    xs, ys, weights = np.empty(6, np.int32), np.empty(6, np.int32), np.empty(6, np.int32)
    rows, columns, there = np.empty(4, np.int64), np.empty(4, np.int64), np.empty(4, np.bool_)
    for line in range(first, end):
        b, i = line // height, line % height
        for j in range(width):
            rows[0], columns[0], there[0] = i, max(j - 1, 0), j > 0
            rows[1], columns[1], there[1] = i, min(j + 1, width - 1), j < width - 1
            rows[2], columns[2], there[2] = max(i - 1, 0), j, i > 0
            rows[3], columns[3], there[3] = min(i + 1, height - 1), j, i < height - 1
            weights[0], weights[5] = counts[0], counts[3]
            for n in range(4):
                there[n] = there[n] and known[b, rows[n], columns[n]]
                weights[n + 1] = counts[2] if there[n] else counts[1]
            target, place = inputs[b, i, j], 0
            for r in range(references):
                x, y = vectors[b, 2 * r], vectors[b, 2 * r + 1]
                xs[0], ys[0] = x[i, j], y[i, j]
                for n in range(4):
                    xs[n + 1], ys[n + 1] = x[rows[n], columns[n]], y[rows[n], columns[n]]
                xs[5], ys[5] = before[b, 2 * r, i, j], before[b, 2 * r + 1, i, j]
                best = _median(xs, ys, weights)
                means[b, 2 * r, i, j], means[b, 2 * r + 1, i, j] = xs[best], ys[best]
                for n in range(6):
                    target[n * references + r] = _companded(abs(xs[n] - xs[best]) + abs(ys[n] - ys[best]))
                target[6 * references + 2 * r] = _companded(abs(xs[best]))
                target[6 * references + 2 * r + 1] = _companded(abs(ys[best]))
            place = 8 * references
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
            target[place + 2 :] = 16 * flags


@njit(inline="always")
def _median(xs, ys, weights):
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
