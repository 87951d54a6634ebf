"""The pictures of the visual comparison: matched points of some codecs on every clip, packed until the page is full."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from codec.errors import CodecError
from codec.evaluation.rd import Point, RDResult
from codec.report.decoded import DecodedFrames, NotShown
from codec.report.matching import matched_levels
from codec.report.pack import QUALITIES, Pack, pack_frames

SOURCE = "source"
FRAMES = 48
ENOUGH_FRAMES = 24
MOST_PIXELS = 24_000_000
CODECS = 4
MEGABYTES = 34.0
BASE64 = 4 / 3

Packs = dict[str, Pack]
Missing = dict[str, list[str]]  # by the reason, what it holds for
Say = Callable[[str], None]


def silent(line: str) -> None:
    """Says nothing."""


@dataclass
class Pictures:
    """What the page can show.

    Attributes:
        packs: by their key in the page.
        levels: by clip, from low to high rate: the key of a pack by codec.
        points: the point a key shows.
        missing: what could not be shown, a line a reason.
    """

    packs: Packs = field(default_factory=dict)
    levels: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    points: dict[str, Point] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def frames(self) -> tuple[int, int]:
        """Fewest and most frames of a pack; 0 and 0 without packs."""
        counts = [len(pack.packets) for pack in self.packs.values()] or [0]
        return min(counts), max(counts)

    def to_json(self) -> dict[str, Any]:
        """All but the packs and points."""
        return {"levels": self.levels, "missing": self.missing, "sources": sorted(k for k in self.packs if k.startswith(SOURCE))}


def pictures_of(
    result: RDResult,
    decoded: DecodedFrames,
    codecs: Sequence[str],
    frames: int = FRAMES,
    megabytes: float = MEGABYTES,
    say: Say = silent,
) -> Pictures:
    """Decode and pack the original and matched points of `codecs` on every clip.

    Args:
        frames: at most so many of each; fewer of large ones.
        megabytes: that all may take in the page.
        say: told what is done.

    Raises:
        CodecError: not even one frame of each fits; show fewer codecs or clips.
    """
    levels = {clip: matched_levels(result, clip, codecs) for clip in result.clips()}
    points = [point for of_clip in levels.values() for level in of_clip for point in level.values()]
    found = pack_points(decoded, points, frames, megabytes, say)
    for clip, of_clip in levels.items():
        shown = [{codec: key for codec, point in level.items() if (key := key_of(point)) in found.packs} for level in of_clip]
        found.levels[clip] = [level for level in shown if level]
    return found


def shown_codecs(codecs: Sequence[str], anchors: Sequence[str]) -> list[str]:
    """Whose pictures are shown by default: what is compared, then anchors; four at most, one of them an anchor."""
    compared = [name for name in codecs if name not in anchors]
    return [*compared[: CODECS - 1], *anchors[: max(1, CODECS - len(compared))]]


def pack_points(decoded: DecodedFrames, points: Sequence[Point], frames: int, megabytes: float, say: Say = silent) -> Pictures:
    """Decode and pack points and the originals of their clips.

    What cannot be decoded is left out and said in `missing`. The packs of a clip are cut to equally many frames such that
    all clips together take `megabytes` in the page at most.
    """
    found = Pictures()
    clips = list(dict.fromkeys(point.clip for point in points))
    packed: list[Packs] = []
    missing: Missing = {}
    for clip in clips:
        say(f"pictures of {clip}")
        own = {key_of(point): point for point in points if point.clip == clip}
        shown = _shown(decoded, clip, own, frames, missing)
        fps = next(iter(own.values())).fps
        packed.append(_packed(shown, fps, megabytes / len(clips)))
        found.points |= {key: point for key, point in own.items() if key in shown}
    found.packs = fitted(packed, megabytes)
    found.missing = [reason_line(why, what) for why, what in missing.items()]
    return found


def reason_line(why: str, what: Sequence[str]) -> str:
    """A reason with what it holds for, the first of many."""
    return what[0] + f" and {len(what) - 1} more" * (len(what) > 1) + f": {why}"


def key_of(point: Point) -> str:
    """A name for the point that is the same in every run."""
    return f"{point.codec}:{point.clip}:{point.tune or ''}:{point.quality}"


def fitted(clips: Sequence[Packs], megabytes: float) -> Packs:
    """The packs of all clips, cut so that they take `megabytes` as base64: what a clip leaves free the others share.

    Raises:
        CodecError: not even one frame of each fits.
    """
    room, kept = megabytes, {}
    by_need = sorted((packs for packs in clips if packs), key=_megabytes)
    for done, packs in enumerate(by_need):
        count = frames_that_fit(packs, room / (len(by_need) - done))
        if not count:
            raise CodecError(f"the pictures do not fit into {megabytes:g} MB; show fewer codecs or clips, or allow more")
        cut = {key: pack.first(count) for key, pack in packs.items()}
        room -= _megabytes(cut)
        kept |= cut
    return {key: kept[key] for packs in clips for key in packs}


def frames_that_fit(packs: Packs, megabytes: float) -> int:
    """How many frames of each pack take `megabytes` at most."""
    most = max(len(pack.packets) for pack in packs.values())
    fits = (n for n in range(most, 0, -1) if _megabytes({key: pack.first(n) for key, pack in packs.items()}) <= megabytes)
    return next(fits, 0)


def _megabytes(packs: Packs) -> float:
    return sum(pack.bytes for pack in packs.values()) * BASE64 / 1e6


def _shown(decoded: DecodedFrames, clip: str, own: Mapping[str, Point], frames: int, missing: Missing) -> dict[str, Tensor]:
    point = next(iter(own.values()))
    most = max(8, MOST_PIXELS // (point.width * point.height))
    count = min(frames, most, *(point.frames for point in own.values()))
    wanted: dict[str, Callable[[], Tensor]] = {f"{SOURCE}:{clip}": lambda: decoded.source_of(clip, count)}
    wanted |= {key: (lambda point=point: decoded.frames_of(point, count)) for key, point in own.items()}
    found = {}
    for key, get in wanted.items():
        try:
            found[key] = get()
        except NotShown as error:
            missing.setdefault(error.why, []).append(error.what)
        except CodecError as error:
            missing.setdefault(str(error).splitlines()[0], []).append(key)
    return found


def _packed(shown: Mapping[str, Tensor], fps: float, megabytes: float) -> Packs:
    """As finely as leaves enough frames."""
    packs: Packs = {}
    for quality in QUALITIES:
        packs = {key: pack_frames(frames, fps, quality) for key, frames in shown.items()}
        enough = min(ENOUGH_FRAMES, *(len(frames) for frames in shown.values())) if shown else 0
        if not packs or frames_that_fit(packs, megabytes) >= enough:
            break
    return packs
