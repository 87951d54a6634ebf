"""Quality metrics, each checked against a reference. A leaf: imports nothing of `codec` but its error."""

from codec.metrics.lpips import Lpips, load_lpips
from codec.metrics.psnr import IDENTICAL_DB, psnr

__all__ = ["IDENTICAL_DB", "Lpips", "load_lpips", "psnr"]
