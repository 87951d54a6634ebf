"""Convolution blocks that the networks are built of."""

from functools import partial

import torch
from torch import Tensor, nn

from codec.layers.bands import in_bands
from codec.layers.gated_kernels import gated_backward, gated_forward
from codec.layers.kernels import trains_on_cpu

_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
_PATCH = 8  # strides from which a product over patches is faster than a convolution


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
