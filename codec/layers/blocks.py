"""Convolution blocks that the networks are built of, and numba kernels of the gated one.

The kernels go from sample to sample, so that what one kernel wrote is still in a cache for the
next, and samples are added up in order: results are the same for any number of threads.
"""

from functools import partial

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn

from codec.layers.kernels import in_bands, trains_on_cpu

_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
_PATCH = 8  # strides from which a product over patches is faster than a convolution
_SLOPE = np.float32(0.1)  # of the leaky rectifier
_SIXTH, _HALF, _THREE = np.float32(1 / 6), np.float32(0.5), np.float32(3)
_ZERO, _ONE = np.float32(0), np.float32(1)


class Network(nn.Module):
    """A network whose layers may compute in another precision, once its codec is frozen
    (`codec.freeze`).

    Layers are convolutions, transposed ones and linear ones, but for those with an attribute
    `keeps_precision` that is true.

    Attributes:
        precision: of the layers; None: as autocast and the weights say.
    """

    precision: torch.dtype | None = None

    def cast(self, tensor: Tensor) -> Tensor:
        """`tensor` in the precision of the layers: what goes into the first of them."""
        return tensor if self.precision is None else tensor.to(self.precision)

    def compile_for(self, backend: str) -> None:
        """Let `torch.compile` fuse what the network computes."""
        self.compile(backend=backend)

    def freeze(self, precision: torch.dtype) -> None:
        """Convert the layers' weights."""
        self.precision = precision
        for module in self.modules():
            if isinstance(module, _LAYERS) and not getattr(module, "keeps_precision", False):
                module.to(precision).to(memory_format=torch.channels_last)


class GatedBlock(nn.Module):
    """Residual block: point-wise mixing, depth-wise 3×3, and a bounded gate.

    The gate lies in 0..1: without a bound, products of activations explode on unseen content. It is
    the piecewise linear sigmoid, a fifth of a sigmoid's time in bfloat16 on a CPU.

    Args:
        channels: C; tensors are `(B, C, H, W)` in and out.
        expansion: width of the hidden part, as a multiple of C.

    Source: after Li et al., *Neural Video Compression with Feature Modulation*, CVPR 2024
    (depth-wise blocks).
    """

    def __init__(self, channels: int, expansion: float = 1.5) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.expand = nn.Conv2d(channels, 2 * hidden, 1)
        self.spatial = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden)
        self.project = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` -> the same shape; kernels on the CPU, where gradients are wanted."""
        layers = self.expand, self.spatial, self.project
        if trains_on_cpu(x, *self.parameters()):
            return _Gated.apply(
                x, *(tensor for layer in layers for tensor in (layer.weight, layer.bias))
            )
        value, gate = self.spatial(nn.functional.leaky_relu(self.expand(x), 0.1)).chunk(2, 1)
        return x + self.project(value * nn.functional.hardsigmoid(gate))


class _Gated(torch.autograd.Function):
    """`GatedBlock` by kernels and matrix products, channels last."""

    @staticmethod
    def forward(ctx, x: Tensor, *parameters: Tensor) -> Tensor:
        expand, expand_bias, spatial, spatial_bias, project, project_bias = parameters
        batch, channels, height, width = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(-1, channels)
        hidden = (rows @ expand.flatten(1).T).view(batch, height, width, -1)
        weight = spatial.flatten(1).T.contiguous()
        filtered, gated = (
            torch.empty_like(hidden),
            hidden.new_empty(len(rows), hidden.shape[3] // 2),
        )
        tensors = (
            hidden,
            expand_bias,
            weight,
            spatial_bias,
            filtered,
            gated.view(*hidden.shape[:3], -1),
        )
        in_bands(partial(gated_forward, *(tensor.numpy() for tensor in tensors)), batch)
        ctx.save_for_backward(rows, hidden, filtered, gated, expand, weight, project)
        made = torch.addmm(rows, gated, project.flatten(1).T).add_(project_bias)
        return made.view(batch, height, width, channels).permute(0, 3, 1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, ...]:
        rows, hidden, filtered, gated, expand, weight, project = ctx.saved_tensors
        batch, height, width, channels = hidden.shape
        gradient = gradient.permute(0, 2, 3, 1).reshape(rows.shape)
        of_gated = (gradient @ project.flatten(1)).view(batch, height, width, -1)
        of_hidden = torch.empty_like(hidden)
        of_weight, sums = weight.new_empty(batch, 9, channels), weight.new_empty(batch, 2, channels)
        tensors = of_gated, hidden, filtered, weight.flip(0), of_hidden, of_weight, sums
        in_bands(partial(gated_backward, *(tensor.numpy() for tensor in tensors)), batch)
        of_hidden = of_hidden.flatten(0, 2)
        of_spatial_bias, of_expand_bias = sums.sum(0)
        of_rows = torch.addmm(gradient, of_hidden, expand.flatten(1))
        return (
            of_rows.view(batch, height, width, -1).permute(0, 3, 1, 2),
            (of_hidden.T @ rows).view(expand.shape),
            of_expand_bias,
            of_weight.sum(0).T.reshape(channels, 1, 3, 3),
            of_spatial_bias,
            (gradient.T @ gated).view(project.shape),
            gradient.sum(0),
        )


def pointwise(inputs: int, outputs: int, zero: bool = False) -> nn.Conv2d:
    """A 1×1 convolution; with `zero` its output starts at zero, so that what it is added to works
    untrained.
    """
    return _started(nn.Conv2d(inputs, outputs, 1), zero)


class PatchConv(nn.Conv2d):
    """A convolution whose stride is its kernel, as one matrix product over patches.

    Frames are few large planes: on a CPU the product takes a third of the time of a strided
    convolution and its gradients. Of features, which are small and channels last, that is so in
    training alone.
    """

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """`(B, inputs, H, W)` -> `(B, outputs, H / factor, W / factor)`, channels last.

        Planes may come in several tensors, the first channels first.
        """
        if self.stride[0] < _PATCH:
            return self._of_features(x) if trains_on_cpu(x, self.weight) else super().forward(x)
        parts = [patches_of(planes, self.stride[0]) for planes in (x, *others)]
        patches = torch.cat(parts, 3) if others else parts[0]
        answer = nn.functional.linear(patches, self.weight.flatten(1), self.bias)
        return answer.permute(0, 3, 1, 2)

    def _of_features(self, x: Tensor) -> Tensor:
        side, rows = self.stride[0], x.permute(0, 2, 3, 1)
        cells = rows.unflatten(2, (-1, side)).unflatten(1, (-1, side)).transpose(2, 3).flatten(3)
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return nn.functional.linear(cells, weight, self.bias).permute(0, 3, 1, 2)


def patches_of(planes: Tensor, side: int) -> Tensor:
    """`(B, C, H, W)` -> `(B, H / side, W / side, C·side²)`: the pixels of each patch, plane by
    plane, row by row.
    """
    batch, channels, height, width = planes.shape
    cells = planes.reshape(batch, channels, height // side, side, width // side, side).permute(
        0, 2, 4, 1, 3, 5
    )
    return cells.reshape(batch, height // side, width // side, channels * side**2)


def downward(inputs: int, outputs: int, factor: int = 2, zero: bool = False) -> nn.Conv2d:
    """`(B, inputs, H, W)` -> `(B, outputs, H / factor, W / factor)` without losing a pixel on the
    way.
    """
    return _started(PatchConv(inputs, outputs, factor, stride=factor), zero)


def upward(inputs: int, outputs: int, factor: int = 2, zero: bool = False) -> nn.Sequential:
    """`(B, inputs, H, W)` -> `(B, outputs, H · factor, W · factor)`."""
    return nn.Sequential(pointwise(inputs, outputs * factor**2, zero), nn.PixelShuffle(factor))


def stack(channels: int, depth: int) -> nn.Sequential:
    """`depth` gated blocks of `channels` channels."""
    return nn.Sequential(*(GatedBlock(channels) for _ in range(depth)))


def _started(layer: nn.Conv2d, zero: bool) -> nn.Conv2d:
    if zero:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
    return layer


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
