"""Symbols as they are modelled: Laplace distributed about a mean, with one of 64 fixed
scales.
"""

import decimal
import math
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache, partial
from itertools import accumulate

import numpy as np
import torch
from numba import njit
from torch import Tensor

from codec.entropy.coding.cdf_tables import CdfTables, quantised
from codec.entropy.coding.symbol_coder import SymbolModel
from codec.errors import CodecError
from codec.layers.kernels import as_maps, by_kernel, flat, in_bands, mapped, trains_on_cpu

SCALES = 64
SMALLEST_SCALE, LARGEST_SCALE = 0.04, 100.0
LOG_STEP = math.log(LARGEST_SCALE / SMALLEST_SCALE) / (SCALES - 1)
# Where networks skip unless told otherwise: below, less than one symbol in 200 is not zero, and
# would cost 9 bits.
SKIP_BELOW = 7
_TAIL = 2.0**-14


@dataclass
class LaplaceModel(SymbolModel):
    """Laplace distributed symbols.

    Attributes:
        means: `(B, C, h, w)` float32.
        scale_index: `(B, C, h, w)` float32, which of the fixed scales, 0..63; rounded where bits
            are real.
        skip_below: nothing is coded where the rounded index is lower: the value is its mean.
        present: `(B, C, h, w)` bool, of a latent of integers: where there is a symbol, as both
            sides know. None: everywhere.
    """

    means: Tensor
    scale_index: Tensor
    skip_below: int = 0
    present: Tensor | None = None
    integer: bool = False

    def bits(self, centred: Tensor) -> Tensor:
        return laplace_bits(centred, self.scale_index)

    def estimate(self, latent: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """As of every model; on the CPU by a kernel."""
        if trains_on_cpu(latent, self.means, self.scale_index, noise):
            given = latent, self.means, self.scale_index, noise
            return _Estimate.apply(*given, self.skip_below)
        return super().estimate(latent, noise)

    @property
    def coded(self) -> Tensor | None:
        coded = self.scale_index.round() >= self.skip_below if self.skip_below else None
        return (
            coded
            if self.present is None
            else self.present
            if coded is None
            else self.present & coded
        )

    @property
    def indexes(self) -> Tensor:
        if self.present is not None and self.coded is not None:
            return torch.where(self.coded, self.scale_index.round().to(torch.int8), -1)
        if by_kernel(self.scale_index):
            return mapped(choose_indexes, self.scale_index, torch.int8, self.skip_below)
        indexes = self.scale_index.round().to(torch.int8)
        return torch.where(indexes < self.skip_below, -1, indexes)

    @property
    def tables(self) -> CdfTables:
        return laplace_tables()


def check_scale_index(skip_below: int) -> int:
    """Return `skip_below` if it is the index of a scale.

    Raises:
        CodecError: it is not.
    """
    if not 0 <= skip_below < SCALES:
        raise CodecError(
            f"entropy.skip_below: {skip_below} given; expected 0 (code everything) to {SCALES - 1}"
        )
    return skip_below


def scale_index_of(scale: Tensor) -> Tensor:
    """Index (float, not clamped) of a Laplace scale."""
    return (scale / SMALLEST_SCALE).log() / LOG_STEP


def limit_index(index: Tensor, factor: float = 1.0) -> Tensor:
    """`factor` times `index` `(B, C, h, w)`, clamped to 0..63; beyond these a gradient
    passes only inwards.
    """
    if index.dim() == 4 and trains_on_cpu(index):
        return _Limited.apply(index, factor)
    return _Inward.apply(index.float() * factor)


def laplace_bits(centred: Tensor, scale_index: Tensor) -> Tensor:
    """Bits of the unit bin about `centred` values under a Laplace distribution; exact in the tails,
    differentiable.

    Args:
        centred: values minus their mean, any shape, float32.
        scale_index: scale indexes, the same shape.

    Returns:
        Bits, the same shape, at least 0.

    Source: the closed form of Ballé et al., *Variational image compression with a scale
    hyperprior*, 2018, eq. 9.
    """
    return _Bits.apply(centred, scale_index)


class _Bits(torch.autograd.Function):
    """`laplace_bits` and its slopes, within half a step of the mean and beyond."""

    @staticmethod
    def forward(ctx, centred: Tensor, scale_index: Tensor) -> Tensor:
        inverse = (scale_index * -LOG_STEP - math.log(SMALLEST_SCALE)).exp_()  # of the scale
        distance = centred.abs()
        inside = distance < 0.5
        near = distance.clamp(max=0.5)
        upper = torch.exp((near - 0.5) * inverse)
        lower = torch.exp((near + 0.5) * -inverse)
        outside = (upper + lower).mul_(0.5).clamp_(max=0.99995)
        beyond = (distance - 0.5).mul_(inverse)
        width = torch.exp(-inverse)  # of the bin, as a share of all that lies beyond its near edge
        tail = torch.log1p(-width).add_(math.log(0.5)).sub_(beyond)
        if any(ctx.needs_input_grad):
            unit = inverse / (1 - outside)
            by_distance = torch.where(inside, (lower - upper).mul_(0.5).mul_(unit), -inverse)
            at_scale = (upper * (near - 0.5)).sub_(lower * (near + 0.5)).mul_(0.5).mul_(unit)
            by_scale = torch.where(inside, at_scale, beyond - width * inverse / (1 - width))
            slopes = by_distance.mul_(centred.sign()), by_scale.mul_(LOG_STEP)
            ctx.save_for_backward(*(slope.mul_(-1 / math.log(2)) for slope in slopes))
        return torch.where(inside, torch.log1p(-outside), tail).mul_(-1 / math.log(2))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        by_centred, by_index = ctx.saved_tensors
        return gradient * by_centred, gradient * by_index


class _Estimate(torch.autograd.Function):
    """`LaplaceModel.estimate` of a latent that is no decision, channels last."""

    @staticmethod
    def forward(
        ctx,
        latent: Tensor,
        means: Tensor,
        index: Tensor,
        noise: Tensor,
        skip_below: int,
    ) -> tuple[Tensor, Tensor]:
        given = [flat(tensor.detach()) for tensor in (latent, means, index, noise)]
        made = [torch.empty_like(given[0]) for _ in range(4)]
        constants = [np.float32(each) for each in (skip_below, LOG_STEP, math.log(SMALLEST_SCALE))]
        arrays = (
            *(tensor.numpy() for tensor in given),
            *constants,
            *(tensor.numpy() for tensor in made),
        )
        in_bands(partial(estimate_laplace, *arrays), len(latent))
        values, bits, *slopes = made
        ctx.save_for_backward(*slopes)
        return as_maps(values, latent.shape), bits.sum(1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, of_values: Tensor, of_bits: Tensor) -> tuple[Tensor | None, ...]:
        slopes, shape = ctx.saved_tensors, of_values.shape
        made = [torch.empty_like(slopes[0]) for _ in range(3)]
        tensors = flat(of_values), of_bits.contiguous(), *slopes, *made
        in_bands(
            partial(laplace_gradients, *(tensor.numpy() for tensor in tensors)), len(of_values)
        )
        return *(as_maps(gradient, shape) for gradient in made), None, None


@lru_cache(maxsize=1)
def laplace_tables() -> CdfTables:
    """The tables of all scales, the same integers on every machine.

    They follow from constants alone, in decimal arithmetic that rounds exponentials correctly, as
    no C library promises to.
    """
    with decimal.localcontext(decimal.Context(prec=40)):
        smallest, largest = Decimal(str(SMALLEST_SCALE)), Decimal(str(LARGEST_SCALE))
        step = (largest / smallest).ln() / (SCALES - 1)
        rows = [_quantised_row(smallest * (index * step).exp()) for index in range(SCALES)]
    return CdfTables.from_rows(rows, [-(len(row) - 3) // 2 for row in rows])


def _quantised_row(scale: Decimal) -> list[int]:
    """Cumulative 16-bit frequencies of the symbols -n..n and the escape."""
    reach = max(1, math.ceil(-scale * Decimal(_TAIL).ln()))
    outside = (-1 / (2 * scale)).exp()  # probability of not being zero, shared by both signs
    decay = outside * outside
    masses, inside = [], 1 - outside
    for _ in range(reach):
        masses.append(outside * (1 - decay) / 2)
        outside *= decay
    frequencies = quantised(
        [int(mass * 2**64) for mass in (*masses[::-1], inside, *masses, outside)]
    )
    return [0, *accumulate(frequencies)]


class _Limited(torch.autograd.Function):
    """`limit_index` by kernels, channels last."""

    @staticmethod
    def forward(ctx, index: Tensor, factor: float) -> Tensor:
        given = flat(index.detach())
        made = torch.empty_like(given)
        ctx.constants = np.float32(factor), np.float32(SCALES - 1)
        in_bands(partial(limit, given.numpy(), made.numpy(), *ctx.constants), len(given))
        ctx.save_for_backward(given)
        return as_maps(made, index.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        made = torch.empty_like(index)
        arrays = [tensor.numpy() for tensor in (flat(gradient), index, made)]
        in_bands(partial(limit_gradients, *arrays, *ctx.constants), len(index))
        return as_maps(made, gradient.shape), None


class _Inward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return index.clamp(0, SCALES - 1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (index,) = ctx.saved_tensors
        blocked = ((index < 0) & (grad > 0)) | ((index > SCALES - 1) & (grad < 0))
        return grad.masked_fill(blocked, 0)


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


@njit(cache=True, nogil=True)
def choose_indexes(scale_index, made, skip_below, first, end):
    """`LaplaceModel.indexes` of scale indexes, float32 in 0..63, as int8."""
    for i in range(first, end):
        index = np.int8(np.rint(scale_index[i]))
        made[i] = index if index >= skip_below else np.int8(-1)


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
        latent, means, index: of the model, `index` 0..63.
        noise: in 0..1.
        skip_below: as of the model.
        step, low: logarithms of a step from scale to scale, and of the first scale.
        values: filled: what the receiving side has.
        bits: filled.
        by_centred, by_index: filled: the slopes of the bits.
    """
    for b in range(first, end):
        for i in range(latent.shape[1]):
            scale, mean = index[b, i], means[b, i]
            centred = latent[b, i] - mean
            coded = np.rint(scale) >= skip_below
            values[b, i] = (np.rint(centred) if coded else _ZERO) + mean
            centred += noise[b, i] - _HALF
            inverse = _exp(-step * scale - low)  # of the scale
            distance = abs(centred)
            inside = distance < _HALF
            beyond = (distance - _HALF) * inverse
            near = min(distance, _HALF)
            upper = _exp((near - _HALF) * inverse)
            width = _exp(-inverse)  # of the bin, as a share of all beyond its near edge
            lower = width / upper
            outside = min((upper + lower) * _HALF, _LARGEST_SHARE)
            left = log_one_plus(-outside if inside else -width)
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
def log_one_plus(value):
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
