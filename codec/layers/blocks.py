"""Convolution blocks that the networks are built of."""

import torch
from torch import Tensor, nn

_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
_PATCH = 8  # strides from which a product over patches is faster than a convolution


class Network(nn.Module):
    """A network whose layers may compute in another precision, once its codec is frozen (`codec.freeze`).

    Layers are convolutions, transposed ones and linear ones, but for those with an attribute `keeps_precision` that is true.

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
                module.to(precision, memory_format=torch.channels_last)


class GatedBlock(nn.Module):
    """Residual block: point-wise mixing, depth-wise 3×3, and a bounded gate.

    The gate lies in 0..1: without a bound, products of activations explode on unseen content. It is the piecewise linear
    sigmoid, a fifth of a sigmoid's time in bfloat16 on a CPU.

    Args:
        channels: C; tensors are `(B, C, H, W)` in and out.
        expansion: width of the hidden part, as a multiple of C.

    Source: after Li et al., *Neural Video Compression with Feature Modulation*, CVPR 2024 (depth-wise blocks).
    """

    def __init__(self, channels: int, expansion: float = 1.5) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.expand = nn.Conv2d(channels, 2 * hidden, 1)
        self.spatial = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden)
        self.project = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` -> the same shape."""
        value, gate = self.spatial(nn.functional.leaky_relu(self.expand(x), 0.1)).chunk(2, 1)
        return x + self.project(value * nn.functional.hardsigmoid(gate))


def pointwise(inputs: int, outputs: int, zero: bool = False) -> nn.Conv2d:
    """A 1×1 convolution; with `zero` its output starts at zero, so that what it is added to works untrained."""
    return _started(nn.Conv2d(inputs, outputs, 1), zero)


class PatchConv(nn.Conv2d):
    """A convolution whose stride is its kernel, as one matrix product over patches.

    Frames are few large planes: on a CPU the product takes a third of the time of a strided convolution and its gradients.
    """

    def forward(self, x: Tensor) -> Tensor:
        """`(B, inputs, H, W)` -> `(B, outputs, H / factor, W / factor)`, channels last."""
        answer = nn.functional.linear(patches_of(x, self.stride[0]), self.weight.flatten(1), self.bias)
        return answer.permute(0, 3, 1, 2)


def patches_of(planes: Tensor, side: int) -> Tensor:
    """`(B, C, H, W)` -> `(B, H / side, W / side, C·side²)`: the pixels of each patch, plane by plane, row by row."""
    batch, channels, height, width = planes.shape
    cells = planes.reshape(batch, channels, height // side, side, width // side, side).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(batch, height // side, width // side, channels * side**2)


def downward(inputs: int, outputs: int, factor: int = 2, zero: bool = False) -> nn.Conv2d:
    """`(B, inputs, H, W)` -> `(B, outputs, H / factor, W / factor)` without losing a pixel on the way."""
    kind = PatchConv if factor >= _PATCH else nn.Conv2d
    return _started(kind(inputs, outputs, factor, stride=factor), zero)


def upward(inputs: int, outputs: int, factor: int = 2, zero: bool = False) -> nn.Sequential:
    """`(B, inputs, H, W)` -> `(B, outputs, H · factor, W · factor)`."""
    return nn.Sequential(pointwise(inputs, outputs * factor**2, zero), nn.PixelShuffle(factor))


def stack(channels: int, depth: int) -> nn.Sequential:
    """`depth` gated blocks of `channels` channels."""
    return nn.Sequential(*(GatedBlock(channels) for _ in range(depth)))


def _started(layer: nn.Conv2d, zero: bool) -> nn.Conv2d:
    if zero:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return layer
