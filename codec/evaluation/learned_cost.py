"""What a learned codec costs: counted operations, and speed and memory of fresh processes that only
encode or only decode.
"""

import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from codec.allocator import keep_freed_memory
from codec.device import memory_peak
from codec.errors import CodecError
from codec.evaluation.complexity import FRAMES, measure_complexity, total
from codec.evaluation.fresh import codec_on
from codec.evaluation.orphans import end_with_parent, forked
from codec.evaluation.synthetic import panning_clip
from codec.stream import compress, decompress

T = TypeVar("T")
MEASURED_FRAMES = 9
REPEATS = 3
ALL_INTRA = 1


@dataclass(frozen=True)
class Costing:
    """What is coded with what, in a fresh process."""

    checkpoint: str
    device: str
    frames: Tensor
    fps: Fraction
    quality: int
    intra_period: int
    threads: int
    folder: Path
    precision: str | None = None

    @property
    def files(self) -> list[tuple[Path, int]]:
        """A file a run with its frames: the first frame alone, then all of them."""
        return [(self.folder / f"{count}.cvd", count) for count in sorted({1, len(self.frames)})]


def cost_of_learned(
    checkpoint: str,
    device: str,
    frames: Tensor,
    fps: Fraction,
    quality: int,
    intra_period: int = -1,
    precision: str | None = None,
) -> dict[str, Any]:
    """The figures of `Measurable.complexity`.

    Args:
        frames: uint8 `(T, 3, H, W)`; the first 9 are coded.
        quality: 0..63.
        intra_period: of the codec; where all frames are intra, operations are those of an intra
            frame.
        precision: as `freeze` takes it.
    """
    height, width = frames.shape[-2:]
    with tempfile.TemporaryDirectory() as folder:
        how = (quality, intra_period, torch.get_num_threads(), Path(folder), precision)
        costing = Costing(checkpoint, device, frames[:MEASURED_FRAMES], fps, *how)
        (encoding, encode_memory), (decoding, decode_memory) = (
            fresh(step, costing) for step in (encode, decode)
        )
        counted = fresh(count, costing)
    return {
        **counted,
        **{"encode_fps": encoding, "decode_fps": decoding},
        **{"encode_memory_mb": encode_memory, "decode_memory_mb": decode_memory},
        **{
            "threads": costing.threads,
            "size": f"{width}x{height}",
            "frames": len(costing.frames),
            "quality": quality,
        },
    }


def fresh(step: Callable[[Costing], T], costing: Costing) -> T:
    """Run a step in a process that does nothing else.

    Raises:
        CodecError: the codec's own, or the process died.
    """
    with ProcessPoolExecutor(1, forked(), end_with_parent) as process:
        try:
            return process.submit(step, costing).result()
        except BrokenProcessPool as error:
            what = f"the process that measures {step.__name__} died ({error})"
            raise CodecError(f"{costing.checkpoint}: {what}; is there memory enough?") from error


def encode(costing: Costing) -> tuple[float, float]:
    """Frames a second and MiB of encoding."""
    codec, how = (
        _ready(costing),
        {"intra_period": costing.intra_period, "precision": costing.precision},
    )

    def seconds(file: Path, count: int) -> float:
        return compress(
            codec, costing.frames[:count], costing.fps, costing.quality, file, **how
        ).seconds

    return _figures(costing, seconds)


def decode(costing: Costing) -> tuple[float, float]:
    """Frames a second and MiB of decoding."""
    codec = _ready(costing)
    return _figures(costing, lambda file, count: decompress(file, codec).seconds)


def count(costing: Costing) -> dict[str, Any]:
    """Parameters, and thousand multiply-accumulates a pixel of a predicted frame, or of an intra
    frame where all are.

    A clip that is too short is replaced by a synthetic one.
    """
    frames, (height, width) = costing.frames[:FRAMES], costing.frames.shape[-2:]
    frames = frames if len(frames) == FRAMES else panning_clip(FRAMES, width, height)
    found = measure_complexity(
        _ready(costing), frames, costing.quality, repeats=0, precision=costing.precision
    )
    frame = found.intra if costing.intra_period == ALL_INTRA else found.predicted
    costs = {"encode_kmac": frame.encoding, "decode_kmac": frame.decoding}
    rounded = {name: round(total(parts).kmac_per_pixel, 2) for name, parts in costs.items()}
    return {"parameters": sum(found.parameters.values()), **rounded}


def _ready(costing: Costing) -> Any:
    keep_freed_memory()
    torch.set_num_threads(costing.threads)
    return codec_on(costing.checkpoint, costing.device)


def _figures(costing: Costing, seconds: Callable[[Path, int], float]) -> tuple[float, float]:
    """The median of several runs; the first frame, which is intra, is taken off where there are
    more.
    """
    runs = [[seconds(file, count) for file, count in costing.files] for _ in range(REPEATS)]
    spent = statistics.median(run[-1] - (run[0] if len(run) > 1 else 0) for run in runs)
    counted = max(1, len(costing.frames) - 1)
    return float(f"{counted / max(spent, 1e-6):.3g}"), round(
        memory_peak(torch.device(costing.device)) / 2**20, 1
    )
