"""A study with people as judges: blind pairs of clips at nearly equal bitrate, on one page that opens from disk."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from codec.errors import CodecError
from codec.evaluation.rd import Point, RDResult, write_json
from codec.report.decoded import DecodedFrames
from codec.report.html import render
from codec.report.matching import matched_levels, rate_gap
from codec.report.pack import LOSS
from codec.report.pictures import FRAMES, MEGABYTES, SOURCE, Pictures, Say, key_of, pack_points, silent

SCRIPTS = ("dom", "video", "study")
KEY = "study_key.json"
PAGE = "study.html"
SCHEMA = 1
SECONDS_A_PAIR = 12
RATE_TOLERANCE = 0.1


@dataclass(frozen=True)
class Pair:
    """Two points of one clip that are judged against each other; `ratio` is the second's rate over the first's."""

    first: Point
    second: Point

    @property
    def ratio(self) -> float:
        """How equal the rates are: 1 is equal."""
        return self.second.bpp / self.first.bpp

    @property
    def gap(self) -> float:
        """The higher rate over the lower, less one."""
        return rate_gap({"first": self.first, "second": self.second})

    def __str__(self) -> str:
        one, other = (f"{p.codec} {p.quality} ({p.bpp:.4g} bpp)" for p in (self.first, self.second))
        return f"{self.first.clip}: {one} and {other} differ by {self.gap:.0%} in rate"


def write_study(
    result: RDResult,
    decoded: DecodedFrames,
    codecs: Sequence[str],
    output: Path,
    frames: int = FRAMES,
    megabytes: float = MEGABYTES,
    say: Say = silent,
    rate_tolerance: float = RATE_TOLERANCE,
) -> list[Path]:
    """Write `study.html`, to be given to people, and `study_key.json`, which says what they saw and stays here.

    Every two of `codecs` meet on every clip at up to three bitrates. The page holds no codec's name, only numbers in an
    order of their own; who stands left and in which order pairs come is drawn anew for every person.

    Args:
        say: told what is done and what is left out.
        rate_tolerance: pairs of which one has so much more rate are left out; 0.1 is 10 %.

    Raises:
        CodecError: fewer than two codecs can be shown, or none at rates that are equal enough.
    """
    planned = equal_pairs([pair for clip in result.clips() for pair in pairs_of(result, clip, codecs)], rate_tolerance, say)
    points = [point for pair in planned for point in (pair.first, pair.second)]
    pictures = pack_points(decoded, points, frames, megabytes, say)
    pairs = shown_pairs(planned, pictures, say)
    name = study_name(pairs)
    shown = dict.fromkeys(key_of(point) for pair in pairs for point in (pair.first, pair.second))
    names = blind_names([*shown, *(f"{SOURCE}:{clip}" for clip in result.clips())], name)
    packs = dict(sorted((names[key], pack) for key, pack in pictures.packs.items() if key in names))
    content = {"study": name, "pairs": [page_row(index, pair, names, pictures) for index, pair in enumerate(pairs)]}
    rows = [key_row(pair, names) for pair in pairs]
    key = {"schema": SCHEMA, "study": name, "codecs": list(codecs), "rate_tolerance": rate_tolerance, "pairs": rows}
    output.mkdir(parents=True, exist_ok=True)
    page = render("study.html.j2", SCRIPTS, content, Pictures(packs=packs), **words(pairs, pictures))
    (output / PAGE).write_text(page, encoding="utf-8")
    write_json(key, output / KEY)
    return [output / KEY, output / PAGE]


def words(pairs: Sequence[Pair], pictures: Pictures) -> dict[str, Any]:
    """What the page's text says."""
    originals = any(key.startswith(f"{SOURCE}:") for key in pictures.packs)
    minutes = max(1, round(len(pairs) * SECONDS_A_PAIR / 60))
    return {"loss": LOSS, "pairs": len(pairs), "originals": originals, "minutes": minutes}


def pairs_of(result: RDResult, clip: str, codecs: Sequence[str]) -> list[Pair]:
    """Every two codecs on a clip at nearly equal rates, each pair of points once."""
    found: dict[tuple[str, str], Pair] = {}
    for one, other in combinations(codecs, 2):
        for level in matched_levels(result, clip, [one, other]):
            if len(level) == 2:
                found[key_of(level[one]), key_of(level[other])] = Pair(level[one], level[other])
    return list(found.values())


def equal_pairs(pairs: Sequence[Pair], tolerance: float, say: Say) -> list[Pair]:
    """Those whose rates are equal enough; the others are said.

    Raises:
        CodecError: there are pairs, and none is equal enough.
    """
    remedy = "code one of the two at more qualities near these rates (eval.py qualities=[...]), or give --rate-tolerance"
    kept = [pair for pair in pairs if pair.gap <= tolerance]
    if pairs and not kept:
        best = min(pairs, key=lambda pair: pair.gap)
        raise CodecError(f"study: no pair within {tolerance:.0%} of rate, the nearest is {best}; {remedy}")
    for pair in pairs:
        if pair.gap > tolerance:
            say(f"left out: {pair}")
    if len(kept) < len(pairs):
        say(f"{len(pairs) - len(kept)} of {len(pairs)} pairs left out, their rates differ by more than {tolerance:.0%}; {remedy}")
    return kept


def shown_pairs(pairs: Sequence[Pair], pictures: Pictures, say: Say) -> list[Pair]:
    """Those of which both are among the pictures; what is missing is said.

    Raises:
        CodecError: there are none.
    """
    kept = [pair for pair in pairs if {key_of(pair.first), key_of(pair.second)} <= set(pictures.packs)]
    if not kept:
        why = "; ".join(pictures.missing) or "two codecs with points on one clip are needed"
        raise CodecError(f"study: nothing to compare ({why})")
    for line in pictures.missing:
        say(f"not shown: {line}")
    return kept


def study_name(pairs: Sequence[Pair]) -> str:
    """The same for the same pairs of the same files."""
    text = json.dumps([[key_of(p), p.sha256, p.bytes] for pair in pairs for p in (pair.first, pair.second)])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def blind_names(keys: Sequence[str], seed: str) -> dict[str, str]:
    """Numbers that tell nothing, in an order that tells nothing."""
    numbers = [f"v{index:03d}" for index in range(len(keys))]
    random.Random(seed).shuffle(numbers)
    return dict(zip(keys, numbers, strict=True))


def page_row(index: int, pair: Pair, names: dict[str, str], pictures: Pictures) -> dict[str, Any]:
    """A pair as the page knows it."""
    row = {"pair": index, "one": names[key_of(pair.first)], "other": names[key_of(pair.second)]}
    source = f"{SOURCE}:{pair.first.clip}"
    return row | ({"original": names[source]} if source in pictures.packs else {})


def key_row(pair: Pair, names: dict[str, str]) -> dict[str, Any]:
    """What a pair of the page was."""
    seen = {
        side: {"video": names[key_of(p)], "codec": p.codec, "quality": p.quality, "tune": p.tune, "bpp": p.bpp}
        for side, p in (("one", pair.first), ("other", pair.second))
    }
    return {"clip": pair.first.clip, "rate_ratio": round(pair.ratio, 4), **seen}
