"""Numbers and measuring conditions as text, the same in terminal, figures, tables and page."""

from collections.abc import Iterable, Sequence
from typing import Any

from codec.evaluation.results.bd_rate import Comparison
from codec.evaluation.results.rd import RDResult

UNIT_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
OPERATIONS = ("encode_kmac", "decode_kmac")
SPEEDS = ("encode_fps", "decode_fps")
ONLY_FIRST_INTRA = -1
ALL_INTRA = 1
LONGEST_LIST = 2  # codecs that are named; a larger group is "else"


def percent(value: float | None) -> str:
    """A BD-rate with its sign, `−12.3 %`, or a dash when there is none."""
    return "–" if value is None else f"{value:+.1f} %".replace("-", "−")


def clip_count(row: Comparison) -> str:
    """`1 of 2 clips` for a mean that is not over all clips, else nothing."""
    return f"{row.clips} of {row.of_clips} clips" if row.is_of_part else ""


def bd_rate(row: Comparison) -> str:
    """A BD-rate with its sign; a mean over some of the clips says so: `−12.3 % (1 of 2 clips)`."""
    return percent(row.bd_rate_percent) + (f" ({clip_count(row)})" if clip_count(row) else "")


def interval(row: Comparison) -> str:
    """The bootstrap interval of a mean, `−15.1 to −9.4`, or nothing when there is none."""
    if row.low is None or row.high is None:
        return ""
    return f"{row.low:+.1f} to {row.high:+.1f}".replace("-", "−")


def decibels(row: Comparison) -> str:
    """A BD-quality with its sign, or a dash when there is none."""
    return "–" if row.bd_quality is None else f"{row.bd_quality:+.2f}".replace("-", "−")


def whole_percent(value: float | None) -> str:
    """A share such as the overlap in whole percent, or a dash when there is none."""
    return "–" if value is None else f"{100 * value:.0f} %"


def four_digits(value: float | None) -> str:
    """A metric's value with four significant digits, or a dash when there is none."""
    return "–" if value is None else f"{value:.4g}"


def with_prefix(value: float | None) -> str:
    """A count or a speed with three digits and unit prefix, `2.94 M`; a dash when there is none."""
    if value is None:
        return "–"
    found = ((size, prefix) for size, prefix in UNIT_PREFIXES if value >= size)
    size, prefix = next(found, (1, ""))
    return f"{value / size:.3g} {prefix}".rstrip()


def pair_name(comparison: Comparison) -> str:
    """Which codec is compared with which: `ours against x265`."""
    return f"{comparison.codec} against {comparison.anchor}"


def clip_line(result: RDResult) -> str:
    """`2 clips of 8 frames, 176x144 and 720x405; only the first frame is intra.`"""
    count = len(result.clips())
    frames = sorted({point.frames for point in result.points})
    length = f"{frames[0]} to {frames[-1]}" if len(frames) > 1 else f"{frames[0]}"
    sizes = sorted({(point.width, point.height) for point in result.points})
    clips = f"{count} clip{'s' * (count > 1)} of {length} frame{'s' * (frames[-1] > 1)}"
    clips += f", {join_names(f'{width}x{height}' for width, height in sizes)}"
    periods = {name: settings_of(result, name).get("intra_period") for name in result.codecs()}
    phrases = {
        None: "intra period not known",
        ONLY_FIRST_INTRA: "only the first frame is intra",
        ALL_INTRA: "every frame is intra",
    }
    by_names = {
        names: phrases.get(period, f"an intra frame every {period} frames")
        for period, names in group_by_value(periods).items()
    }
    return f"{clips}; {join_phrases(by_names)}."


def cost_line(result: RDResult, codecs: Sequence[str], speeds: bool = True) -> str:
    """What kMAC and fps of these codecs were measured on; empty where nothing was measured.

    `kMAC per pixel of a predicted frame of 176x144; fps on 176x144, 8 frames, 1 thread, AMD EPYC.`

    Args:
        speeds: whether frames per second are shown, too.
    """
    costs = {name: found for name in codecs if (found := complexity_of(result, name))}
    lines = []
    frames = {
        name: counted_frame(result, name)
        for name, cost in costs.items()
        if any(cost.get(field) is not None for field in OPERATIONS)
    }
    if frames:
        by_names = {names: frame for frame, names in group_by_value(frames).items()}
        lines.append(f"kMAC per pixel {join_phrases(by_names)}")
    timings = {
        name: measured_on(cost)
        for name, cost in costs.items()
        if speeds and any(cost.get(field) is not None for field in SPEEDS)
    }
    if timings:
        by_names = {names: timing for timing, names in group_by_value(timings).items()}
        lines.append(f"fps {join_phrases(by_names)}")
    return "; ".join(lines) + "." * bool(lines)


def counted_frame(result: RDResult, codec: str) -> str:
    """The frame whose operations are counted: the type that a codec codes most, and its size."""
    all_intra = settings_of(result, codec).get("intra_period") == ALL_INTRA
    size = complexity_of(result, codec).get("size")
    return f"of {'an intra' if all_intra else 'a predicted'} frame" + (
        f" of {size}" if size else ""
    )


def measured_on(cost: dict[str, Any]) -> str:
    """Clip size, length, threads and machine of a measured speed."""
    frames = cost.get("frames")
    threads = cost.get("threads")
    facts = (
        cost.get("size") or "frames of unknown size",
        f"{frames} frame{'s' * (frames > 1)}" if frames else "",
        f"{threads} thread{'s' * (threads > 1)}" if threads else "unknown threads",
        cost.get("machine") or "",
    )
    return "on " + ", ".join(filter(None, facts))


def missing_line(result: RDResult, metric: str, clips: Sequence[str]) -> str:
    """Why clips have no value: `Not on carphone: frames of 176x144 are below 161x161.`"""
    reasons = group_by_value({clip: missing_reason(result, metric, clip) for clip in clips})
    return " ".join(f"Not on {join_names(names)}: {reason}." for reason, names in reasons.items())


def missing_reason(result: RDResult, metric: str, clip: str) -> str:
    """What the points of a clip note about a metric."""
    points = [point for point in result.points if point.clip == clip]
    notes = [note for point in points for note in point.extra.get("notes") or []]
    own = [note.removeprefix(f"{metric}: ") for note in notes if note.startswith(f"{metric}: ")]
    return own[0] if own else "no point has a value"


def settings_of(result: RDResult, codec: str) -> dict[str, Any]:
    """A codec's conditions."""
    return (result.conditions.get("codecs") or {}).get(codec) or {}


def complexity_of(result: RDResult, codec: str) -> dict[str, Any]:
    """A codec's complexity from its conditions; empty where nothing was measured."""
    return (result.conditions.get("codecs", {}).get(codec, {}) or {}).get("complexity") or {}


def group_by_value(values: dict[str, Any]) -> dict[Any, tuple[str, ...]]:
    """The names that share a value, by value, in order."""
    return {
        value: tuple(name for name, own in values.items() if own == value)
        for value in dict.fromkeys(values.values())
    }


def join_phrases(phrases: dict[tuple[str, ...], str]) -> str:
    """A phrase alone where it holds for all codecs, else each with its codecs.

    The largest group comes last, and is `else` where it is more than two codecs.
    """
    *fewer, most = sorted(phrases, key=len)
    if not fewer:
        return phrases[most]
    texts = [f"{phrases[names]} ({join_names(names)})" for names in fewer]
    if len(most) <= LONGEST_LIST:
        texts.append(f"{phrases[most]} ({join_names(most)})")
    else:
        texts.append(f"else {phrases[most]}")
    return "; ".join(texts)


def join_names(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *first, last = list(names)
    return f"{', '.join(first)} and {last}" if first else last
