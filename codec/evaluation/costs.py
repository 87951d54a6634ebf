"""What coding costs, in every result: measured apart, one codec after the other, while nothing else
of ours runs.
"""

import sys
from collections.abc import Sequence
from typing import Any

from filelock import FileLock

from codec.anchors.coder import Coder, Measurable
from codec.evaluation import keys
from codec.evaluation.provenance import machine
from codec.evaluation.running import Running, torch_threads
from codec.evaluation.store import Store
from codec.evaluation.work import source_of
from data.launch import run_parts
from data.progress import Progress
from data.sequences import Sequence as VideoSequence


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
        key = keys.complexity_key(coder, own, fact["key"], running.threads, here)
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
    coder: Coder, clip: VideoSequence, frames: int | None, store: Store, running: Running
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


def device_of(coder: Coder) -> str:
    """Where a coder's networks run; standard codecs are programs of the CPU."""
    return getattr(coder, "device", None) or "cpu"
