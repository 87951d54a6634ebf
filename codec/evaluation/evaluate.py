"""Code every clip with every codec at every quality, score what was decoded, compare."""

import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from codec.anchors.coder import Coder
from codec.errors import CodecError
from codec.evaluation import memory
from codec.evaluation.complexity.benchmark import with_complexity
from codec.evaluation.conditions import provenance
from codec.evaluation.measure import Measure
from codec.evaluation.points import cache
from codec.evaluation.points.cache import Store, default_folder
from codec.evaluation.points.executor import Running, plan_line, run_here, run_on_cluster
from codec.evaluation.points.task import Task, clip_names, is_done, point_of, source_of
from codec.evaluation.results.bd_rate import MEAN, RULE, Comparison, compare
from codec.evaluation.results.rd import RDResult, save, write_json
from codec.metrics.spec import spec_of
from codec.precision import why_fastest
from data.io.source_clip import SourceClip
from data.sequences import Sequence as VideoSequence

Clip = str | Path | VideoSequence
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found, as `rd.json` and `bd_rate.json` hold it."""

    result: RDResult
    comparisons: list[Comparison]


def evaluate(
    codecs: Sequence[Coder],
    anchors: Sequence[Coder],
    clips: Sequence[Clip],
    output: Path,
    measure: Measure,
    frames: int | None = None,
    running: Running | None = None,
    classes: Sequence[str] = (),
) -> Evaluation:
    """Evaluate codecs against anchors on the same frames, and write `rd.json`, `bd_rate.json` and
    the coded files.

    Every point is kept in the store of `running` as it is made: the same call made again goes on
    where it was interrupted, and a point is made again only when what it depends on has changed.

    Args:
        codecs: what is compared; without any, the anchors after the first are compared with the
            first.
        anchors: what they are compared with.
        clips: files, or sequences of them.
        output: folder, made when it is not there. Coded files go to `streams/<codec>/`.
        measure: the metrics.
        frames: at most so many of each clip.
        running: how many at once and where; by default one by one, here.
        classes: of each clip, for means over them; by default their folders, where there are
            several.

    Raises:
        CodecError: a codec failed, or two clips or codecs have one name.
        DataError: a clip cannot be read, or jobs of a cluster failed.
    """
    coders, running = [*codecs, *anchors], running or Running()
    sequences = [
        clip if isinstance(clip, VideoSequence) else VideoSequence(Path(clip)) for clip in clips
    ]
    refuse_twins(coders, sequences)
    output.mkdir(parents=True, exist_ok=True)
    with opened_store(running, output) as store:
        result = found(
            coders,
            sequences,
            classes or folders_of(sequences),
            output,
            measure,
            frames,
            running,
            store,
        )
    save(result, output / "rd.json")
    names, against = [coder.name for coder in codecs], [coder.name for coder in anchors]
    comparisons = (
        compare(result, against, names) if names else compare(result, against[:1], against[1:])
    )
    write_json([comparison.to_json() for comparison in comparisons], output / "bd_rate.json")
    return Evaluation(result, comparisons)


def found(
    coders: Sequence[Coder],
    clips: Sequence[VideoSequence],
    classes: Sequence[str],
    output: Path,
    measure: Measure,
    frames: int | None,
    running: Running,
    store: Store,
) -> RDResult:
    """All points, made or from the store, and their conditions."""
    facts = [
        facts_of(clip, name, frames, store)
        for clip, name in zip(clips, clip_names(clips), strict=True)
    ]
    settings = [coder.settings() for coder in coders]
    for line in precision_lines(coders, settings):
        print(line, file=sys.stderr, flush=True)
    plan = planned(coders, settings, clips, facts, frames, measure, running.threads)
    make(plan, facts, measure, store, running)
    result = RDResult(conditions(coders, settings, measure, frames, running.threads), [])
    result.conditions["clips"] = clip_conditions(clips, facts, classes)
    if running.complexity:
        with_complexity(
            result.conditions["codecs"], coders, clips[0], facts[0], frames, store, running
        )
    for fact, tasks in zip(facts, plan, strict=True):
        result.points.extend(point_of(task, fact, store, output) for task in tasks)
    return result


def precision_lines(coders: Sequence[Coder], settings: Sequence[dict[str, Any]]) -> list[str]:
    """What learned codecs compute in: `precision: demo, all_intra in bf16; this CPU multiplies
    bfloat16`.
    """
    names: dict[tuple[str, str], list[str]] = {}
    for coder, own in zip(coders, settings, strict=True):
        if "precision" in own:
            names.setdefault((own["precision"], own["device"]), []).append(coder.name)
    return [
        f"precision: {', '.join(same)} in {precision}; {why_fastest(torch.device(device))}"
        for (precision, device), same in names.items()
    ]


@contextmanager
def opened_store(running: Running, output: Path) -> Iterator[Store]:
    """The store that was asked for; one for this evaluation alone where nothing shall be kept."""
    if running.cache is False:
        with tempfile.TemporaryDirectory(dir=output, prefix=".points_") as folder:
            yield Store(Path(folder).absolute())
    else:
        given = None if running.cache is True else running.cache
        yield Store(default_folder() if given is None else Path(given).absolute())


def planned(
    coders: Sequence[Coder],
    settings: Sequence[dict[str, Any]],
    clips: Sequence[VideoSequence],
    facts: Sequence[dict[str, Any]],
    frames: int | None,
    measure: Measure,
    threads: int,
) -> list[list[Task]]:
    """The points of each clip: every codec at each of its qualities, in the tunings that a chosen
    metric is compared in.
    """
    plan: list[list[Task]] = []
    for clip, fact in zip(clips, facts, strict=True):
        plan.append([])
        pixels = fact["width"] * fact["height"] * fact["frames"]
        for coder, own in zip(coders, settings, strict=True):
            for tune, quality in (
                (tune, quality) for tune in tunes_of(coder, measure) for quality in coder.qualities
            ):
                key = cache.stream_key(fact["key"], coder, own, quality, tune, threads)
                scores = {
                    name: cache.score_key(key, measure.rule(name), measure.device, threads)
                    for name in measure.metrics
                }
                plan[-1].append(Task(coder, clip, frames, quality, tune, key, scores, pixels))
    return plan


def tunes_of(coder: Coder, measure: Measure) -> list[str | None]:
    """Those of a coder's tunings that are fair to a chosen metric; all where none is
    meant for one.
    """
    wanted = {spec_of(metric).tuning for metric in measure.metrics}
    return [tune for tune in coder.tunes if tune in wanted] or list(coder.tunes)


def make(
    plan: Sequence[Sequence[Task]],
    facts: Sequence[dict[str, Any]],
    measure: Measure,
    store: Store,
    running: Running,
) -> None:
    """Make the points that are not in the store."""
    every = list({task.stream_key: task for tasks in plan for task in tasks}.values())
    missing = [task for task in every if not is_done(task, store)]
    print(plan_line(every, missing), file=sys.stderr, flush=True)
    if not missing:
        return
    wanted = {id(task) for task in missing}
    largest = max(
        needed(fact, tasks)
        for fact, tasks in zip(facts, plan, strict=True)
        if wanted & set(map(id, tasks))
    )
    if running.launcher == "slurm":
        run_on_cluster(missing, measure, store, running, largest)
        return
    jobs = running.jobs_on(measure.device)
    room = memory.fitting(jobs, largest, measure.device)
    if room < min(jobs, len(missing)):
        log.warning(
            "jobs: %d at once, not %d: each may take %.1f GB of memory", room, jobs, largest / 1e9
        )
    run_here(missing, measure, store, room, running.threads)


def needed(fact: dict[str, Any], tasks: Sequence[Task]) -> int:
    """Bytes that a job may take for a clip: codecs that are no other program decode in a process of
    their own.
    """
    processes = 1 + any(getattr(task.coder, "device", None) for task in tasks)
    return memory.need(fact["width"], fact["height"], fact["frames"], processes)


def facts_of(clip: VideoSequence, name: str, frames: int | None, store: Store) -> dict[str, Any]:
    """What a clip is, and is called; it is read when the store does not know its content."""
    path = clip.path
    sha256 = cache.clip_hash(path) if path.exists() else ""  # reading it says what is wrong
    key = cache.clip_key(sha256, clip, frames)
    facts = store.read("clips", key) if sha256 else None
    if facts is None:
        facts = described(source_of(clip, frames))
        store.write("clips", key, facts)
    return {"key": key, "sha256": sha256, "name": name, **facts}


def described(source: SourceClip) -> dict[str, Any]:
    """Size, frames, and how the colours were read."""
    colour = source.color_space
    rounded = f" of {source.bits} bits rounded to 8" if source.bits > 8 else ""
    return {
        **{
            "width": source.width,
            "height": source.height,
            "frames": source.frames,
            "fps": float(source.fps),
        },
        "exact_fps": str(source.fps),
        "colour": f"{colour.matrix} {'full' if colour.full_range else 'limited'} range, "
        f"{colour.origin}",
        "read": f"4:2:0 planes{rounded}, converted to RGB by corvid"
        if source.planes
        else "RGB from the source or its decoder",
    }


def conditions(
    coders: Sequence[Coder],
    settings: Sequence[dict[str, Any]],
    measure: Measure,
    frames: int | None,
    threads: int,
) -> dict[str, Any]:
    """What a stranger needs to repeat the numbers."""
    return {
        **provenance(threads),
        "frames_per_clip": frames or "all",
        "rate": "size of the file on disk, headers included, over the original width, height "
        "and frames",
        "bd_rate": RULE,
        "seconds": "of points made at once, maybe; speeds are those of codecs.*.complexity",
        "scored_on": measure.device,
        "metrics": measure.settings(),
        "codecs": {
            coder.name: {**own, "complexity": None}
            for coder, own in zip(coders, settings, strict=True)
        },
        "clips": {},
    }


def folders_of(clips: Sequence[VideoSequence]) -> list[str]:
    """The folder of each clip, where there are several and one holds more than one clip; else
    nothing.
    """
    names = [clip.path.resolve().parent.name for clip in clips]
    return names if 1 < len(set(names)) < len(names) else []


def clip_conditions(
    clips: Sequence[VideoSequence], facts: Sequence[dict[str, Any]], classes: Sequence[str]
) -> dict[str, Any]:
    """What each clip is, and its class where there are classes."""
    found: dict[str, Any] = {}
    for number, (clip, fact) in enumerate(zip(clips, facts, strict=True)):
        found[fact["name"]] = {
            "file": clip.path.name,
            "sha256": fact["sha256"],
            "size": f"{fact['width']}x{fact['height']}",
            "frames": fact["frames"],
            "fps": fact["exact_fps"],
            "colour": fact["colour"],
            "read": fact["read"],
            **({"class": classes[number]} if classes else {}),
        }
    return found


def refuse_twins(coders: Sequence[Coder], clips: Sequence[VideoSequence]) -> None:
    """Names are keys in the results, so they must differ."""
    if not coders or not clips:
        raise CodecError("evaluation: no codec or no clip; name a checkpoint or anchors, and clips")
    for what, names in (("codecs", [coder.name for coder in coders]), ("clips", clip_names(clips))):
        twins = [name for name, count in Counter([*names, MEAN]).items() if count > 1]
        if twins:
            raise CodecError(
                f"evaluation: {what} share the name {', '.join(twins)}; rename one ({MEAN} is "
                "taken)"
            )
