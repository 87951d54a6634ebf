"""Exact networks: integers in and out, the same on every device, with any number of threads and any
kernel.

A value is an integer number of sixteenths, -127..127 where a layer multiplies it. A weight is an
integer, seven bits and a sign, times some power of two. Sums are bounded, so that float32 holds
every partial sum exactly in whatever order a kernel adds, and such operands survive kernels that
shorten them (TF32, bfloat16 with float32 sums).

Source: Ballé, Johnston and Minnen, *Integer networks for data compression with latent-variable
models*, ICLR 2019; their divisions are powers of two here.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from codec.device import exact_arithmetic
from codec.entropy.models.integer_kernels import (
    added_rows,
    bounded_backward,
    bounded_forward,
    bounded_rows,
    compand,
    compand_slopes,
    filter_gradients,
    filter_rows,
    passed_rows,
)
from codec.entropy.models.places import Places
from codec.errors import CodecError
from codec.layers.kernels import as_maps, by_kernel, flat, in_bands, mapped, on_cpu, trains_on_cpu
from codec.layers.quality import KNOTS, QualityTable
from codec.quality import QUALITIES

T = TypeVar("T")
SIXTEENTHS = 16.0
LARGEST = 127.0
_FARTHEST = 4095.0  # sixteenths: what is multiplied element by element, not summed, may be larger
_FINEST = 2.0**9  # weights are multiples of 1 / 512 or of something coarser
_UNITS = 2**23  # so many units of 1 / 512 may a sum have: float32 counts to 2 ** 24


class Exact:
    """A module that can compute in integer arithmetic: always when it is evaluated, in training
    where `rounding` is set.
    """

    rounding: bool = False
    training: bool  # as of every module

    @property
    def rounds(self) -> bool:
        return self.rounding or not self.training

    def whole(self, values: Tensor) -> Tensor:
        """Round to integers; gradients pass unchanged."""
        return _Round.apply(values) if self.rounds else values

    def companded(self, values: Tensor) -> Tensor:
        """The root of coded values' magnitudes, in sixteenths 0..127, reached at 63.

        Four times the root of an integer is never within 0.0009 of the middle between two integers
        below 127: rounded, it is the same whatever the last bits of a device's root.
        """
        if self.rounds and by_kernel(values):
            return mapped(compand, values, torch.float32, SIXTEENTHS, LARGEST)
        if trains_on_cpu(values):
            return _Companded.apply(values, self.rounds)
        return self.whole(bounded(4 * _root((values * SIXTEENTHS).abs())))


def bounded(values: Tensor, low: float = -LARGEST) -> Tensor:
    """Clamp to `low`..127: what a layer may be given."""
    return values.clamp(low, LARGEST)


def exactly(forward: Callable[..., T]) -> Callable[..., T]:
    """Compute a module's `forward` in plain float32 where the module rounds
    (`exact_arithmetic`).
    """

    @wraps(forward)
    def computed(self: Exact, first: Tensor, *others: Any) -> T:
        if not self.rounds:
            return forward(self, first, *others)
        with exact_arithmetic(first.device):
            return forward(self, first, *others)

    return computed


class IntegerConv(Exact, nn.Conv2d):
    """A convolution of integers to integers, 1×1 or by channel 3×3.

    Args:
        inputs, outputs: channels.
        kernel: 1, or 3 for a convolution by channel (`outputs` equal to `inputs`).
        zero: start at zero.
        bias: add one.
    """

    keeps_precision = True

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, zero: bool = False, bias: bool = True
    ) -> None:
        super().__init__(
            inputs,
            outputs,
            kernel,
            padding=kernel // 2,
            groups=1 if kernel == 1 else inputs,
            bias=bias,
        )
        if zero:
            for parameter in self.parameters():
                nn.init.zeros_(parameter)
        self.frozen = False
        self._keeps = False  # see `rounded_once`
        self._kept: tuple[Tensor, Tensor | None] | None = None

    def forward(self, values: Tensor, low: float | None = None) -> Tensor:
        """`(B, inputs, h, w)` integers in -127..127 -> `(B, outputs, h, w)` integers.

        They are `bounded` by `low` and 127 where it is given.
        """
        if self.kernel_size == (1, 1) and trains_on_cpu(values, self.weight):
            return self.by_row(values.permute(0, 2, 3, 1), low).permute(0, 3, 1, 2)
        made = self.whole(self.sums(values))
        return made if low is None else bounded(made, low)

    def sums(self, values: Tensor) -> Tensor:
        """The same before it is rounded: multiples of 1/512."""
        weight, bias = self.rounded() if self.rounds else (self.weight, self.bias)
        return self._conv_forward(values, weight, None if bias is None else bias * SIXTEENTHS)

    def by_row(self, rows: Tensor, low: float | None = None) -> Tensor:
        """As `forward`, of a 1×1 layer: `(…, inputs)` -> `(…, outputs)`."""
        if trains_on_cpu(rows, self.weight):
            used = self.used()
            return _Product.apply(rows, self.weight, self.bias, *used, low, self.rounds)
        weight, bias = self.rounded() if self.rounds else (self.weight, self.bias)
        sums = nn.functional.linear(
            rows, weight.flatten(1), None if bias is None else bias * SIXTEENTHS
        )
        return self.whole(sums) if low is None else bounded(self.whole(sums), low)

    def by_neighbours(self, rows: Tensor, neighbours: Tensor) -> Tensor:
        """As `forward`, of a 3×3 layer with a bias; on the CPU by a kernel.

        Args:
            rows: `(n, C)`, places.
            neighbours: `(m, 9)` int64, the numbers of the 3×3 places about each of m, -1 where none
                is.

        Returns:
            `(m, C)`.
        """
        weight, bias = self.rounded() if self.rounds else (self.weight, self.bias)
        assert bias is not None
        rows, weight, bias = rows.float(), weight.flatten(1), bias * SIXTEENTHS
        if on_cpu(rows):
            return self.whole(_Filter.apply(rows, neighbours, weight, bias))
        around = torch.cat([rows, rows.new_zeros(1, rows.shape[1])])[neighbours]  # -1 is the last
        return self.whole((around * weight.T).sum(1) + bias)

    def used(self) -> tuple[Tensor, Tensor | None]:
        """Weight `(outputs, inputs · kernel²)`, and bias in sixteenths, without their history."""
        weight, bias = self.weight.detach(), None if self.bias is None else self.bias.detach()
        if self.rounds and not self.frozen:
            weight, bias = self._rounded()
        return weight.flatten(1), None if bias is None else bias * SIXTEENTHS

    def rounded(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias as they are computed with."""
        if self.frozen:
            return self.weight, self.bias
        weight, bias = self._rounded()
        return _Straight.apply(self.weight, weight), None if bias is None else _Straight.apply(
            self.bias, bias
        )

    def _rounded(self) -> tuple[Tensor, Tensor | None]:
        kept = self._kept or self._round()
        if self._keeps:
            self._kept = kept
        return kept

    @torch.no_grad()
    def _round(self) -> tuple[Tensor, Tensor | None]:
        grid = weight_grid(self.weight)
        unit = _FINEST * SIXTEENTHS
        return (self.weight * grid).round() / grid, None if self.bias is None else (
            self.bias * unit
        ).round() / unit

    def freeze(self, name: str) -> None:
        """Keep the rounded weights, once they are known to be safe; `name` is the layer's in
        errors.

        Raises:
            CodecError: sums could outgrow what float32 counts exactly.
        """
        with torch.no_grad():
            weight, bias = self.rounded()
            sums = weight.abs().sum((1, 2, 3)) * LARGEST + (
                0 if bias is None else bias.abs() * SIXTEENTHS
            )
            if not float(sums.max()) * _FINEST <= _UNITS:
                raise CodecError(
                    f"{name}: sums of up to {float(sums.max()):.0f}, exact arithmetic holds "
                    f"{_UNITS / _FINEST:.0f}; its weights "
                    "have grown too large: train with a lower learning rate, with "
                    "training.weight_decay, or with fewer channels"
                )
            self.weight.copy_(weight)
            if bias is not None and self.bias is not None:
                self.bias.copy_(bias)
        self.frozen = True


class ExactFlags(IntegerConv):
    """A 1×1 layer whose inputs are mostly zero and otherwise `SET`, given as the numbers of those
    that are set.
    """

    SET = 32.0  # sixteenths

    def forward(self, numbers: Tensor) -> Tensor:  # type: ignore[override]  # no values
        """`(N, n)` int64 -> `(N, outputs)` integers.

        Number k = 1..inputs sets the k-th input, -k sets it negative, and 0 sets none.
        """
        weight, bias = self.rounded() if self.rounds else (self.weight, self.bias)
        assert bias is not None
        rows = self.SET * weight.flatten(1).T
        table = torch.cat([-rows.flip(0), rows.new_zeros(1, self.out_channels), rows])
        sums = nn.functional.embedding_bag(numbers + self.in_channels, table, mode="sum")
        return self.whole(sums + bias * SIXTEENTHS)


class ExactHead(IntegerConv):
    """An `IntegerConv` that starts at zero and is called outside of other exact modules."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, zero=True)

    @exactly
    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values)

    @exactly
    def of_rows(self, rows: Tensor) -> Tensor:
        """As `forward`: `(…, inputs)` -> `(…, outputs)`."""
        return self.by_row(rows)


@contextmanager
def rounded_once(codec: nn.Module) -> Iterator[None]:
    """Round the weights of exact layers once for all that is computed within, where weights must
    not change.
    """
    layers = [module for module in codec.modules() if isinstance(module, IntegerConv)]
    for layer in layers:
        layer._keeps, layer._kept = True, None
    try:
        yield
    finally:
        for layer in layers:
            layer._keeps, layer._kept = False, None


def weight_grid(weight: Tensor) -> Tensor:
    """The power of two `(O, 1, 1, 1)`, at most 512, by which each output's weights are at most 127
    and use seven bits.
    """
    top, exponent = torch.frexp(weight.abs().amax((1, 2, 3), keepdim=True))
    bits = 7 - exponent - (top * 128 > LARGEST).int()
    return torch.ldexp(torch.ones_like(top), bits).clamp(max=_FINEST)


def exact_up(convolution: IntegerConv, values: Tensor) -> Tensor:
    """`(B, C, h, w)` -> `(B, outputs / 4, 2·h, 2·w)`."""
    return nn.functional.pixel_shuffle(convolution(values), 2)


class BoundedBlock(nn.Module):
    """Residual block of the exact networks: hidden values lie in 0..127 sixteenths.

    Args:
        channels: C; tensors are `(B, C, h, w)` in and out, integers in -127..127.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = IntegerConv(channels, 2 * channels)
        self.spatial = IntegerConv(2 * channels, 2 * channels, 3)
        self.project = IntegerConv(2 * channels, channels)

    def forward(self, values: Tensor) -> Tensor:
        layers = self.expand, self.spatial, self.project
        if trains_on_cpu(values, *self.parameters()):
            tensors = [tensor for layer in layers for tensor in (layer.weight, layer.bias)]
            used = [tensor for layer in layers for tensor in layer.used()]
            return _Block.apply(self.expand.rounds, values, used, *tensors)
        hidden = bounded(self.expand(values), 0)
        return bounded(values + self.project(bounded(self.spatial(hidden), 0)))

    def by_place(self, values: Tensor, places: Places) -> Tensor:
        """As `forward`, in some places of maps: `(M, channels)` -> `(N, channels)`."""
        hidden = self.expand.by_row(values, 0)
        hidden = bounded(self.spatial.by_neighbours(hidden, places.neighbours), 0)
        return bounded(places.answered(values) + self.project.by_row(hidden))

    def by_row(self, values: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """As `forward`, of the places of one map after another.

        Args:
            values: `(B, N, channels)`.
            sizes: `(h, w)` of each map; N places in all.
        """
        hidden = self.expand.by_row(values, 0)
        filtered = []
        for size, part in zip(sizes, hidden.split([h * w for h, w in sizes], 1), strict=True):
            made = self.spatial(part.unflatten(1, size).permute(0, 3, 1, 2))
            filtered.append(made.permute(0, 2, 3, 1).flatten(1, 2))
        return bounded(values + self.project.by_row(bounded(torch.cat(filtered, 1), 0)))


class ExactTable(Exact, QualityTable):
    """A `QualityTable` in integer sixteenths: knots are rounded, and between them is a division of
    integers.
    """

    def values_at(self, quality: Tensor) -> Tensor:
        """Sixteenths `(B, C, 1, 1)` at `quality` `(B,)`, 0..63."""
        values = super().values_at(quality) * SIXTEENTHS
        return self.exact(quality) + (values - values.detach()) if self.rounds else values

    @torch.no_grad()
    def exact(self, quality: Tensor) -> Tensor:
        """The same, by integers alone."""
        knots = (self.knots() * SIXTEENTHS).round().clamp(-_FARTHEST, _FARTHEST).long()
        steps, intervals = QUALITIES - 1, KNOTS - 1
        position = quality.long() * intervals
        lower = (position // steps).clamp(max=intervals - 1)
        share = (position - lower * steps)[:, None]
        sums = knots[lower] * (steps - share) + knots[lower + 1] * share
        return ((2 * sums + steps) // (2 * steps)).float()[:, :, None, None]


def exact_product(factor: Tensor, values: Tensor, module: Exact) -> Tensor:
    """Sixteenths of `factor`, a parameter by channel in 64ths, times coded `values` `(B, C,
    h, w)`.
    """
    factor = module.whole(factor.view(1, -1, 1, 1) * 64).clamp(-LARGEST, LARGEST)
    return module.whole((values * SIXTEENTHS).clamp(-_FARTHEST, _FARTHEST) * factor / 64)


def set_rounding(codec: nn.Module, rounding: bool) -> None:
    """Let the exact networks of a codec round in training too, or not."""
    for module in codec.modules():
        if isinstance(module, Exact):
            module.rounding = rounding


def freeze_exact(codec: nn.Module) -> None:
    """Round the weights of all exact layers of `codec` for good.

    Raises:
        CodecError: a layer's sums could outgrow exact arithmetic; it is named.
    """
    for name, module in codec.named_modules():
        if isinstance(module, IntegerConv):
            module.freeze(name)


def _root(values: Tensor) -> Tensor:
    """The root of integers; between 0 and 1, where only training goes, a line: its gradient is
    finite.
    """
    return (
        torch.where(values < 1, values, values.clamp(min=1).sqrt())
        if values.requires_grad
        else values.sqrt()
    )


class _Companded(torch.autograd.Function):
    """`Exact.companded` of `(B, C, h, w)` on the CPU, channels last."""

    @staticmethod
    def forward(ctx, values: Tensor, rounds: bool) -> Tensor:
        given = flat(values.detach())
        made, slopes = torch.empty_like(given), torch.empty_like(given)
        constants = np.float32(SIXTEENTHS), np.float32(LARGEST), rounds
        arrays = given.numpy(), made.numpy(), slopes.numpy(), *constants
        in_bands(partial(compand_slopes, *arrays), len(given))
        ctx.save_for_backward(as_maps(slopes, values.shape))
        return as_maps(made, values.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.saved_tensors[0], None


class _Straight(torch.autograd.Function):
    """Rounded values for those that they were made of; gradients pass unchanged."""

    @staticmethod
    def forward(ctx, values: Tensor, rounded: Tensor) -> Tensor:
        return rounded.view_as(rounded)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class _Product(torch.autograd.Function):
    """`IntegerConv.by_row` on the CPU: rows `(…, I)`, parameters, and what is computed with.

    Gradients pass through roundings unchanged, and not where a value is at a bound.
    """

    @staticmethod
    def forward(
        ctx,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        used: Tensor,
        used_bias: Tensor | None,
        low: float | None,
        rounds: bool,
    ) -> Tensor:
        flat = rows.reshape(-1, rows.shape[-1])
        made = flat @ used.T
        if low is None:
            made = made if used_bias is None else made.add_(used_bias)
            made = made.round_() if rounds else made
        else:
            given = used.new_zeros(len(used)) if used_bias is None else used_bias
            arrays = made.numpy(), given.numpy(), np.float32(low), np.float32(LARGEST), rounds
            in_bands(partial(bounded_rows, *arrays), len(made))
        ctx.shapes, ctx.low = (rows.shape, weight.shape), low
        ctx.save_for_backward(flat, used, None if low is None else made)
        return made.view(*rows.shape[:-1], len(used))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, used, bounded = ctx.saved_tensors
        gradient = gradient.reshape(len(rows), len(used))
        if bounded is not None:
            gradient = where_inside(gradient, bounded, ctx.low)
        wanted, shapes = ctx.needs_input_grad, ctx.shapes
        of_rows = (gradient @ used).view(shapes[0]) if wanted[0] else None
        of_weight = (gradient.T @ rows).view(shapes[1])
        of_bias = gradient.sum(0).mul_(SIXTEENTHS) if wanted[2] else None
        return of_rows, of_weight, of_bias, None, None, None, None


class _Block(torch.autograd.Function):
    """`BoundedBlock` on the CPU: whether it rounds, values, what is computed with, and parameters.

    Gradients pass as through `_Product`.
    """

    @staticmethod
    def forward(ctx, rounds: bool, values: Tensor, used: list[Tensor], *weights: Tensor) -> Tensor:
        expand, expand_bias, spatial, spatial_bias, project, project_bias = used
        batch, channels, height, width = values.shape
        rows = values.permute(0, 2, 3, 1).reshape(-1, channels)
        hidden = (rows @ expand.T).view(batch, height, width, -1)
        filtered, spatial = torch.empty_like(hidden), spatial.T.contiguous()
        biases = torch.stack([expand_bias, spatial_bias])
        high = np.float32(LARGEST)
        arrays = hidden.numpy(), spatial.numpy(), biases.numpy(), high, rounds, filtered.numpy()
        in_bands(partial(bounded_forward, *arrays), batch)
        made = filtered.flatten(0, 2) @ project.T
        given = made.numpy(), project_bias.numpy(), rows.numpy(), -high, high, rounds
        in_bands(partial(added_rows, *given), len(made))
        ctx.shapes = [weight.shape for weight in weights]
        ctx.save_for_backward(rows, hidden, filtered, made, expand, spatial, project)
        return made.view(batch, height, width, channels).permute(0, 3, 1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, hidden, filtered, made, expand, spatial, project = ctx.saved_tensors
        batch, height, width, channels = hidden.shape
        gradient = gradient.permute(0, 2, 3, 1).reshape(rows.shape)
        gradient = where_inside(gradient, made, -LARGEST)
        of_filtered = (gradient @ project).view(hidden.shape)
        of_hidden = torch.empty_like(hidden)
        of_spatial, sums = (
            hidden.new_empty(batch, 9, channels),
            hidden.new_empty(batch, 2, channels),
        )
        given = [tensor.numpy() for tensor in (of_filtered, hidden, filtered, spatial.flip(0))]
        filled = [tensor.numpy() for tensor in (of_hidden, of_spatial, sums)]
        in_bands(partial(bounded_backward, *given, np.float32(LARGEST), *filled), batch)
        of_hidden = of_hidden.flatten(0, 2)
        sums = sums.sum(0).mul_(SIXTEENTHS)
        found = (
            of_hidden.T @ rows,
            sums[0],
            of_spatial.sum(0).T,
            sums[1],
            gradient.T @ filtered.flatten(0, 2),
            gradient.sum(0).mul_(SIXTEENTHS),
        )
        shaped = [value.reshape(shape) for value, shape in zip(found, ctx.shapes, strict=True)]
        of_values = torch.addmm(gradient, of_hidden, expand).view(batch, height, width, -1)
        return None, of_values.permute(0, 3, 1, 2), None, *shaped


def where_inside(gradient: Tensor, bounded: Tensor, low: float) -> Tensor:
    """`(n, C)` float32 on the CPU where `bounded` values lie between `low` and 127, else zero."""
    made = torch.empty_like(gradient, memory_format=torch.contiguous_format)
    arrays = gradient.contiguous().numpy(), bounded.numpy(), np.float32(low), np.float32(LARGEST)
    in_bands(partial(passed_rows, *arrays, made.numpy()), len(made))
    return made


class _Filter(torch.autograd.Function):
    """`filter_rows` of rows `(n, C)`, neighbours, weight `(C, 9)` and bias."""

    @staticmethod
    def forward(ctx, rows: Tensor, neighbours: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        made = rows.new_empty(len(neighbours), rows.shape[1])
        kept = rows.contiguous(), neighbours, weight.T.contiguous()
        arrays = [tensor.detach().numpy() for tensor in (*kept, bias, made)]
        in_bands(lambda first, end: filter_rows(*arrays, first, end), len(made))
        ctx.save_for_backward(*kept)
        return made

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, neighbours, weight = ctx.saved_tensors
        gradient, of_rows, of_weight = (
            gradient.contiguous(),
            torch.zeros_like(rows),
            torch.zeros_like(weight),
        )
        tensors = gradient, rows, neighbours, weight, of_rows, of_weight
        filter_gradients(*(tensor.numpy() for tensor in tensors))
        return of_rows, None, of_weight.T, gradient.sum(0)


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        return values.round()

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad
