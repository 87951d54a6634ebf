"""The transforms of the literature's codecs: four strided 5×5 convolutions down to 1/16, and their
mirror image.
"""

from torch import nn

from codec.errors import CodecError
from codec.layers.compressai import GDN, conv, deconv

ACTIVATIONS = ("relu", "gdn")
STRIDE = 16


def analysis_transform(
    inputs: int, width: int, outputs: int, activation: str = "relu"
) -> nn.Sequential:
    """`(B, inputs, H, W)` -> `(B, outputs, H / 16, W / 16)`, H and W multiples of 16.

    Raises:
        CodecError: an activation other than `relu` or `gdn`.

    Source: Ballé et al., *End-to-end optimized image compression*, ICLR 2017 (GDN); Agustsson et
    al., *Scale-space flow*, CVPR 2020 (ReLU).
    """
    layers: list[nn.Module] = [conv(inputs, width)]
    for _ in range(2):
        layers += [_activation(activation, width), conv(width, width)]
    return nn.Sequential(*layers, _activation(activation, width), conv(width, outputs))


def synthesis_transform(
    inputs: int, width: int, outputs: int, activation: str = "relu", zero: bool = False
) -> nn.Sequential:
    """`(B, inputs, h, w)` -> `(B, outputs, 16·h, 16·w)`; with `zero` the output starts at zero.

    Raises:
        CodecError: an activation other than `relu` or `gdn`.
    """
    layers: list[nn.Module] = [deconv(inputs, width)]
    for _ in range(2):
        layers += [_activation(activation, width, inverse=True), deconv(width, width)]
    last = deconv(width, outputs)
    if zero:
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, _activation(activation, width, inverse=True), last)


def _activation(name: str, width: int, inverse: bool = False) -> nn.Module:
    if name not in ACTIVATIONS:
        raise CodecError(f"activation: {name!r} given; choose from {', '.join(ACTIVATIONS)}")
    return nn.ReLU(inplace=True) if name == "relu" else GDN(width, inverse=inverse)
