"""What we use of CompressAI's layers, imported in one place, and the transforms made of them.

The imports are without the warnings of its own dependencies. The transforms are those of the
literature's codecs: four strided 5×5 convolutions down to 1/16, and their mirror image.
"""

import warnings

from torch import nn

from codec.errors import CodecError

ACTIVATIONS = ("relu", "gdn")
STRIDE = 16


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from compressai._CXX import pmf_to_quantized_cdf
    from compressai.entropy_models import EntropyBottleneck, GaussianConditional
    from compressai.layers import GDN, QReLU
    from compressai.models import (
        FactorizedPrior,
        FactorizedPriorReLU,
        MeanScaleHyperprior,
        ScaleHyperprior,
        get_scale_table,
    )
    from compressai.models.utils import conv, deconv, gaussian_kernel1d
    from compressai.models.video import ScaleSpaceFlow
    from compressai.ops import quantize_ste
    from compressai.ops.bound_ops import LowerBoundFunction

__all__ = [
    "GDN",
    "EntropyBottleneck",
    "FactorizedPrior",
    "FactorizedPriorReLU",
    "GaussianConditional",
    "LowerBoundFunction",
    "MeanScaleHyperprior",
    "QReLU",
    "ScaleHyperprior",
    "ScaleSpaceFlow",
    "conv",
    "deconv",
    "gaussian_kernel1d",
    "get_scale_table",
    "pmf_to_quantized_cdf",
    "quantize_ste",
]


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
