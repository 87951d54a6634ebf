"""Fidelity of RGB frames and of planes: PSNR, MS-SSIM, and how truly a decoded clip changes from
frame to frame: flicker is change that the source does not have.
"""

from importlib.metadata import version
from itertools import pairwise

import pytorch_msssim
import torch
from torch import Tensor

from codec.errors import CodecError
from codec.metrics.spec import PLANES_RULE, ClipPair, Frames, MetricSpec

IDENTICAL_DB = 100.0
MS_SSIM_SIDE = 161
DB = f"dB per frame, mean over frames; perfect frames count {IDENTICAL_DB:g} dB"


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


def perfect_frames(pair: ClipPair, frames: Frames) -> str:
    """How many frames without error count 100 dB; empty when none does."""
    scored = [value for value in frames if value is not None]
    perfect = scored.count(IDENTICAL_DB)
    return (
        f"{perfect} of {len(scored)} frames are perfect or nearly so, {IDENTICAL_DB:g} dB"
        * bool(perfect)
    )


def perfect_planes(pair: ClipPair, frames: Frames) -> str:
    """How many frames have a plane without error, which raises their mean; empty when none has."""
    raised = int((torch.stack(psnr_of_planes(pair)) == IDENTICAL_DB).any(dim=0).sum())
    what = f"{raised} of {len(frames)} frames have a perfect plane, {IDENTICAL_DB:g} dB"
    return what * bool(raised)


def psnr_of_planes(pair: ClipPair) -> list[Tensor]:
    """PSNR of Y, U and V, `(T,)` each."""
    return pair.shared(
        "psnr_of_planes", lambda: [psnr(x, y) for x, y in zip(*pair.planes, strict=True)]
    )


def ms_ssim_on_device(pair: ClipPair) -> Tensor:
    """MS-SSIM, computed where networks run."""
    return ms_ssim(pair.reference.to(pair.device), pair.decoded.to(pair.device))


def psnr_spec(title: str, plane: int) -> MetricSpec:
    """PSNR of one plane."""
    return MetricSpec(
        title,
        lambda pair: psnr_of_planes(pair)[plane],
        unit="dB",
        description=f"{DB}; {PLANES_RULE}",
        takes="pair",
        note=perfect_frames,
    )


PSNR_RGB = MetricSpec(
    "PSNR RGB",
    psnr,
    unit="dB",
    description=f"over R, G and B together; {DB}",
    note=perfect_frames,
)
PSNR_Y = psnr_spec("PSNR Y", 0)
PSNR_U = psnr_spec("PSNR U", 1)
PSNR_V = psnr_spec("PSNR V", 2)
PSNR_YUV = MetricSpec(
    "PSNR YUV 6:1:1",
    lambda pair: psnr_611(*psnr_of_planes(pair)),
    unit="dB",
    description=f"(6 Y + U + V) / 8 of the planes' dB; {DB}; {PLANES_RULE}",
    takes="pair",
    note=perfect_planes,
)
MS_SSIM = MetricSpec(
    "MS-SSIM RGB",
    ms_ssim_on_device,
    best=1,
    description=f"pytorch-msssim {version('pytorch-msssim')}, five scales, mean over R, G and B, "
    "then over frames",
    smallest_side=MS_SSIM_SIDE,
    takes="pair",
)
TEMPORAL_DIFFERENCE = MetricSpec(
    "PSNR of frame differences",
    lambda pair: temporal_difference(*(planes[0] for planes in pair.planes)),
    unit="dB",
    description=f"PSNR of (x_t - x_t-1) - (y_t - y_t-1) of luma; {DB}; {PLANES_RULE}",
    takes="pair",
    temporal=True,
    note=perfect_frames,
)
