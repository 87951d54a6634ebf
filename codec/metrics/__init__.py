"""Quality metrics, each checked against a reference. A leaf: imports nothing of `codec` but its
error.
"""

from codec.metrics.dists import Dists, load_dists
from codec.metrics.lpips import Lpips, load_lpips
from codec.metrics.ms_ssim import ms_ssim
from codec.metrics.psnr import IDENTICAL_DB, psnr, psnr_611
from codec.metrics.temporal import lpips_in_time, temporal_difference

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
