"""A metric from outside: all that evaluation, comparison and report need to know of it, in one
place.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

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
