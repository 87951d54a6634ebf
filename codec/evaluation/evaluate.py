"""Code every clip with every codec at every quality, score what was decoded, compare."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from codec.anchors.coder import Coder
from codec.errors import CodecError
from codec.evaluation.bd_rate import MEAN, Comparison, compare
from codec.evaluation.measure import Measure
from codec.evaluation.provenance import provenance
from codec.evaluation.rd import Point, RDResult, save, write_json
from data.sequences import Sequence as VideoSequence
from data.source import SourceClip, read_source

Clip = str | Path | VideoSequence


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
) -> Evaluation:
    """Evaluate codecs against anchors on the same frames, and write `rd.json`, `bd_rate.json` and the coded files.

    Args:
        codecs: what is compared; without any, the anchors after the first are compared with the first.
        anchors: what they are compared with.
        clips: files, or sequences of them.
        output: folder, made when it is not there. Coded files go to `streams/<codec>/`. `rd.json` is written after
            every clip, so an evaluation that breaks leaves the clips it has finished.
        measure: the metrics.
        frames: at most so many of each clip.

    Raises:
        CodecError: a codec failed, or two clips or codecs have one name.
        DataError: a clip cannot be read.
    """
    coders = [*codecs, *anchors]
    refuse_twins(coders, clips)
    result = RDResult(conditions(coders, measure, frames), [])
    output.mkdir(parents=True, exist_ok=True)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        runs = sum(len(coder.tunes) * len(coder.qualities) for coder in coders)
        task = progress.add_task("evaluating", total=len(clips) * runs)
        for clip in clips:
            source = read_source(clip, max_frames=frames)
            result.conditions["clips"][source.name] = clip_conditions(source)
            for coder, tune, quality in passes(coders):
                progress.update(task, description=f"{source.name}: {coder.name} {quality}")
                if not progress.console.is_terminal:
                    print(f"evaluating {source.name}: {coder.name} {quality}", file=sys.stderr)
                result.points.append(code_point(coder, tune, quality, source, output, measure))
                progress.advance(task)
            save(result, output / "rd.json")
    names = [coder.name for coder in codecs]
    against = [coder.name for coder in anchors]
    comparisons = compare(result, against, names) if names else compare(result, against[:1], against[1:])
    write_json([comparison.to_json() for comparison in comparisons], output / "bd_rate.json")
    return Evaluation(result, comparisons)


def passes(coders: Sequence[Coder]) -> Iterator[tuple[Coder, str | None, int]]:
    """Every codec in each of its tunings at each of its qualities."""
    for coder in coders:
        for tune in coder.tunes:
            for quality in coder.qualities:
                yield coder, tune, quality


def code_point(coder: Coder, tune: str | None, quality: int, source: SourceClip, output: Path, measure: Measure) -> Point:
    """Code one clip once and score it."""
    folder = output / "streams" / coder.name
    folder.mkdir(parents=True, exist_ok=True)
    coded = coder.code(source, quality, tune, folder)
    if coded.decoded.shape != source.rgb.shape:
        shapes = f"{tuple(coded.decoded.shape)}, the clip is {tuple(source.rgb.shape)}"
        raise CodecError(f"{coder.name}: {source.name} at quality {quality} was decoded to {shapes}")
    scores, notes = measure.score(source.rgb, coded.decoded)
    return Point(
        codec=coder.name,
        clip=source.name,
        quality=quality,
        frames=source.frames,
        width=source.width,
        height=source.height,
        fps=float(source.fps),
        bytes=coded.bytes,
        metrics=scores,
        encode_seconds=round(coded.encode_seconds, 4),
        decode_seconds=round(coded.decode_seconds, 4),
        file=coded.file.relative_to(output).as_posix(),
        extra={"tune": tune, **coded.extra} | ({"notes": notes} if notes else {}),
    )


def conditions(coders: Sequence[Coder], measure: Measure, frames: int | None) -> dict[str, Any]:
    """What a stranger needs to repeat the numbers."""
    return {
        **provenance(),
        "frames_per_clip": frames or "all",
        "rate": "size of the file on disk, headers included, over the original width, height and frames",
        "bd_rate": "bjontegaard package, PCHIP, over log rate; the mean of the clips' BD-rates",
        "metrics": measure.settings(),
        "codecs": {coder.name: coder.settings() for coder in coders},
        "clips": {},
    }


def clip_conditions(source: SourceClip) -> dict[str, Any]:
    """What a clip is and how its colours were read."""
    colour = source.colour
    return {
        "file": source.path.name,
        "size": f"{source.width}x{source.height}",
        "frames": source.frames,
        "fps": str(source.fps),
        "colour": f"{colour.matrix} {'full' if colour.full_range else 'limited'} range, {colour.origin}",
        "read": "4:2:0 planes, converted to RGB by corvid" if source.planes else "RGB from the source or its decoder",
    }


def refuse_twins(coders: Sequence[Coder], clips: Sequence[Clip]) -> None:
    """Names are keys in the results, so they must differ."""
    if not coders or not clips:
        raise CodecError("evaluation: no codec or no clip; name a checkpoint or anchors, and clips")
    for what, names in (("codecs", [coder.name for coder in coders]), ("clips", [path_of(clip).stem for clip in clips])):
        twins = [name for name, count in Counter([*names, MEAN]).items() if count > 1]
        if twins:
            raise CodecError(f"evaluation: {what} share the name {', '.join(twins)}; rename one ({MEAN} is taken)")


def path_of(clip: Clip) -> Path:
    """Where a clip is."""
    return clip.path if isinstance(clip, VideoSequence) else Path(clip)
