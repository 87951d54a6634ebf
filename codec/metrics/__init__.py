"""Quality metrics, each checked against a reference. A leaf: imports nothing of `codec` but its
error.
"""

from codec.metrics.dists import Dists, load_dists
from codec.metrics.fidelity import (
    IDENTICAL_DB,
    ms_ssim,
    psnr,
    psnr_611,
    temporal_difference,
)
from codec.metrics.lpips import Lpips, load_lpips, lpips_in_time

__all__ = [
    "IDENTICAL_DB",
    "Dists",
    "Lpips",
    "load_dists",
    "load_lpips",
    "lpips_in_time",
    "ms_ssim",
    "psnr",
    "psnr_611",
    "temporal_difference",
]
