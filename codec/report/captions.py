"""The conditions of figures, in words for captions: of what clips, coded how, and costs of what on what."""

from collections.abc import Iterable, Sequence
from typing import Any

from codec.evaluation.rd import RDResult
from codec.report.content import complexity_of

OPERATIONS = ("encode_kmac", "decode_kmac")
SPEEDS = ("encode_fps", "decode_fps")
ONE_INTRA = -1
ALL_INTRA = 1
MOST_NAMED = 2


def clip_line(result: RDResult) -> str:
    """`2 clips of 8 frames, 176x144 and 720x405; only the first frame is intra.`"""
    count = len(result.clips())
    frames = sorted({point.frames for point in result.points})
    length = f"{frames[0]} to {frames[-1]}" if len(frames) > 1 else f"{frames[0]}"
    sizes = sorted({(point.width, point.height) for point in result.points})
    clips = f"{count} clip{'s' * (count > 1)} of {length} frame{'s' * (frames[-1] > 1)}, {said(f'{w}x{h}' for w, h in sizes)}"
    periods = by_value({name: settings_of(result, name).get("intra_period") for name in result.codecs()})
    words = {None: "intra period not known", ONE_INTRA: "only the first frame is intra", ALL_INTRA: "every frame is intra"}
    told = {names: words.get(period, f"an intra frame every {period} frames") for period, names in periods.items()}
    return f"{clips}; {by_name(told)}."


def cost_line(result: RDResult, codecs: Sequence[str], speeds: bool = True) -> str:
    """What kMAC and frames a second of these codecs are of; empty where nothing was measured.

    `kMAC per pixel of a predicted frame of 176x144; fps on 176x144, 8 frames, 1 thread, AMD EPYC.`

    Args:
        speeds: whether frames a second are shown, too.
    """
    costs = {name: found for name in codecs if (found := complexity_of(result, name))}
    counted = [name for name, cost in costs.items() if any(cost.get(field) is not None for field in OPERATIONS)]
    kinds = by_value({name: frame_counted(result, name) for name in counted})
    timed = {name: cost for name, cost in costs.items() if speeds and any(cost.get(field) is not None for field in SPEEDS)}
    ways = by_value({name: measured_on(cost) for name, cost in timed.items()})
    lines = [f"kMAC per pixel {by_name({names: kind for kind, names in kinds.items()})}"] if kinds else []
    lines += [f"fps {by_name({names: way for way, names in ways.items()})}"] if ways else []
    return "; ".join(lines) + "." * bool(lines)


def frame_counted(result: RDResult, codec: str) -> str:
    """What operations are counted of: the kind of frame that a codec codes most, and its size."""
    kind = "an intra" if settings_of(result, codec).get("intra_period") == ALL_INTRA else "a predicted"
    size = complexity_of(result, codec).get("size")
    return f"of {kind} frame" + (f" of {size}" if size else "")


def measured_on(cost: dict[str, Any]) -> str:
    """What speed was measured on."""
    frames, threads = cost.get("frames"), cost.get("threads")
    known = (
        cost.get("size") or "frames of unknown size",
        f"{frames} frame{'s' * (frames > 1)}" if frames else "",
        f"{threads} thread{'s' * (threads > 1)}" if threads else "unknown threads",
        cost.get("machine") or "",
    )
    return "on " + ", ".join(filter(None, known))


def lack_line(result: RDResult, metric: str, clips: Sequence[str]) -> str:
    """Why clips have no value: `Not on carphone: frames of 176x144 are below the 161x161 it needs.`"""
    why = by_value({clip: reason(result, metric, clip) for clip in clips})
    return " ".join(f"Not on {said(names)}: {cause}." for cause, names in why.items())


def reason(result: RDResult, metric: str, clip: str) -> str:
    """What the points of a clip note about a metric."""
    notes = [note for p in result.points if p.clip == clip for note in p.extra.get("notes") or []]
    found = [note.removeprefix(f"{metric}: ") for note in notes if note.startswith(f"{metric}: ")]
    return found[0] if found else "no point has a value"


def settings_of(result: RDResult, codec: str) -> dict[str, Any]:
    """A codec's conditions."""
    return (result.conditions.get("codecs") or {}).get(codec) or {}


def by_value(values: dict[str, Any]) -> dict[Any, tuple[str, ...]]:
    """Names by what they share, in order."""
    return {value: tuple(n for n, own in values.items() if own == value) for value in dict.fromkeys(values.values())}


def by_name(told: dict[tuple[str, ...], str]) -> str:
    """The words alone where they hold for all, else with names; of many codecs the largest group is `else`."""
    *fewer, most = sorted(told, key=len)
    named = [f"{told[names]} ({said(names)})" for names in (*fewer, most)]
    if not fewer:
        return told[most]
    return "; ".join(named if len(most) <= MOST_NAMED else [*named[:-1], f"else {told[most]}"])


def said(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *first, last = list(names)
    return f"{', '.join(first)} and {last}" if first else last
