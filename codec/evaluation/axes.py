"""How a metric is scored: its axis for BD-rate, and the tuning of a standard codec that is fair to it."""

import math
from dataclasses import dataclass

from codec.errors import CodecError


@dataclass(frozen=True)
class Axis:
    """A metric's name in text, its unit, the tuning that goes with it, and whether less is better.

    A distance is put on -10 log10, which makes it grow with quality like dB.
    """

    title: str
    unit: str
    tune: str
    distance: bool

    def place(self, value: float) -> float:
        """Where a value lies on the axis BD-rate integrates over; infinite for a distance of 0."""
        if not self.distance:
            return value
        return -10 * math.log10(value) if value > 0 else math.inf

    @property
    def scale(self) -> str:
        """The axis in words, for conditions and captions."""
        return f"-10 log10({self.title})" if self.distance else f"{self.title} in {self.unit}"


AXES = {
    "psnr_rgb": Axis("PSNR RGB", "dB", "psnr", distance=False),
    "lpips_alex": Axis("LPIPS AlexNet", "", "default", distance=True),
    "lpips_vgg": Axis("LPIPS VGG", "", "default", distance=True),
}


def axis_of(metric: str) -> Axis:
    """The axis of a metric by its name in `rd.json`.

    Raises:
        CodecError: an unknown metric; the message lists the known ones.
    """
    if metric not in AXES:
        raise CodecError(f"metric {metric!r} is not known; choose from {', '.join(AXES)}")
    return AXES[metric]
