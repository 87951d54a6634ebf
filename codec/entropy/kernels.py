"""Numba kernels of the entropy networks' element-wise work; what they compute is said beside them
in tensors.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numba import njit
from torch import Tensor

from codec.layers.bands import in_bands

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


def mapped(kernel: Callable, values: Tensor, kind: torch.dtype, *constants: float) -> Tensor:
    """What `kernel(values, made, *constants, first, end)` makes of all `values` `(B, C, h, w)`: the
    same shape, channels last.
    """
    source = values.detach().float().permute(0, 2, 3, 1).contiguous()
    made = torch.empty_like(source, dtype=kind)
    arrays = (source.view(-1).numpy(), made.view(-1).numpy(), *constants)
    in_bands(lambda first, end: kernel(*arrays, first, end), values.numel())
    return made.permute(0, 3, 1, 2)


def flat(maps: Tensor) -> Tensor:
    """`(B, C, h, w)` -> `(B, h·w·C)`, contiguous."""
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1).contiguous()


def as_maps(values: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `flat`."""
    batch, channels, height, width = shape
    return values.view(batch, height, width, channels).permute(0, 3, 1, 2)


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
def limit(index, made, factor, top, first, end):
    """`limit_index`: samples `first .. end - 1`, `(B, N)` float32."""
    for b in range(first, end):
        for i in range(index.shape[1]):
            value = index[b, i] * factor
            value = _ZERO if value < _ZERO else value  # NaN stays
            made[b, i] = top if value > top else value


@njit(cache=True, nogil=True)
def limit_gradients(gradient, index, made, factor, top, first, end):
    """What `limit` passes back, all `(B, N)` float32."""
    for b in range(first, end):
        for i in range(index.shape[1]):
            given, value = gradient[b, i] * factor, index[b, i] * factor
            low = (value < _ZERO) & (given > _ZERO)
            high = (value > top) & (given < _ZERO)
            made[b, i] = _ZERO if low | high else given


@njit(cache=True, nogil=True, error_model="numpy")
def signed_logs(values, made, first, end):
    """log(1 + |x|), and it with the sign of x, zero where x is: samples `first .. end - 1`.

    Args:
        values: `(B, h, w, C)` float32.
        made: `(B, H, W, 2·C)` float32, filled, the last row and column repeated.
    """
    height, width, channels = values.shape[1:]
    for b in range(first, end):
        for i in range(made.shape[1]):
            for j in range(made.shape[2]):
                source = values[b, min(i, height - 1), min(j, width - 1)]
                sizes, signed = made[b, i, j, :channels], made[b, i, j, channels:]
                for c in range(channels):
                    size = _log_one_plus(abs(source[c]))
                    sizes[c] = size
                    signed[c] = size if source[c] > _ZERO else -size


@njit(cache=True, nogil=True, error_model="numpy")
def signed_log_gradients(gradient, values, made, first, end):
    """What `signed_logs` passes back, `made` `(B, h, w, C)` float32."""
    height, width, channels = values.shape[1:]
    made[first:end] = 0
    for b in range(first, end):
        for i in range(gradient.shape[1]):
            for j in range(gradient.shape[2]):
                y, x = min(i, height - 1), min(j, width - 1)
                source, target = values[b, y, x], made[b, y, x]
                of_sizes, of_signed = gradient[b, i, j, :channels], gradient[b, i, j, channels:]
                for c in range(channels):
                    value = source[c]
                    sign = (_ONE if value > _ZERO else -_ONE) if value != _ZERO else _ZERO
                    slope = (of_sizes[c] + of_signed[c] * sign) * sign
                    target[c] += slope / (_ONE + abs(value))


@njit(cache=True, nogil=True)
def draw(latent, means, width, made, open_, first, end):
    """`DeadZone` of half a width: samples `first .. end - 1`, all `(B, N)` float32.

    `open_` is filled: the sign of what is left of a value, 0 where nothing is.
    """
    for b in range(first, end):
        for i in range(latent.shape[1]):
            centred = latent[b, i] - means[b, i]
            left = abs(centred) - width[b, i]
            sign = (_ONE if centred > _ZERO else -_ONE) if left > _ZERO else _ZERO
            open_[b, i] = sign
            made[b, i] = means[b, i] + sign * left


@njit(cache=True, nogil=True)
def draw_gradients(gradient, open_, of_latent, of_means, of_width, first, end):
    """What `draw` passes back, all `(B, N)` float32."""
    for b in range(first, end):
        for i in range(gradient.shape[1]):
            given, sign = gradient[b, i], open_[b, i]
            through = given * abs(sign)
            of_latent[b, i] = through
            of_means[b, i] = given - through
            of_width[b, i] = -given * sign


@njit(cache=True, nogil=True)
def choose_rows(positions, made, skip_below, first, end):
    """`LaplaceModel.rows` of ladder positions, float32 in 0..63, as int8."""
    for i in range(first, end):
        row = np.int8(np.rint(positions[i]))
        made[i] = row if row >= skip_below else np.int8(-1)


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def estimate_laplace(
    latent,
    means,
    index,
    noise,
    skip_below,
    step,
    low,
    values,
    bits,
    by_centred,
    by_index,
    first,
    end,
):
    """`LaplaceModel.estimate` and its slopes: samples `first .. end - 1`. All are `(B, N)` float32.

    Args:
        latent, means, index: of the model, `index` on the ladder.
        noise: in 0..1.
        skip_below: as of the model.
        step, low: logarithms of a step of the ladder, and of its first scale.
        values: filled: what the receiving side has.
        bits: filled.
        by_centred, by_index: filled: the slopes of the bits.
    """
    for b in range(first, end):
        for i in range(latent.shape[1]):
            position, mean = index[b, i], means[b, i]
            centred = latent[b, i] - mean
            coded = np.rint(position) >= skip_below
            values[b, i] = (np.rint(centred) if coded else _ZERO) + mean
            centred += noise[b, i] - _HALF
            inverse = _exp(-step * position - low)  # of the scale
            distance = abs(centred)
            inside = distance < _HALF
            beyond = (distance - _HALF) * inverse
            near = min(distance, _HALF)
            upper = _exp((near - _HALF) * inverse)
            width = _exp(-inverse)  # of the bin, as a share of all beyond its near edge
            lower = width / upper
            outside = min((upper + lower) * _HALF, _LARGEST_SHARE)
            left = _log_one_plus(-outside if inside else -width)
            bits[b, i] = (left if inside else left + _LN_HALF - beyond) * _BITS
            unit = inverse / (_ONE - outside) * _HALF
            by_distance = (lower - upper) * unit if inside else -inverse
            at_scale = (upper * (near - _HALF) - lower * (near + _HALF)) * unit
            by_scale = at_scale if inside else beyond - width * inverse / (_ONE - width)
            sign = _BITS if centred > _ZERO else -_BITS
            by_centred[b, i] = by_distance * sign if distance > _ZERO else _ZERO
            by_index[b, i] = by_scale * step * _BITS


@njit(cache=True, nogil=True)
def laplace_gradients(
    of_values, of_bits, by_centred, by_index, of_latent, of_means, of_index, first, end
):
    """What `estimate_laplace` passes back: `of_bits` `(B,)`, the others `(B, N)`."""
    for b in range(first, end):
        for i in range(of_values.shape[1]):
            slope = of_bits[b] * by_centred[b, i]
            of_latent[b, i] = of_values[b, i] + slope
            of_means[b, i] = -slope
            of_index[b, i] = of_bits[b] * by_index[b, i]


@njit(inline="always")
def _exp(value):
    value = _LOWEST if value < _LOWEST else _HIGHEST if value > _HIGHEST else value  # NaN stays
    whole = np.rint(value * _LOG2_E)
    rest = value - whole * _LN2_HIGH - whole * _LN2_LOW
    series = ((((_E5 * rest + _E4) * rest + _E3) * rest + _E2) * rest + _E1) * rest + _E0
    power = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (series * (rest * rest) + rest + _ONE) * power


@njit(inline="always")
def _log_one_plus(value):
    total = _ONE + value
    lost = value - (total - _ONE)
    bits = np.float32(total).view(np.int32)
    exponent = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23))
    rest = np.int32(bits - np.int32(exponent << np.int32(23))).view(np.float32) - _ONE
    series = (((_L8 * rest + _L7) * rest + _L6) * rest + _L5) * rest + _L4
    series = (((series * rest + _L3) * rest + _L2) * rest + _L1) * rest + _L0
    square, whole = rest * rest, np.float32(exponent)
    small = rest * square * series + whole * _LN2_LOW - _HALF * square
    return rest + small + whole * _LN2_HIGH + lost / total
