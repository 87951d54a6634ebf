"""What evaluation, comparison and report need to know of a metric: its axis for BD-rate, and the
tuning of a standard codec that is fair to it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from codec import registry
from codec.errors import CodecError

TUNINGS = ("psnr", "default")


@dataclass(frozen=True)
class MetricSpec:
    """A quality metric that a package of your own registers; docs/adding_a_metric.md shows one.

    Attributes:
        title: its name in tables and figures.
        function: of two uint8 `(T, 3, H, W)` RGB clips on the CPU, the source and the decoded one;
            gives `T` values.
        unit: `dB` for example, or empty.
        best: the value of a perfect clip: 0 of a distance (less is better), 1 of a similarity; both
            are compared on -10 log10 of how far from it they are. None: more is better, as in dB.
        tuning: of standard codecs that is fair to it: `psnr` for fidelity, `default` for what
            models people.
        description: how it is computed, for the conditions of a result.
        smallest_side: pixels that a frame must have a side.

    Raises:
        CodecError: an unknown tuning, or a `best` that is neither 0, 1 nor None.
    """

    title: str
    function: Callable[[Tensor, Tensor], Tensor]
    unit: str = ""
    best: float | None = None
    tuning: str = "psnr"
    description: str = ""
    smallest_side: int = 1

    def __post_init__(self) -> None:
        if self.tuning not in TUNINGS:
            what = f"metric {self.title!r}: tuning {self.tuning!r} given"
            raise CodecError(f"{what}; choose from {', '.join(TUNINGS)}")
        if self.best not in (None, 0, 1):
            what = f"metric {self.title!r}: best {self.best!r} given"
            raise CodecError(f"{what}; 0, 1 or None expected")

    @torch.inference_mode()
    def score(self, name: str, reference: Tensor, decoded: Tensor) -> list[float]:
        """Every frame's value.

        Raises:
            CodecError: the function failed, or gave other than a finite value a frame.
        """
        try:
            values = torch.as_tensor(self.function(reference, decoded), dtype=torch.float64)
        except CodecError:
            raise
        except Exception as error:  # somebody else's function
            what = f"metric {name}: {self.title} failed ({type(error).__name__}: {error})"
            raise CodecError(f"{what}; correct its function") from error
        if values.shape != (len(reference),) or not values.isfinite().all():
            what = f"metric {name}: {len(reference)} finite values expected, one a frame"
            what = f"{what}; {tuple(values.shape)} came:"
            raise CodecError(f"{what} {values.flatten()[:4].tolist()} ...")
        return values.tolist()


@dataclass(frozen=True)
class Axis:
    """A metric's name in text, its unit, the tuning that goes with it, and where it is best.

    `best` is the value of a perfect clip: 0 of a distance (less is better), 1 of a similarity; None
    where nothing is to be transformed (dB, points of VMAF). How far a value is from the best is put
    on -10 log10, which makes it grow with quality like dB; a similarity that were integrated as it
    is would weigh only its low end.
    """

    title: str
    unit: str
    tune: str
    best: float | None = None

    @property
    def distance(self) -> bool:
        """Whether less is better."""
        return self.best == 0

    def place(self, value: float) -> float:
        """Where a value lies on the axis BD-rate integrates over; infinite for a perfect one."""
        if self.best is None:
            return value
        away = abs(self.best - value)
        return -10 * math.log10(away) if away > 0 else math.inf

    def value(self, place: float) -> float:
        """The value that lies at a place of the axis: the inverse of `place`."""
        if self.best is None:
            return place
        away = 10 ** (-place / 10)
        return away if self.distance else self.best - away

    @property
    def scale(self) -> str:
        """The axis in words, for conditions and captions."""
        if self.best is None:
            return f"{self.title} in {self.unit}"
        return (
            f"-10 log10({self.title})"
            if self.distance
            else f"-10 log10({self.best:g} - {self.title})"
        )


# `tune`: psycho-visual ("default") for what models people, psnr for what measures fidelity, MS-SSIM
# and frame differences among it. Measured on five clips that are not for testing, x265 medium in
# low delay at fixed QP: the psycho-visual tuning costs x265 +2.7 % of rate in PSNR 6:1:1, +2.1 % in
# MS-SSIM, +2.8 % in frame differences, +1.3 % in VMAF, +2.1 % in VMAF NEG, and changes LPIPS
# AlexNet by -3.8 %, LPIPS VGG by -0.2 %, DISTS by +0.8 %. (At fixed QP `-tune ssim` is `-tune
# psnr`.)
AXES = {
    "psnr_rgb": Axis("PSNR RGB", "dB", "psnr"),
    "psnr_y": Axis("PSNR Y", "dB", "psnr"),
    "psnr_u": Axis("PSNR U", "dB", "psnr"),
    "psnr_v": Axis("PSNR V", "dB", "psnr"),
    "psnr_yuv": Axis("PSNR YUV 6:1:1", "dB", "psnr"),
    "ms_ssim": Axis("MS-SSIM RGB", "", "psnr", best=1),
    "lpips_alex": Axis("LPIPS AlexNet", "", "default", best=0),
    "lpips_vgg": Axis("LPIPS VGG", "", "default", best=0),
    "dists": Axis("DISTS", "", "default", best=0),
    "vmaf": Axis("VMAF", "points", "default"),
    "vmaf_neg": Axis("VMAF NEG", "points", "default"),
    "temporal_difference": Axis("PSNR of frame differences", "dB", "psnr"),
    "temporal_lpips": Axis("Temporal LPIPS", "", "default", best=0),
}


def axis_of(metric: str) -> Axis:
    """The axis of a metric by its name in `rd.json`.

    Raises:
        CodecError: an unknown metric; the message lists the known ones.
    """
    if metric in AXES:
        return AXES[metric]
    if spec := spec_of(metric):
        return Axis(spec.title, spec.unit, spec.tuning, spec.best)
    known = ", ".join((*AXES, *(entry.name for entry in registry.own_entries("metric"))))
    what = f"metric {metric!r} is not known; choose from {known}"
    raise CodecError(f"{what}; one of a package of yours is there with plugins=[PACKAGE]")


def spec_of(metric: str) -> MetricSpec | None:
    """What a package from outside says of its metric; None of ours and of unknown ones.

    Raises:
        CodecError: what it registered is no `MetricSpec`.
    """
    if metric in AXES or (entry := registry.find("metric", metric)) is None:
        return None
    spec = entry.load()
    if not isinstance(spec, MetricSpec):
        what = f"metric {metric!r}: {entry.package} registers a {type(spec).__name__}"
        raise CodecError(f"{what}; a MetricSpec expected")
    return spec
