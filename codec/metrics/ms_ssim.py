"""Multi-scale structural similarity of RGB frames."""

import pytorch_msssim
import torch
from torch import Tensor

from codec.errors import CodecError
from codec.metrics.psnr import check_pair

SMALLEST_SIDE = 161


@torch.inference_mode()
def ms_ssim(reference: Tensor, decoded: Tensor) -> Tensor:
    """MS-SSIM of every frame by the `pytorch-msssim` package: five scales, Gaussian window of 11,
    mean over R, G and B.

    Args:
        reference: `(T, 3, H, W)` uint8, on any device.
        decoded: the same shape and type.

    Returns:
        `(T,)` float64 on the CPU, 1 for equal frames, at least 0 (negative terms count 0, as in the
        package).

    Raises:
        CodecError: the two differ in shape or are not uint8, or a side is below 161: the smallest
            of the five scales would be smaller than the window.

    Source: Wang, Simoncelli, Bovik, *Multi-scale Structural Similarity for Image Quality
    Assessment*, 2003, eq. 7.
    """
    check_pair(reference, decoded, "ms_ssim")
    if min(reference.shape[-2:]) < SMALLEST_SIDE:
        raise CodecError(
            f"ms_ssim: frames are {tuple(reference.shape)}; both sides need {SMALLEST_SIDE} pixels "
            "or more"
        )
    frames = zip(reference.split(1), decoded.split(1), strict=True)
    values = [
        pytorch_msssim.ms_ssim(a.float(), b.float(), data_range=255, size_average=False)
        for a, b in frames
    ]
    return torch.cat(values).double().cpu()
