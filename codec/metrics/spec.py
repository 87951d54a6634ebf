"""What a quality metric is: all that evaluation, comparison and report need to know of it, in one
place.

Corvid's own metrics are declared by the same `MetricSpec` as those of packages from outside, beside
their functions; `codec.registry` names them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from codec import registry
from codec.errors import CodecError

# Of standard codecs: psycho-visual ("default") for what models people, psnr for what measures
# fidelity, MS-SSIM and frame differences among it. Measured on five clips that are not for testing,
# x265 medium in low delay at fixed QP: the psycho-visual tuning costs x265 +2.7 % of rate in PSNR
# 6:1:1, +2.1 % in MS-SSIM, +2.8 % in frame differences, +1.3 % in VMAF, +2.1 % in VMAF NEG, and
# changes LPIPS AlexNet by -3.8 %, LPIPS VGG by -0.2 %, DISTS by +0.8 %. (At fixed QP `-tune ssim`
# is `-tune psnr`.)
TUNINGS = ("psnr", "default")
TAKES = ("rgb", "pair")
PLANES_RULE = (
    "4:2:0 planes, the source's own (else made from its RGB) against the decoder's own (else made "
    "from its RGB)"
)

Planes = tuple[Tensor, Tensor, Tensor]
Frames = list[float | None]


@dataclass
class ClipPair:
    """A source clip and what was decoded, for functions that need more than two RGB clips.

    Attributes:
        reference, decoded: uint8 `(T, 3, H, W)` RGB on the CPU.
        to_planes: gives the 4:2:0 planes of both, each Y `(T, H, W)`, U and V `(T, ceil(H/2),
            ceil(W/2))` uint8.
        device: where networks run.
        every: sampled metrics take frames 0, n, 2n, …
        metrics: names of all that are asked of this pair.
        networks: what the specs' `load` gave, by that function.
    """

    reference: Tensor
    decoded: Tensor
    to_planes: Callable[[], tuple[Planes, Planes]] | None = None
    device: str = "cpu"
    every: int = 1
    metrics: Sequence[str] = ()
    networks: Mapping[Any, Any] = field(default_factory=dict)
    _shared: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def planes(self) -> tuple[Planes, Planes]:
        """The 4:2:0 planes of source and decoded clip."""
        if self.to_planes is None:
            raise CodecError("this pair of clips has no 4:2:0 planes; give to_planes")
        return self.shared("planes", self.to_planes)

    def shared(self, name: str, compute: Callable[[], Any]) -> Any:
        """What several metrics need, computed once."""
        if name not in self._shared:
            self._shared[name] = compute()
        return self._shared[name]

    def distances(self, network: nn.Module) -> list[float]:
        """A network's distance of every n-th frame; one at a time, which on a CPU is as fast as
        many and needs least memory.
        """
        frames = [clip[:: self.every].split(1) for clip in (self.reference, self.decoded)]
        images = zip(*frames, strict=True)
        return [network(x.to(self.device) / 255, y.to(self.device) / 255).item() for x, y in images]


@dataclass(frozen=True)
class MetricSpec:
    """A quality metric; docs/adding_a_metric.md shows one.

    How far a value is from the best is compared on -10 log10, which makes it grow with quality like
    dB; a similarity that were integrated as it is would weigh only its low end.

    Attributes:
        title: its name in tables and figures.
        function: of two uint8 `(T, 3, H, W)` RGB clips on the CPU, the source and the decoded one;
            gives `T` values.
        unit: `dB` for example, or empty.
        best: the value of a perfect clip: 0 of a distance (less is better), 1 of a similarity; both
            are compared on -10 log10 of how far from it they are. None: more is better, as in dB.
        tuning: of standard codecs that is fair to it: `psnr` for fidelity, `default` for what
            models people.
        description: how it is computed, for the conditions of a result; or a function of `every`
            and the loaded network that says it.
        smallest_side: pixels that a frame must have a side.
        takes: `rgb`; or `pair`: the function gets a `ClipPair`.
        load: gives the network that the function needs, or says that its weights cannot be found;
            called once, before any work.
        sampled: whether it takes only every n-th frame where that is asked for, as slow metrics do.
        temporal: whether it scores changes: it needs two frames and gives no value of the first.
        note: says what is unusual about the pair or its values, empty when nothing is.

    Raises:
        CodecError: an unknown tuning, a `best` that is neither 0, 1 nor None, or another `takes`.
    """

    title: str
    function: Callable[..., Any]
    unit: str = ""
    best: float | None = None
    tuning: str = "psnr"
    description: str | Callable[[int, Any], str] = ""
    smallest_side: int = 1
    takes: str = "rgb"
    load: Callable[[], nn.Module] | None = None
    sampled: bool = False
    temporal: bool = False
    note: Callable[[ClipPair, Frames], str] | None = None

    def __post_init__(self) -> None:
        for field_name, value, choices in (
            ("tuning", self.tuning, TUNINGS),
            ("takes", self.takes, TAKES),
        ):
            if value not in choices:
                what = f"metric {self.title!r}: {field_name} {value!r} given"
                raise CodecError(f"{what}; choose from {', '.join(choices)}")
        if self.best not in (None, 0, 1):
            what = f"metric {self.title!r}: best {self.best!r} given"
            raise CodecError(f"{what}; 0, 1 or None expected")

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

    def unfit(self, width: int, height: int, frames: int, every: int) -> str:
        """Why it cannot score a clip of so many frames; empty when it can."""
        least = self.smallest_side
        if min(height, width) < least:
            return f"frames of {width}x{height} are below the {least}x{least} it needs"
        if self.temporal and frames < 2:
            return "one frame, it has no change to score"
        if self.temporal and self.sampled and frames <= every:
            return (
                f"of {frames} frames only the first is scored (every {every}), it has no change to "
                "score"
            )
        return ""

    @torch.inference_mode()
    def score(self, name: str, pair: ClipPair) -> Frames:
        """Every frame's value; the first of a temporal metric is None.

        Raises:
            CodecError: a function from outside failed, or one gave other than a finite value a
                frame.
        """
        clips = (pair,) if self.takes == "pair" else (pair.reference, pair.decoded)
        try:
            values = torch.as_tensor(self.function(*clips), dtype=torch.float64)
        except CodecError:
            raise
        except Exception as error:
            if self.function.__module__.startswith("codec."):
                raise
            what = f"metric {name}: {self.title} failed ({type(error).__name__}: {error})"
            raise CodecError(f"{what}; correct its function") from error
        count = len(pair.reference[:: pair.every if self.sampled else 1]) - self.temporal
        if values.shape != (count,) or not values.isfinite().all():
            what = f"metric {name}: {count} finite values expected, one a frame"
            what = f"{what}; {tuple(values.shape)} came:"
            raise CodecError(f"{what} {values.flatten()[:4].tolist()} ...")
        return [None] * self.temporal + values.tolist()


def spec_of(metric: str) -> MetricSpec:
    """What a metric is, by its name in `rd.json`.

    Raises:
        CodecError: an unknown metric (the message lists the known ones), or what a package
            registered is no `MetricSpec`.
    """
    entry = registry.find("metric", metric)
    if entry is None:
        known = ", ".join(registry.names_of("metric"))
        what = f"metric {metric!r} is not known; choose from {known}"
        raise CodecError(f"{what}; one of a package of yours is there with plugins=[PACKAGE]")
    spec = entry.load()
    if not isinstance(spec, MetricSpec):
        what = f"metric {metric!r}: {entry.package} registers a {type(spec).__name__}"
        raise CodecError(f"{what}; a MetricSpec expected")
    return spec
