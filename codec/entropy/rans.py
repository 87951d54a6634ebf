"""What we use of compressai, imported in one place and without the warnings of its own dependencies."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from compressai._CXX import pmf_to_quantized_cdf
    from compressai.ans import BufferedRansEncoder, RansDecoder
    from compressai.ops import quantize_ste

__all__ = ["BufferedRansEncoder", "RansDecoder", "pmf_to_quantized_cdf", "quantize_ste"]
