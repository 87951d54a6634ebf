"""Quality metrics, each checked against a reference and declared by a `MetricSpec`. Of `codec` they
know only the registry and the error.
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
from codec.metrics.spec import ClipPair, MetricSpec, spec_of

__all__ = [
    "IDENTICAL_DB",
    "ClipPair",
    "Dists",
    "Lpips",
    "MetricSpec",
    "load_dists",
    "load_lpips",
    "lpips_in_time",
    "ms_ssim",
    "psnr",
    "psnr_611",
    "spec_of",
    "temporal_difference",
]
