"""The quality that meets a bitrate, a PSNR or an LPIPS: by coding, and looking at what came out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from codec.quality import QUALITIES

WITHIN = 0.05  # of the target


@dataclass(frozen=True)
class Target:
    """What a file is to have.

    Attributes:
        name: `kbps`, `psnr` (dB, RGB) or `lpips`.
        value: that it is to come close to.
    """

    name: str
    value: float

    @property
    def rises(self) -> bool:
        """With the quality; LPIPS falls."""
        return self.name != "lpips"


def find_quality(target: Target, measure: Callable[[int], float]) -> tuple[int, float]:
    """The quality 0..63 whose measured value is nearest to the target's, and the value.

    Values are taken for monotone in quality, so that six or seven of the 64 are measured.

    Args:
        target: what is wanted.
        measure: codes at a quality and gives the value.
    """
    low, high = 0, QUALITIES - 1
    measured: dict[int, float] = {}
    while low <= high:
        middle = (low + high) // 2
        measured[middle] = measure(middle)
        enough = (measured[middle] >= target.value) == target.rises
        if enough:
            high = middle - 1
        else:
            low = middle + 1
    best = min(measured, key=lambda quality: abs(measured[quality] - target.value))
    return best, measured[best]
