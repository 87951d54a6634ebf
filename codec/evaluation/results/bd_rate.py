"""RD curves, and the Bjontegaard deltas of codecs against anchors: clip by clip, then the means
over classes and over all clips, with the interval of a bootstrap.
"""

import math
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import bjontegaard
import numpy as np

from codec.errors import CodecError
from codec.evaluation.results.rd import Point, RDResult
from codec.metrics.spec import spec_of

Pairs = list[tuple[float, float]]
BOOTSTRAP_DRAWS = 10_000
BOOTSTRAP_SEED = 0
FEWEST_CLIPS = 3
BOOTSTRAP_SHARE = 0.95
MEAN = "mean"
LEAST_OVERLAP = 0.25
LITTLE_OVERLAP = 0.5
FEW_POINTS = 4
AVERAGED = ("bd_rate_percent", "akima_percent", "bd_quality", "overlap", "rate_overlap")
RULE = (
    "bjontegaard package, PCHIP over log rate (Akima beside it), refused where curves share less "
    "than 25 % of their quality; "
    "the mean of the BD-rates of the clips that have one, with the bootstrap 95 % interval over "
    "these clips"
)


@dataclass(frozen=True)
class Curve:
    """Pairs of bits per pixel and place on the metric's axis, both rising strictly; and what was
    left out, in words.
    """

    pairs: Pairs
    notes: list[str] = field(default_factory=list)
    monotone: bool = True


def curve(points: Sequence[Point], codec: str, clip: str, metric: str) -> Curve:
    """The curve of a codec in the tuning that is fair to the metric, made to rise.

    Points without the metric or of infinite quality are left out, and so are points that need more
    rate than another for no more quality: `monotone` is False then. Points that are equal in both
    count once. The notes say how many.
    """
    spec = spec_of(metric)
    own = [
        p for p in points if p.codec == codec and p.clip == clip and p.tune in (None, spec.tuning)
    ]
    pairs = [
        (p.bpp, spec.place(value)) for p in own if (value := p.metrics.get(metric)) is not None
    ]
    finite = sorted(pair for pair in pairs if math.isfinite(pair[1]))
    notes = []
    if len(finite) < len(own):
        notes.append(
            f"{len(own) - len(finite)} of {len(own)} points without a finite {metric}, left out"
        )
    different = sorted(set(finite))
    if len(different) < len(finite):
        twice = len(finite) - len(different)
        equal = f"{twice} of {len(finite)} points equal to another in rate and {metric}"
        notes.append(f"{equal}, counted once")
    rising = [(rate, place) for rate, place in different if not is_beaten(rate, place, finite)]
    if len(rising) < len(different):
        left_out = len(different) - len(rising)
        notes.append(f"not monotone, {left_out} of {len(different)} points left out")
    return Curve(rising, notes, monotone=len(rising) == len(different))


def is_beaten(rate: float, place: float, others: Pairs) -> bool:
    """Whether another point has at least this quality for no more rate."""
    return any((r, q) != (rate, place) and r <= rate and q >= place for r, q in others)


def bd_rate(anchor: Pairs, test: Pairs, method: str = "pchip") -> tuple[float | None, float]:
    """BD-rate over the shared quality; by PCHIP as the JVET sheet does it.

    Args:
        anchor: pairs of rate (any unit) and quality, both rising strictly; any number of them.
        test: the same; the two need not have equally many points.
        method: `pchip` or `akima`.

    Returns:
        Percent of rate that `test` needs more than `anchor`, None when there is nothing to
        integrate over; and the overlap: the shared range of quality over the range that both span
        together (the package's definition, the strictest: a curve that covers a sliver of the other
        has little overlap, even if all of it is shared).

    Source: Bjontegaard, VCEG-M33, 2001; the `bjontegaard` package of FAU.
    """
    share = overlap([place for _, place in anchor], [place for _, place in test])
    return _delta(bjontegaard.bd_rate, anchor, test, method) if share else None, share


def bd_quality(anchor: Pairs, test: Pairs, method: str = "pchip") -> tuple[float | None, float]:
    """BD-quality over the shared rate: how much higher `test` lies on the metric's axis at equal
    rate.

    Args:
        anchor, test, method: as for `bd_rate`.

    Returns:
        The difference in units of the axis (dB for PSNR), None when there is nothing to integrate
        over; and the overlap of the curves in the logarithm of rate.

    Source: as for `bd_rate` (there BD-PSNR).
    """
    share = overlap(
        [math.log10(rate) for rate, _ in anchor], [math.log10(rate) for rate, _ in test]
    )
    return _delta(bjontegaard.bd_psnr, anchor, test, method) if share else None, share


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Shared range over the range that both span together; 0 where a curve has fewer
    than 2 points.
    """
    if len(first) < 2 or len(second) < 2:
        return 0.0
    shared = min(max(first), max(second)) - max(min(first), min(second))
    return max(shared, 0) / (max(*first, *second) - min(*first, *second))


def _delta(of_package: Callable[..., float], anchor: Pairs, test: Pairs, method: str) -> float:
    """One of the package's deltas, for curves of any lengths, finite or an error."""
    if any(rate <= 0 for rate, _ in (*anchor, *test)):
        raise CodecError(
            f"BD by {method} of {anchor} and {test}; give rates above 0 and rising quality"
        )
    (anchor_rate, anchor_quality), (test_rate, test_quality) = np.array(anchor).T, np.array(test).T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = of_package(
            *(anchor_rate, anchor_quality, test_rate, test_quality),
            method=method,
            require_matching_points=False,
            min_overlap=0,
        )
    if not math.isfinite(value):
        raise CodecError(
            f"BD by {method}: {value} from {anchor} and {test}; give rates above 0 and rising "
            "quality"
        )
    return float(value)


def mean_interval(
    values: Sequence[float], share: float = BOOTSTRAP_SHARE
) -> tuple[float, float] | None:
    """Interval of the mean when the clips are drawn again, with replacement, as many as there are.

    Args:
        values: one a clip.
        share: how many of the redrawn means lie in the interval, 0..1.

    Returns:
        Its ends; always the same for the same values. None below 3 clips, of which no interval can
        be told.

    Source: Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, 13.3.
    """
    if len(values) < FEWEST_CLIPS:
        return None
    drawn = np.random.default_rng(BOOTSTRAP_SEED).choice(
        np.asarray(values, dtype=float), size=(BOOTSTRAP_DRAWS, len(values))
    )
    low, high = np.quantile(drawn.mean(axis=1), [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Comparison:
    """What `codec` needs in rate against `anchor` at equal quality, on one clip or as the mean over
    clips.

    Attributes:
        clip: the clip; `mean CLASS` and `mean` on the rows over a class and over all clips.
        bd_rate_percent: negative when `codec` needs less, None when the curves share less than a
            quarter of their quality.
        overlap: shared range of quality over the range that both span, 0..1.
        note: what a reader must know about the number, empty otherwise.
        akima_percent: BD-rate by Akima interpolation, in place of PCHIP.
        bd_quality: how much higher `codec` lies on the metric's axis at equal rate; positive is
            better, None as BD-rate is.
        low, high: ends of the bootstrap 95 % interval of a mean BD-rate over at least 3 clips, else
            None.
        monotone: whether both curves rise everywhere; else the points that fall back are left out,
            as the note says.
        group: the class of the clip or of the mean, empty where clips have none and for the mean
            over all.
        clips: how many clips the BD-rate is the mean of; 1 on a clip.
        rate_overlap: of the logarithm of rate, as `overlap`; below a quarter `bd_quality` is None.
        of_clips: how many clips the pair was coded on; where `clips` is less, the mean is over a
            part of them.

    Every figure of a mean is over the same clips, those with a BD-rate; without any it is None.
    """

    anchor: str
    codec: str
    metric: str
    clip: str
    bd_rate_percent: float | None
    overlap: float | None
    note: str = ""
    akima_percent: float | None = None
    bd_quality: float | None = None
    low: float | None = None
    high: float | None = None
    monotone: bool = True
    group: str = ""
    clips: int = 1
    rate_overlap: float | None = 0.0
    of_clips: int = 1

    @property
    def is_mean(self) -> bool:
        """Whether the row is a mean, over a class or over all clips."""
        return self.clip in (MEAN, f"{MEAN} {self.group}")

    @property
    def is_of_part(self) -> bool:
        """Whether there is a mean that is not over all clips: it must not be shown without saying
        so.
        """
        return self.is_mean and 0 < self.clips < self.of_clips

    def to_json(self) -> dict[str, Any]:
        """The comparison as `bd_rate.json` holds it."""
        return asdict(self)


def compare(result: RDResult, anchors: Sequence[str], codecs: Sequence[str]) -> list[Comparison]:
    """Every codec against every anchor, in every metric: clip by clip, then their mean (never the
        mean of the curves).

    Where clips have several classes, the mean over each comes before the mean over all clips, in
    which every clip counts the same. Imported codecs are compared on the clips and in the metrics
    that they have.

    Raises:
        CodecError: an unknown metric, or a codec without points on a clip.
    """
    rows: list[Comparison] = []
    for metric in map(known, result.metrics()):
        pairs = [(anchor, codec) for codec in codecs for anchor in anchors if anchor != codec]
        for anchor, codec in pairs:
            clips, every, missing = shared_clips(result, anchor, codec, metric)
            said = "; ".join(filter(None, (missing, intra_note(result, anchor, codec))))
            own = [compare_clip(result, anchor, codec, metric, clip) for clip in clips]
            groups = list(dict.fromkeys(row.group for row in own))
            blank = Comparison(anchor, codec, metric, MEAN, None, None, of_clips=len(every))
            rows += own
            for group in groups if len(groups) > 1 else []:
                of_group = replace(
                    blank, of_clips=sum(result.class_of(clip) == group for clip in every)
                )
                rows.append(
                    mean_over_clips(
                        [row for row in own if row.group == group],
                        of_group,
                        group=group or "no class",
                    )
                )
            rows.append(mean_over_clips(own, blank, note=said))
    return rows


def known(metric: str) -> str:
    """The metric, if it has an axis."""
    spec_of(metric)
    return metric


def intra_note(result: RDResult, anchor: str, codec: str) -> str:
    """What to say when two codecs do not code intra frames equally often."""
    settings = [(result.conditions.get("codecs") or {}).get(name, {}) for name in (anchor, codec)]
    periods = [own.get("intra_period") for own in settings]
    if None in periods or periods[0] == periods[1]:
        return ""
    return f"intra periods differ: {anchor} {periods[0]}, {codec} {periods[1]}"


def shared_clips(
    result: RDResult, anchor: str, codec: str, metric: str
) -> tuple[list[str], list[str], str]:
    """The clips to compare on, all that either has, and in words those that an imported codec
    lacks.

    Raises:
        CodecError: a codec that was measured here has no points on a clip that the other one has.
    """
    pair = [[point for point in result.points if point.codec == name] for name in (anchor, codec)]
    imported = any(point.imported for own in pair for point in own)
    theirs = [{point.clip for point in own} for own in pair]
    clips = [clip for clip in result.clips() if clip in theirs[0] | theirs[1]]
    for name, own in zip((anchor, codec), theirs, strict=True):
        lacking = [clip for clip in clips if clip not in own]
        if not own or (lacking and not imported):
            where = f"on clip {lacking[0]!r}" if lacking else "on any clip"
            raise CodecError(
                f"no points of codec {name!r} {where}; code it with eval.py or leave it out"
            )
    if imported:
        scored = [{p.clip for p in own if p.metrics.get(metric) is not None} for own in pair]
        shared = [clip for clip in clips if clip in scored[0] & scored[1]]
        return (
            shared,
            clips,
            f"{len(clips) - len(shared)} of {len(clips)} clips lack {metric} of one of them"
            * (shared != clips),
        )
    return clips, clips, ""


def compare_clip(result: RDResult, anchor: str, codec: str, metric: str, clip: str) -> Comparison:
    """Two codecs on one clip."""
    curves = {name: curve(result.points, name, clip, metric) for name in (anchor, codec)}
    first, second = pairs = [own.pairs for own in curves.values()]
    notes = [line for name, own in curves.items() for line in notes_of(name, own)]
    origins = {
        p.codec: p.imported
        for p in result.points
        if p.imported and p.clip == clip and p.codec in curves
    }
    notes += [
        f"{name}: imported from {origin}, not measured here" for name, origin in origins.items()
    ]
    rate, share = bd_rate(first, second)
    akima, _ = bd_rate(first, second, method="akima")
    quality, rate_share = bd_quality(first, second)
    if rate is None:
        notes.insert(
            0, "no common quality" if all(len(own) > 1 for own in pairs) else "too few points"
        )
    elif share < LEAST_OVERLAP:
        rate, akima = None, None
        notes.insert(
            0,
            f"refused: the curves share {share:.0%} of their quality, {LEAST_OVERLAP:.0%} is "
            "needed",
        )
    elif share < LITTLE_OVERLAP:
        notes.insert(0, "little overlap")
    if quality is not None and rate_share < LEAST_OVERLAP:
        quality = None
        notes.append(f"no BD-quality: the curves share {rate_share:.0%} of their rate")
    return Comparison(
        *(anchor, codec, metric, clip, rate, share, "; ".join(notes), akima, quality),
        monotone=all(own.monotone for own in curves.values()),
        group=result.class_of(clip),
        rate_overlap=rate_share,
    )


def notes_of(name: str, own: Curve) -> list[str]:
    """What to say about a curve."""
    few = [f"only {len(own.pairs)} points"] if 0 < len(own.pairs) < FEW_POINTS else []
    return [f"{name}: {line}" for line in own.notes + few]


def mean_over_clips(
    clips: list[Comparison], like: Comparison, group: str = "", note: str = ""
) -> Comparison:
    """The mean of the clips that have a BD-rate, with its interval; the note counts those without.

    Args:
        clips: may be none.
        like: has the names of the pair and the metric, and how many clips the pair was coded on.
        group: the class of the clips, or empty for all.
        note: what else to say.
    """
    rated = [clip for clip in clips if clip.bd_rate_percent is not None]
    notes = [note] if note else []
    if len(rated) < len(clips):
        notes.append(f"{len(clips) - len(rated)} of {len(clips)} clips have no BD-rate, left out")
    unlike = sum(clip.bd_quality is None for clip in rated)
    if unlike:
        notes.append(f"no BD-quality: {unlike} of {len(rated)} clips have none")
    little = sum(clip.overlap is not None and clip.overlap < LITTLE_OVERLAP for clip in rated)
    if little:
        notes.append(f"little overlap on {little} of {len(clips)} clips")
    falling = sum(not clip.monotone for clip in clips)
    if falling:
        notes.append(f"a curve is not monotone on {falling} of {len(clips)} clips")
    rates = [clip.bd_rate_percent for clip in rated if clip.bd_rate_percent is not None]
    low, high = mean_interval(rates) or (None, None)
    means: dict[str, Any] = {
        name: mean_of([getattr(clip, name) for clip in rated]) for name in AVERAGED
    }
    return replace(
        like,
        clip=f"{MEAN} {group}" if group else MEAN,
        **means,
        note="; ".join(notes),
        low=low,
        high=high,
        monotone=not falling,
        group=group,
        clips=len(rated),
    )


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean, None when there is nothing or something is missing: a mean of the others would be
    over other clips.
    """
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None
