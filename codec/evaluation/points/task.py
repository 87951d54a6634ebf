"""Points as tasks: what is to be coded and scored, and doing one of them. Nothing here knows who
does it, or how many at once.
"""

import functools
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from codec.anchors.coder import CodedResult, Coder, Decoder
from codec.errors import CodecError
from codec.evaluation.measure import Measure
from codec.evaluation.points.cache import Store, Stored
from codec.evaluation.results.rd import Point
from data.io.source_clip import SourceClip, read_source
from data.sequences import Sequence as VideoSequence

log = logging.getLogger(__name__)
FACTS = ("bytes", "encode_seconds", "decode_seconds", "frame_bytes", "extra")


@dataclass(frozen=True)
class Task:
    """One point: who codes which clip how, and under which keys file and scores, by metric, are
    kept; pixels of all frames.
    """

    coder: Coder
    clip: VideoSequence
    frames: int | None
    quality: int
    tune: str | None
    stream_key: str
    score_keys: dict[str, str]
    pixels: int = 1

    @property
    def title(self) -> str:
        """For people."""
        return (
            f"{clip_name(self.clip.path)}: {self.coder.name} "
            f"{self.quality}{f' ({self.tune})' if self.tune else ''}"
        )


def is_done(task: Task, store: Store) -> bool:
    """Whether file and scores are kept."""
    return not unscored(task, store) and store.find(task.stream_key) is not None


def unscored(task: Task, store: Store) -> list[str]:
    """The metrics whose scores are not kept."""
    return [
        name for name, key in task.score_keys.items() if store.scores(task.stream_key, key) is None
    ]


@torch.inference_mode()
def perform(task: Task, measure: Measure, store: Store) -> None:
    """Code and score one point, or what is missing of it, into the store.

    Raises:
        CodecError: the codec failed, or decodes to frames of another shape.
        DataError: the clip cannot be read.
    """
    source = source_of(task.clip, task.frames)
    stored = store.find(task.stream_key)
    coded = decoded_again(task, stored, source, store) if stored else None
    if coded is None:
        with store.workplace() as folder:
            coded = task.coder.code(source, task.quality, task.tune, folder)
            check_shape(task, coded, source)
            facts = {name: getattr(coded, name) for name in FACTS}
            store.keep(task.stream_key, folder, coded.file, facts | {"suffix": coded.file.suffix})
    check_shape(task, coded, source)
    missing = unscored(task, store)
    scored = measure.only(missing).score(source, coded)
    for name in missing:
        store.keep_scores(task.stream_key, task.score_keys[name], scored.of(name))


def decoded_again(
    task: Task, stored: Stored, source: SourceClip, store: Store
) -> CodedResult | None:
    """What a kept file holds; None when its coder cannot tell, or not here any more: then it is
    forgotten.
    """
    if not isinstance(task.coder, Decoder):
        return None
    try:
        found = task.coder.decode(stored.file, source)
    except CodecError as error:
        log.warning("%s, it is coded again", error)
        store.remove(task.stream_key)
        return None
    return CodedResult(
        stored.file,
        decoded=found.rgb,
        planes=found.planes,
        **{name: stored.facts[name] for name in FACTS},
    )


def check_shape(task: Task, coded: CodedResult, source: SourceClip) -> None:
    """Frames of another shape are an error: missing pixels would count as perfect, or shift every
    other.
    """
    if coded.decoded.shape != source.rgb.shape:
        shapes = f"{tuple(coded.decoded.shape)}, the clip is {tuple(source.rgb.shape)}"
        raise CodecError(
            f"{task.coder.name}: {source.name} at quality {task.quality} was decoded to {shapes}"
        )


def point_of(task: Task, clip: dict[str, Any], store: Store, output: Path) -> Point:
    """The point that `perform` has made, its file copied below `output`.

    Args:
        clip: what `Facts` of the clip say: `name`, `frames`, `width`, `height`, `fps`.

    Raises:
        CodecError: it is not in the store any more.
    """
    stored = store.find(task.stream_key)
    there = {name: store.scores(task.stream_key, key) for name, key in task.score_keys.items()}
    scores = {name: score for name, score in there.items() if score is not None}
    if stored is None or len(scores) < len(there):
        raise CodecError(
            f"{store.root}: {task.title} is gone; do not delete there while evaluations run, and "
            "start again"
        )
    facts = stored.facts
    tune = f"_{task.tune}" if task.tune else ""
    file = (
        output
        / "streams"
        / task.coder.name
        / f"{clip['name']}{tune}_q{task.quality}{facts['suffix']}"
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(stored.file, file)
    extra = {"tune": task.tune, **facts["extra"]}
    notes = [note for score in scores.values() for note in score["notes"]]
    every = {name: score["every"] for name, score in scores.items() if score["every"] > 1}
    extra |= {name: said for name, said in (("notes", notes), ("per_frame_every", every)) if said}
    return Point(
        codec=task.coder.name,
        clip=clip["name"],
        quality=task.quality,
        frames=clip["frames"],
        width=clip["width"],
        height=clip["height"],
        fps=clip["fps"],
        bytes=facts["bytes"],
        metrics={name: score["value"] for name, score in scores.items()},
        encode_seconds=round(facts["encode_seconds"], 4),
        decode_seconds=round(facts["decode_seconds"], 4),
        file=file.relative_to(output).as_posix(),
        sha256=facts["sha256"],
        frame_bytes=facts["frame_bytes"],
        per_frame={
            name: score["per_frame"]
            for name, score in scores.items()
            if score["per_frame"] is not None
        },
        extra=extra,
    )


def clip_name(path: Path) -> str:
    """As `SourceClip` calls itself."""
    return path.name if path.is_dir() else path.stem


def clip_names(clips: Sequence[VideoSequence]) -> list[str]:
    """A name a clip; where several have one, with the folder's name before and the first frame's
    number behind, as needed.
    """
    names = [clip_name(clip.path) for clip in clips]
    fuller = [
        f"{clip.path.resolve().parent.name}_{name}" for clip, name in zip(clips, names, strict=True)
    ]
    names = [
        full if names.count(name) > 1 else name for name, full in zip(names, fuller, strict=True)
    ]
    parts = [f"{name}_{clip.first}" for clip, name in zip(clips, names, strict=True)]
    return [
        part if names.count(name) > 1 else name for name, part in zip(names, parts, strict=True)
    ]


@functools.lru_cache(maxsize=1)
def source_of(clip: VideoSequence, frames: int | None) -> SourceClip:
    """The last clip read is kept: tasks come clip by clip."""
    return read_source(clip, max_frames=frames)
