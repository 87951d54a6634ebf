"""What we use of compressai's layers, imported in one place and without the warnings of its own
dependencies.
"""

import warnings

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
