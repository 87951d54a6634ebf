"""Peak signal-to-noise ratio of RGB frames and of planes."""

import torch
from torch import Tensor

from codec.errors import CodecError

IDENTICAL_DB = 100.0


def psnr(reference: Tensor, decoded: Tensor) -> Tensor:
    """PSNR of every frame over all its samples together; the clip's figure is the mean of these dB.

    Args:
        reference: `(T, ...)` uint8: RGB `(T, 3, H, W)`, over the three channels together, or one
            plane `(T, H, W)`.
        decoded: the same shape and type.

    Returns:
        `(T,)` float64 in dB. A frame without any error, whose PSNR is infinite, counts as 100 dB
        (`IDENTICAL_DB`), and so does one with so little of it that it would score more.

    Raises:
        CodecError: the two differ in shape or are not uint8.
    """
    check_pair(reference, decoded, "psnr")
    return decibels(
        torch.stack([squared_error(a, b) for a, b in zip(reference, decoded, strict=True)])
    )


def psnr_611(luma: Tensor, *chroma: Tensor) -> Tensor:
    """One PSNR a frame from those of its planes, `(6 Y + U + V) / 8` in dB.

    Source: Ohm et al., *Comparison of the Coding Efficiency of Video Coding Standards*, 2012.
    """
    return (6 * luma + sum(chroma)) / 8


def squared_error(reference: Tensor, decoded: Tensor) -> Tensor:
    """Mean squared error of one uint8 frame, a float64 scalar (a sum of integers below 2^53, so it
    is exact).
    """
    difference = (reference.double() - decoded.double()).flatten()
    return difference.dot(difference) / difference.numel()


def decibels(errors: Tensor) -> Tensor:
    """Mean squared errors of 8-bit samples as dB, at most `IDENTICAL_DB`."""
    return (10 * torch.log10(255.0**2 / errors)).clamp(max=IDENTICAL_DB)


def check_pair(reference: Tensor, decoded: Tensor, what: str) -> None:
    """Refuse what would be broadcast or has another peak than 255."""
    if (
        reference.shape != decoded.shape
        or reference.dtype != torch.uint8
        or decoded.dtype != torch.uint8
    ):
        raise CodecError(
            f"{what}: reference is {reference.dtype} {tuple(reference.shape)}, decoded "
            f"{decoded.dtype} "
            f"{tuple(decoded.shape)}; give two uint8 (T, ...) of one shape"
        )
