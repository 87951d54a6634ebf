"""Fidelity of RGB frames and of planes: PSNR, MS-SSIM, and how truly a decoded clip changes from
frame to frame: flicker is change that the source does not have.
"""

from itertools import pairwise

import pytorch_msssim
import torch
from torch import Tensor

from codec.errors import CodecError

IDENTICAL_DB = 100.0
MS_SSIM_SIDE = 161


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
    if min(reference.shape[-2:]) < MS_SSIM_SIDE:
        raise CodecError(
            f"ms_ssim: frames are {tuple(reference.shape)}; both sides need {MS_SSIM_SIDE} pixels "
            "or more"
        )
    frames = zip(reference.split(1), decoded.split(1), strict=True)
    values = [
        pytorch_msssim.ms_ssim(a.float(), b.float(), data_range=255, size_average=False)
        for a, b in frames
    ]
    return torch.cat(values).double().cpu()


def temporal_difference(reference: Tensor, decoded: Tensor) -> Tensor:
    """PSNR of the frame differences: dB of the mean square of `(x_t - x_{t-1}) - (y_t - y_{t-1})`.

    An error that stays is no error here, whatever its size; the same error in one frame only counts
    twice.

    Args:
        reference: x, `(T, ...)` uint8, such as luma `(T, H, W)`.
        decoded: y, the same shape and type.

    Returns:
        `(T - 1,)` float64 in dB with a peak of 255; `IDENTICAL_DB` where the two change alike.

    Raises:
        CodecError: the two differ in shape or are not uint8.
    """
    check_pair(reference, decoded, "temporal_difference")
    errors = (a.double() - b.double() for a, b in zip(reference, decoded, strict=True))
    changes = [(after - before).flatten() for before, after in pairwise(errors)]
    return decibels(
        torch.tensor(
            [change.dot(change).item() / change.numel() for change in changes], dtype=torch.float64
        )
    )
