"""Peak signal-to-noise ratio of RGB frames."""

import torch
from torch import Tensor

from codec.errors import CodecError

IDENTICAL_DB = 100.0


def psnr(reference: Tensor, decoded: Tensor) -> Tensor:
    """PSNR of every frame over its three channels together; the clip's figure is the mean of these dB.

    Args:
        reference: `(T, 3, H, W)` uint8.
        decoded: the same shape and type.

    Returns:
        `(T,)` float64 in dB. A frame without any error, whose PSNR is infinite, counts as 100 dB (`IDENTICAL_DB`).

    Raises:
        CodecError: the two differ in shape or are not uint8.
    """
    if reference.shape != decoded.shape or reference.dtype != torch.uint8 or decoded.dtype != torch.uint8:
        raise CodecError(
            f"psnr: reference is {reference.dtype} {tuple(reference.shape)}, decoded {decoded.dtype} "
            f"{tuple(decoded.shape)}; give two uint8 (T, 3, H, W) of one shape"
        )
    errors = torch.stack([squared_error(a, b) for a, b in zip(reference, decoded, strict=True)])
    return torch.where(errors > 0, 10 * torch.log10(255.0**2 / errors.clamp(min=1e-12)), IDENTICAL_DB)


def squared_error(reference: Tensor, decoded: Tensor) -> Tensor:
    """Mean squared error of one uint8 frame, a float64 scalar (a sum of integers below 2^53, so it is exact)."""
    difference = (reference.double() - decoded.double()).flatten()
    return difference.dot(difference) / difference.numel()
