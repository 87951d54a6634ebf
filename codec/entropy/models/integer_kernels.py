"""Numba kernels of the exact networks' layers in training: rounding, bounds and their gradients.

`integer_layers` says what they compute. As of torch's clamp, no gradient passes where a value is at
a bound or beyond: what was made says where. Arrays are channels last. Samples are added up in
order: results are the same for any number of threads.
"""

import math

import numpy as np
from numba import njit

from codec.layers.blocks import filter_sample, filter_weight_gradients

_ZERO = np.float32(0)


@njit(cache=True, nogil=True)
def bounded_rows(values, bias, low, high, rounds, first, end):
    """Rows `first .. end - 1` of `values` `(n, C)` plus `bias` `(C,)`, rounded and clamped, in
    place.

    Args:
        low, high: float32, bounds.
        rounds: whether to round first.
    """
    for row in range(first, end):
        _bound(values[row], bias, low, high, rounds)


@njit(cache=True, nogil=True)
def added_rows(values, bias, others, low, high, rounds, first, end):
    """As `bounded_rows`, with `others` `(n, C)` added between rounding and bounds."""
    for row in range(first, end):
        value, other = values[row], others[row]
        for c in range(len(value)):
            total = value[c] + bias[c]
            total = (np.rint(total) if rounds else total) + other[c]
            value[c] = min(max(total, low), high)


@njit(cache=True, nogil=True)
def passed_rows(gradient, bounded, low, high, made, first, end):
    """`made` `(n, C)`: the gradient where it passes bounds, zero elsewhere."""
    for row in range(first, end):
        given, value, target = gradient[row], bounded[row], made[row]
        for c in range(len(given)):
            inside = (value[c] > low) & (value[c] < high)
            target[c] = given[c] if inside else _ZERO


@njit(cache=True, nogil=True)
def bounded_forward(hidden, weight, biases, high, rounds, filtered, first, end):
    """The hidden part of a `BoundedBlock`: samples `first .. end - 1`.

    Args:
        hidden: `(B, h, w, C)` float32, becomes what the filter is given: with its bias, bounded.
        weight: `(9, C)` float32, the filter's, row by row.
        biases: `(2, C)` float32, of the hidden values and of the filter.
        filtered: `(B, h, w, C)` float32, filled, bounded.
    """
    zero = np.zeros(hidden.shape[3], np.float32)
    for b in range(first, end):
        _bound_all(hidden[b], biases[0], high, rounds)
        filter_sample(hidden[b], weight, biases[1], filtered[b])
        _bound_all(filtered[b], zero, high, rounds)


@njit(cache=True, nogil=True)
def bounded_backward(gradient, hidden, filtered, mirrored, high, made, of_weight, sums, first, end):
    """What `bounded_forward` passes back: samples `first .. end - 1`.

    Args:
        gradient: `(B, h, w, C)` float32, of what it filtered; changed.
        hidden, filtered: as it left them.
        mirrored: `(9, C)` float32, the filter's weights, the last first.
        high: as it was.
        made: `(B, h, w, C)` float32, filled.
        of_weight: `(B, 9, C)` float32, filled: each sample's share.
        sums: `(B, 2, C)` float32, filled: of the biases.
    """
    zero = np.zeros(hidden.shape[3], np.float32)
    for b in range(first, end):
        _pass_all(gradient[b], filtered[b], high, sums[b, 1])
        filter_sample(gradient[b], mirrored, zero, made[b])
        filter_weight_gradients(gradient[b], hidden[b], of_weight[b])
        _pass_all(made[b], hidden[b], high, sums[b, 0])


@njit(cache=True, nogil=True)
def _bound_all(values, bias, high, rounds):
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            _bound(values[i, j], bias, _ZERO, high, rounds)


@njit(cache=True, nogil=True)
def _bound(values, bias, low, high, rounds):
    for c in range(len(values)):
        total = values[c] + bias[c]
        total = np.rint(total) if rounds else total
        values[c] = min(max(total, low), high)


@njit(cache=True, nogil=True)
def _pass_all(gradient, bounded, high, sums):
    sums[:] = 0
    for i in range(gradient.shape[0]):
        for j in range(gradient.shape[1]):
            given, value = gradient[i, j], bounded[i, j]
            for c in range(len(given)):
                inside = (value[c] > _ZERO) & (value[c] < high)
                given[c] = given[c] if inside else _ZERO
                sums[c] += given[c]


_ZERO, _HALF, _ONE, _FOUR = map(np.float32, (0, 0.5, 1, 4))
_LOG2_E, _LN2_HIGH, _LN2_LOW = map(np.float32, (1.44269504, 0.693359375, -2.12194440e-4))
_LN_HALF, _BITS = np.float32(math.log(0.5)), np.float32(-1 / math.log(2))
_LARGEST_SHARE = np.float32(0.99995)
# of exp(x) and log(1 + x) near 0, the highest power first (Cephes, expf and logf)
_EXP = [1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5]
_LOG = [7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1]
_LOG += [-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1]
_E5, _E4, _E3, _E2, _E1, _E0 = map(np.float32, _EXP)
_L8, _L7, _L6, _L5, _L4, _L3, _L2, _L1, _L0 = map(np.float32, _LOG)
_LOWEST, _HIGHEST = np.float32(-87), np.float32(88)  # of exp's argument


@njit(cache=True, nogil=True)
def compand(values, made, unit, largest, first, end):
    """`Exact.companded` of float32."""
    for i in range(first, end):
        made[i] = np.rint(min(4 * math.sqrt(abs(values[i]) * unit), largest))


@njit(cache=True, nogil=True, error_model="numpy")
def compand_slopes(values, made, slopes, unit, largest, rounds, first, end):
    """`Exact.companded` of float32 in training, and its slopes: samples `first .. end - 1`.

    `values`, `made` and `slopes` are `(B, N)`.
    """
    for b in range(first, end):
        for i in range(values.shape[1]):
            size = abs(values[b, i]) * unit
            root = np.sqrt(max(size, _ONE))
            answer = _FOUR * (size if size < _ONE else root)
            slope = _FOUR * unit * (_ONE if size < _ONE else _HALF / root)
            slope = _ZERO if (answer >= largest) | (size == _ONE) else slope  # as torch's clamp
            sign = _ONE if values[b, i] > _ZERO else -_ONE
            slopes[b, i] = slope * sign if size > _ZERO else _ZERO
            answer = min(answer, largest)
            made[b, i] = np.rint(answer) if rounds else answer


@njit(cache=True, nogil=True)
def filter_rows(values, neighbours, weight, bias, made, first, end):
    """A 3×3 convolution by channel of places in rows: rows `first .. end - 1` of what is made.

    Args:
        values: `(n, C)` float32.
        neighbours: `(m, 9)` int64, as of `gather_places`.
        weight: `(9, C)` float32, row by row.
        bias: `(C,)` float32.
        made: `(m, C)` float32, filled.
    """
    channels = values.shape[1]
    for row in range(first, end):
        target = made[row]
        for c in range(channels):
            target[c] = bias[c]
        for k in range(9):
            if neighbours[row, k] >= 0:
                source, factor = values[neighbours[row, k]], weight[k]
                for c in range(channels):
                    target[c] += source[c] * factor[c]


@njit(cache=True, nogil=True)
def filter_gradients(gradient, values, neighbours, weight, of_values, of_weight):
    """The gradients of `filter_rows`, added to `of_values` `(n, C)` and `of_weight` `(9, C)`."""
    channels = values.shape[1]
    for row in range(len(gradient)):
        given = gradient[row]
        for k in range(9):
            place = neighbours[row, k]
            if place >= 0:
                source, target = values[place], of_values[place]
                factor, sums = weight[k], of_weight[k]
                for c in range(channels):
                    target[c] += given[c] * factor[c]
                    sums[c] += given[c] * source[c]
