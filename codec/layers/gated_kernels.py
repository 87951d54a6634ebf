"""Numba kernels of blocks with a 3×3 filter by channel and of their gradients, channels last.

They go from sample to sample, so that what one kernel wrote is still in a cache for the next, and
samples are added up in order: results are the same for any number of threads.
"""

import numpy as np
from numba import njit

_SLOPE = np.float32(0.1)  # of the leaky rectifier
_SIXTH, _HALF, _THREE = np.float32(1 / 6), np.float32(0.5), np.float32(3)
_ZERO, _ONE = np.float32(0), np.float32(1)


@njit(cache=True, nogil=True)
def gated_forward(hidden, hidden_bias, weight, bias, filtered, made, first, end):
    """The hidden part of a gated block: samples `first .. end - 1`.

    Args:
        hidden: `(B, h, w, 2·C)` float32, becomes what the filter is given: with the bias,
            rectified.
        hidden_bias, bias: `(2·C,)` float32, before the rectifier and of the filter.
        weight: `(9, 2·C)` float32, the filter's, row by row.
        filtered: `(B, h, w, 2·C)` float32, filled.
        made: `(B, h, w, C)` float32, filled: the first half times the gate that the last one says.
    """
    for b in range(first, end):
        rectify(hidden[b], hidden_bias)
        filter_sample(hidden[b], weight, bias, filtered[b])
        gate(filtered[b], made[b])


@njit(cache=True, nogil=True)
def gated_backward(gradient, hidden, filtered, mirrored, of_hidden, of_weight, sums, first, end):
    """What `gated_forward` passes back: samples `first .. end - 1`.

    Args:
        gradient: `(B, h, w, C)` float32, of what it made.
        hidden, filtered: as it left them.
        mirrored: `(9, 2·C)` float32, the filter's weights, the last first.
        of_hidden: `(B, h, w, 2·C)` float32, filled.
        of_weight: `(B, 9, 2·C)` float32, filled: each sample's share.
        sums: `(B, 2, 2·C)` float32, filled: of the filter's bias, and of the one before.
    """
    of_filtered = np.empty(hidden.shape[1:], np.float32)
    zero = np.zeros(hidden.shape[3], np.float32)
    for b in range(first, end):
        gate_gradients(gradient[b], filtered[b], of_filtered, sums[b, 0])
        filter_sample(of_filtered, mirrored, zero, of_hidden[b])
        filter_weight_gradients(of_filtered, hidden[b], of_weight[b])
        rectify_gradients(of_hidden[b], hidden[b], sums[b, 1])


@njit(cache=True, nogil=True, fastmath={"contract"})
def filter_sample(values, weight, bias, made):
    """A 3×3 filter by channel, zero outside.

    Args:
        values: `(h, w, C)` float32.
        weight: `(9, C)` float32, row by row.
        bias: `(C,)` float32.
        made: `(h, w, C)` float32, filled.
    """
    height, width, channels = values.shape
    zero = np.zeros(channels, np.float32)
    for i in range(height):
        above, below = i > 0, i + 1 < height
        for j in range(width):
            left, right = j > 0, j + 1 < width
            target = made[i, j]
            n0 = values[i - 1, j - 1] if above and left else zero
            n1 = values[i - 1, j] if above else zero
            n2 = values[i - 1, j + 1] if above and right else zero
            n3 = values[i, j - 1] if left else zero
            n4 = values[i, j]
            n5 = values[i, j + 1] if right else zero
            n6 = values[i + 1, j - 1] if below and left else zero
            n7 = values[i + 1, j] if below else zero
            n8 = values[i + 1, j + 1] if below and right else zero
            for c in range(channels):
                total = bias[c] + n0[c] * weight[0, c] + n1[c] * weight[1, c]
                total += n2[c] * weight[2, c] + n3[c] * weight[3, c] + n4[c] * weight[4, c]
                total += n5[c] * weight[5, c] + n6[c] * weight[6, c]
                target[c] = total + n7[c] * weight[7, c] + n8[c] * weight[8, c]


@njit(cache=True, nogil=True, fastmath={"contract"})
def filter_weight_gradients(gradient, values, made):
    """The gradient of the weights of `filter_sample`.

    Args:
        gradient: `(h, w, C)` float32, of what was filtered.
        values: `(h, w, C)` float32.
        made: `(9, C)` float32, filled.
    """
    height, width, channels = values.shape
    zero = np.zeros(channels, np.float32)
    made[:] = 0
    for i in range(height):
        for k in range(3):
            y = i + k - 1
            if not 0 <= y < height:
                continue
            left, middle, right = made[3 * k], made[3 * k + 1], made[3 * k + 2]
            for j in range(0, width, 2):  # two places at once
                one, n1 = gradient[i, j], values[y, j]
                other = gradient[i, j + 1] if j + 1 < width else zero
                n0 = values[y, j - 1] if j > 0 else zero
                n2 = values[y, j + 1] if j + 1 < width else zero
                n3 = values[y, j + 2] if j + 2 < width else zero
                for c in range(channels):
                    left[c] += one[c] * n0[c] + other[c] * n1[c]
                    middle[c] += one[c] * n1[c] + other[c] * n2[c]
                    right[c] += one[c] * n2[c] + other[c] * n3[c]


@njit(cache=True, nogil=True, fastmath={"contract"})
def gate(values, made):
    """`(h, w, 2·C)`, the first half times the gate that the last one says: `(h, w, C)`."""
    height, width, half = made.shape
    for i in range(height):
        for j in range(width):
            value, odds, target = values[i, j, :half], values[i, j, half:], made[i, j]
            for c in range(half):
                target[c] = value[c] * min(max(odds[c] * _SIXTH + _HALF, _ZERO), _ONE)


@njit(cache=True, nogil=True, fastmath={"contract"})
def gate_gradients(gradient, values, made, sums):
    """What `gate` passes back, `made` `(h, w, 2·C)`, and its sums `(2·C,)` over places."""
    height, width, half = gradient.shape
    sums[:] = 0
    for i in range(height):
        for j in range(width):
            given, value, odds = gradient[i, j], values[i, j, :half], values[i, j, half:]
            target = made[i, j]
            of_value, of_odds = target[:half], target[half:]
            for c in range(half):
                of_value[c] = given[c] * min(max(odds[c] * _SIXTH + _HALF, _ZERO), _ONE)
            for c in range(half):
                slope = _SIXTH if abs(odds[c]) < _THREE else _ZERO
                of_odds[c] = given[c] * value[c] * slope
            for c in range(2 * half):
                sums[c] += target[c]


@njit(cache=True, nogil=True)
def rectify(values, bias):
    """The leaky rectifier of `values` `(h, w, C)` plus `bias` `(C,)`, in place."""
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            value = values[i, j]
            for c in range(len(value)):
                total = value[c] + bias[c]
                value[c] = max(total, _SLOPE * total)


@njit(cache=True, nogil=True)
def rectify_gradients(gradient, values, sums):
    """What `rectify` passes back, in place of `gradient`, and its sums; `values` are rectified."""
    sums[:] = 0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            given, value = gradient[i, j], values[i, j]
            for c in range(len(value)):
                given[c] *= _ONE if value[c] > _ZERO else _SLOPE
                sums[c] += given[c]
