"""What coding costs, in every result: measured apart, one codec after the other, while nothing else
of ours runs.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import torch
from filelock import FileLock
from torch import Tensor

from codec.anchors.coder import Coder, Measurable
from codec.device import memory_peak
from codec.errors import CodecError
from codec.evaluation.codecs.isolated_decoder import codec_on
from codec.evaluation.complexity.profiler import FRAMES, measure_complexity, panning_clip, total
from codec.evaluation.conditions import machine
from codec.evaluation.orphans import end_with_parent, forked
from codec.evaluation.points import cache
from codec.evaluation.points.cache import Store
from codec.evaluation.points.executor import Running, torch_threads
from codec.evaluation.points.task import source_of
from codec.stream import compress, decompress
from common.cluster import run_parts
from common.progress import Progress
from common.resources import keep_freed_memory
from data.sequences import Sequence as VideoSequence

T = TypeVar("T")
MEASURED_FRAMES = 9
REPEATS = 3
ALL_INTRA = 1


def with_complexity(
    codecs: dict[str, dict[str, Any]],
    coders: Sequence[Coder],
    clip: VideoSequence,
    fact: dict[str, Any],
    frames: int | None,
    store: Store,
    running: Running,
) -> None:
    """Put what each coder costs on `clip` beside its settings; None for a coder that cannot tell.

    Figures of this machine that are kept are taken; codecs that differ in qualities alone share
    them.

    Args:
        codecs: settings by name, each with a `complexity`, which is replaced.
        fact: of the clip.
    """
    for coder in coders:
        if not isinstance(coder, Measurable):
            continue
        own = {name: value for name, value in codecs[coder.name].items() if name != "complexity"}
        here = machine(running.threads, device_of(coder))
        if running.launcher != "local":  # it is measured on a node, which these options choose
            here |= {"launcher": running.launcher, "slurm": running.slurm}
        key = cache.complexity_key(coder, own, fact["key"], running.threads, here)
        cost = store.read("complexity", key)
        if cost is None:
            print(f"measuring what {coder.name} costs", file=sys.stderr, flush=True)
            alone = FileLock(
                store.root / "complexity.lock"
            )  # another evaluation's pass would slow both
            with alone, Progress(f"measuring {coder.name}", 1, "codec") as progress:
                cost = measured(coder, clip, frames, store, running)
                progress.update()
            store.write("complexity", key, cost)
        codecs[coder.name]["complexity"] = cost


def measured(
    coder: Measurable, clip: VideoSequence, frames: int | None, store: Store, running: Running
) -> dict[str, Any]:
    """What `coder` costs, on the machine that points are made on."""
    arguments = (coder, clip, frames, running.threads)
    if running.launcher == "local":
        return cost_of(*arguments)
    options = {
        name: value for name, value in running.slurm.items() if name not in ("parts", "at_once")
    }
    options = {"cpus_per_task": running.threads, "exclusive": True, **options}
    return run_parts(cost_of, [arguments], running.launcher, store.logs, **options)[0]


def cost_of(
    coder: Measurable, clip: VideoSequence, frames: int | None, threads: int
) -> dict[str, Any]:
    """What `coder` costs here, and where here is."""
    with torch_threads(threads):
        here = machine(threads, device_of(coder))
        cost = coder.complexity(source_of(clip, frames))
        return {**cost, "clip": clip.path.name, "machine": here.get("gpu", here["cpu"])}


def device_of(coder: object) -> str:
    """Where a coder's networks run; standard codecs are programs of the CPU."""
    return getattr(coder, "device", None) or "cpu"


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
            in_new_process(step, costing) for step in (encode, decode)
        )
        counted = in_new_process(count, costing)
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


def in_new_process(step: Callable[[Costing], T], costing: Costing) -> T:
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
    codec = _ready(costing)

    def seconds(file: Path, count: int) -> float:
        return compress(
            codec,
            costing.frames[:count],
            fps=costing.fps,
            quality=costing.quality,
            path=file,
            intra_period=costing.intra_period,
            precision=costing.precision,
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
