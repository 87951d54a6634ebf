"""Numba kernels of the exact networks' layers in training: rounding, bounds and their gradients.

`exact` says what they compute. As of torch's clamp, no gradient passes where a value is at a bound
or beyond: what was made says where. Arrays are channels last. Samples are added up in order:
results are the same for any number of threads.
"""

import numpy as np
from numba import njit

from codec.layers.gated_kernels import filter_sample, filter_weight_gradients

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
