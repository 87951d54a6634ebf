"""A blind study on one page: people compare pairs of clips at nearly equal bitrate."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from codec.errors import CodecError
from codec.evaluation.results.rd import Point, RDResult, write_json
from codec.report.decoded import DecodedFrames
from codec.report.page import render
from codec.report.preview import (
    FRAMES,
    MEGABYTES,
    SOURCE,
    Log,
    Preview,
    key_of,
    matched_levels,
    preview_points,
    rate_gap,
    silent,
)
from codec.report.vp9_preview import NAME

SCRIPTS = ("dom", "video", "study")
KEY = "study_key.json"
PAGE = "study.html"
SCHEMA = 1
SECONDS_A_PAIR = 12
RATE_TOLERANCE = 0.1


@dataclass(frozen=True)
class Pair:
    """Two points of one clip that are judged against each other."""

    first: Point
    second: Point

    @property
    def ratio(self) -> float:
        """The second's rate over the first's."""
        return self.second.bpp / self.first.bpp

    @property
    def gap(self) -> float:
        """The higher rate over the lower, less one."""
        return rate_gap({"first": self.first, "second": self.second})

    def __str__(self) -> str:
        names = [
            f"{point.codec} {point.quality} ({point.bpp:.4g} bpp)"
            for point in (self.first, self.second)
        ]
        return f"{self.first.clip}: {' and '.join(names)} differ by {self.gap:.0%} in rate"


def write_study(
    result: RDResult,
    decoded: DecodedFrames,
    codecs: Sequence[str],
    output: Path,
    frames: int = FRAMES,
    megabytes: float = MEGABYTES,
    log: Log = silent,
    rate_tolerance: float = RATE_TOLERANCE,
) -> list[Path]:
    """Write `study.html`, for the voters, and `study_key.json`, which says what they see.

    Every two of `codecs` meet on every clip at up to three bitrates. The page has no codec's name,
    only numbers in an order of their own. Which side a codec is on, and the order of the pairs,
    are drawn anew for every voter.

    Args:
        log: called with what is being done and what is left out.
        rate_tolerance: pairs whose rates differ by more are left out; 0.1 is 10 %.

    Raises:
        CodecError: fewer than two codecs can be shown, or none at rates that are equal enough.
    """
    candidates = [pair for clip in result.clips() for pair in pairs_of(result, clip, codecs)]
    planned = equal_pairs(candidates, rate_tolerance, log)
    points = [point for pair in planned for point in (pair.first, pair.second)]
    preview = preview_points(decoded, points, frames=frames, megabytes=megabytes, log=log)
    pairs = shown_pairs(planned, preview, log)
    study = study_id(pairs)
    shown = dict.fromkeys(key_of(point) for pair in pairs for point in (pair.first, pair.second))
    names = blind_names([*shown, *(f"{SOURCE}:{clip}" for clip in result.clips())], study)
    videos = {names[key]: video for key, video in preview.videos.items() if key in names}
    rows = [page_row(index, pair, names, preview) for index, pair in enumerate(pairs)]
    page = render(
        "study.html.j2",
        scripts=SCRIPTS,
        content={"study": study, "pairs": rows},
        preview=Preview(videos=dict(sorted(videos.items()))),
        loss=NAME,
        pairs=len(pairs),
        originals=any(key.startswith(f"{SOURCE}:") for key in preview.videos),
        minutes=max(1, round(len(pairs) * SECONDS_A_PAIR / 60)),
    )
    key = {
        "schema": SCHEMA,
        "study": study,
        "codecs": list(codecs),
        "rate_tolerance": rate_tolerance,
        "pairs": [key_row(pair, names) for pair in pairs],
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / PAGE).write_text(page, encoding="utf-8")
    write_json(key, output / KEY)
    return [output / KEY, output / PAGE]


def pairs_of(result: RDResult, clip: str, codecs: Sequence[str]) -> list[Pair]:
    """Every two codecs on a clip at nearly equal rates, each pair of points once."""
    found: dict[tuple[str, str], Pair] = {}
    for one, other in combinations(codecs, 2):
        for level in matched_levels(result, clip, [one, other]):
            if len(level) == 2:
                found[key_of(level[one]), key_of(level[other])] = Pair(level[one], level[other])
    return list(found.values())


def equal_pairs(pairs: Sequence[Pair], tolerance: float, log: Log) -> list[Pair]:
    """The pairs whose rates are equal enough; the others are logged.

    Raises:
        CodecError: there are pairs, and none is equal enough.
    """
    remedy = (
        "code one of the two at more qualities near these rates (eval.py qualities=[...]), "
        "or give --rate-tolerance"
    )
    kept = [pair for pair in pairs if pair.gap <= tolerance]
    if pairs and not kept:
        best = min(pairs, key=lambda pair: pair.gap)
        raise CodecError(
            f"study: no pair within {tolerance:.0%} of rate, the nearest is {best}; {remedy}"
        )
    for pair in pairs:
        if pair.gap > tolerance:
            log(f"left out: {pair}")
    omitted = len(pairs) - len(kept)
    if omitted:
        log(
            f"{omitted} of {len(pairs)} pairs left out, their rates differ by more than "
            f"{tolerance:.0%}; {remedy}"
        )
    return kept


def shown_pairs(pairs: Sequence[Pair], preview: Preview, log: Log) -> list[Pair]:
    """The pairs of which both can be shown; what is missing is logged.

    Raises:
        CodecError: there are none.
    """
    kept = [
        pair for pair in pairs if {key_of(pair.first), key_of(pair.second)} <= set(preview.videos)
    ]
    if not kept:
        why = "; ".join(preview.missing) or "two codecs with points on one clip are needed"
        raise CodecError(f"study: nothing to compare ({why})")
    for line in preview.missing:
        log(f"not shown: {line}")
    return kept


def study_id(pairs: Sequence[Pair]) -> str:
    """A hash of the pairs and their files."""
    points = [point for pair in pairs for point in (pair.first, pair.second)]
    text = json.dumps([[key_of(point), point.sha256, point.bytes] for point in points])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def blind_names(keys: Sequence[str], seed: str) -> dict[str, str]:
    """Numbers for keys, in a shuffled order that gives nothing away."""
    numbers = [f"v{index:03d}" for index in range(len(keys))]
    random.Random(seed).shuffle(numbers)
    return dict(zip(keys, numbers, strict=True))


def page_row(index: int, pair: Pair, names: dict[str, str], preview: Preview) -> dict[str, Any]:
    """A pair as the page knows it."""
    row = {
        "pair": index,
        "one": names[key_of(pair.first)],
        "other": names[key_of(pair.second)],
    }
    source = f"{SOURCE}:{pair.first.clip}"
    if source in preview.videos:
        row["original"] = names[source]
    return row


def key_row(pair: Pair, names: dict[str, str]) -> dict[str, Any]:
    """What is behind a pair of the page."""
    row: dict[str, Any] = {"clip": pair.first.clip, "rate_ratio": round(pair.ratio, 4)}
    for side, point in (("one", pair.first), ("other", pair.second)):
        row[side] = {
            "video": names[key_of(point)],
            "codec": point.codec,
            "quality": point.quality,
            "tune": point.tune,
            "bpp": point.bpp,
        }
    return row
