"""Numba kernels of the exact networks' layers in training: rounding, bounds and their gradients.

`exact` says what they compute. Arrays are channels last. Samples are added up in
order: results are the same for any number of threads.
"""

import numpy as np
from numba import njit

from codec.layers.gated_kernels import filter_sample, filter_weight_gradients

_ZERO = np.float32(0)


@njit(cache=True, nogil=True)
def bounded_rows(values, bias, low, high, rounds, passed, first, end):
    """Rows `first .. end - 1` of `values` `(n, C)` plus `bias` `(C,)`, rounded and clamped, in place.

    Args:
        low, high: float32, bounds.
        rounds: whether to round first.
        passed: `(n, C)` bool, filled: where the bounds change nothing.
    """
    for row in range(first, end):
        _bound(values[row], bias, low, high, rounds, passed[row])


@njit(cache=True, nogil=True)
def added_rows(values, bias, others, low, high, rounds, passed, first, end):
    """As `bounded_rows`, with `others` `(n, C)` added between rounding and bounds."""
    for row in range(first, end):
        value, other, flags = values[row], others[row], passed[row]
        for c in range(len(value)):
            total = value[c] + bias[c]
            total = (np.rint(total) if rounds else total) + other[c]
            flags[c] = (total >= low) & (total <= high)
            value[c] = min(max(total, low), high)


@njit(cache=True, nogil=True)
def passed_rows(gradient, passed, made, first, end):
    """`made` `(n, C)`: the gradient where it passed, zero elsewhere."""
    for row in range(first, end):
        given, flags, target = gradient[row], passed[row], made[row]
        for c in range(len(given)):
            target[c] = given[c] if flags[c] else _ZERO


@njit(cache=True, nogil=True)
def bounded_forward(hidden, weight, biases, high, rounds, filtered, passed, first, end):
    """The hidden part of a `BoundedBlock`: samples `first .. end - 1`.

    Args:
        hidden: `(B, h, w, C)` float32, becomes what the filter is given: with its bias, bounded.
        weight: `(9, C)` float32, the filter's, row by row.
        biases: `(2, C)` float32, of the hidden values and of the filter.
        filtered: `(B, h, w, C)` float32, filled, bounded.
        passed: `(2, B, h, w, C)` bool, filled: where bounds change nothing.
    """
    zero = np.zeros(hidden.shape[3], np.float32)
    for b in range(first, end):
        _bound_all(hidden[b], biases[0], high, rounds, passed[0, b])
        filter_sample(hidden[b], weight, biases[1], filtered[b])
        _bound_all(filtered[b], zero, high, rounds, passed[1, b])


@njit(cache=True, nogil=True)
def bounded_backward(gradient, hidden, mirrored, passed, made, of_weight, sums, first, end):
    """What `bounded_forward` passes back: samples `first .. end - 1`.

    Args:
        gradient: `(B, h, w, C)` float32, of what it filtered; changed.
        hidden, passed: as it left them.
        mirrored: `(9, C)` float32, the filter's weights, the last first.
        made: `(B, h, w, C)` float32, filled.
        of_weight: `(B, 9, C)` float32, filled: each sample's share.
        sums: `(B, 2, C)` float32, filled: of the biases.
    """
    zero = np.zeros(hidden.shape[3], np.float32)
    for b in range(first, end):
        _pass_all(gradient[b], passed[1, b], sums[b, 1])
        filter_sample(gradient[b], mirrored, zero, made[b])
        filter_weight_gradients(gradient[b], hidden[b], of_weight[b])
        _pass_all(made[b], passed[0, b], sums[b, 0])


@njit(cache=True, nogil=True)
def _bound_all(values, bias, high, rounds, passed):
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            _bound(values[i, j], bias, _ZERO, high, rounds, passed[i, j])


@njit(cache=True, nogil=True)
def _bound(values, bias, low, high, rounds, passed):
    for c in range(len(values)):
        total = values[c] + bias[c]
        total = np.rint(total) if rounds else total
        passed[c] = (total >= low) & (total <= high)
        values[c] = min(max(total, low), high)


@njit(cache=True, nogil=True)
def _pass_all(gradient, passed, sums):
    sums[:] = 0
    for i in range(gradient.shape[0]):
        for j in range(gradient.shape[1]):
            given, flags = gradient[i, j], passed[i, j]
            for c in range(len(given)):
                given[c] = given[c] if flags[c] else _ZERO
                sums[c] += given[c]
