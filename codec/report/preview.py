"""The visual comparison: points of nearly equal bitrate, decoded and coded as short videos."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from codec.errors import CodecError
from codec.evaluation.results.rd import Point, RDResult
from codec.report.decoded import DecodedFrames, NotShown
from codec.report.vp9_preview import CRF_CHOICES, PreviewVideo, encode_vp9

SOURCE = "source"
LEVELS = 3  # bitrates of each clip
CODECS = 4
FRAMES = 48
ENOUGH_FRAMES = 24  # with fewer, videos are coded more coarsely
LEAST_FRAMES = 8
MOST_PIXELS = 24_000_000  # of all frames of a video
MEGABYTES = 34.0
BASE64 = 4 / 3  # bytes of the page for a byte of a video

Videos = dict[str, PreviewVideo]
Missing = dict[str, list[str]]  # by reason, what it holds for
Log = Callable[[str], None]


def silent(line: str) -> None:
    """Log nothing."""


@dataclass
class Preview:
    """What the page can show.

    Attributes:
        videos: by their key in the page.
        levels: by clip, from low to high rate: the key of a video by codec.
        points: the point that a key shows.
        missing: what cannot be shown, a line per reason.
    """

    videos: Videos = field(default_factory=dict)
    levels: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    points: dict[str, Point] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def frames(self) -> tuple[int, int]:
        """Fewest and most frames of a video; 0 and 0 without videos."""
        counts = [len(video.packets) for video in self.videos.values()] or [0]
        return min(counts), max(counts)

    def to_json(self) -> dict[str, Any]:
        """Everything but the videos and points."""
        sources = sorted(key for key in self.videos if key.startswith(SOURCE))
        return {"levels": self.levels, "missing": self.missing, "sources": sources}


def make_preview(
    result: RDResult,
    decoded: DecodedFrames,
    codecs: Sequence[str],
    frames: int = FRAMES,
    megabytes: float = MEGABYTES,
    log: Log = silent,
) -> Preview:
    """Decode the originals and matched points of `codecs` on every clip, and code them as videos.

    Args:
        frames: at most so many of each clip; fewer of large ones.
        megabytes: size of all videos in the page.
        log: called with what is being done.

    Raises:
        CodecError: not even one frame of each fits; show fewer codecs or clips.
    """
    levels = {clip: matched_levels(result, clip, codecs) for clip in result.clips()}
    points = [point for own in levels.values() for level in own for point in level.values()]
    preview = preview_points(decoded, points, frames=frames, megabytes=megabytes, log=log)
    for clip, own in levels.items():
        keys = [{codec: key_of(point) for codec, point in level.items()} for level in own]
        shown = [
            {codec: key for codec, key in level.items() if key in preview.videos} for level in keys
        ]
        preview.levels[clip] = [level for level in shown if level]
    return preview


def default_codecs(codecs: Sequence[str], anchors: Sequence[str]) -> list[str]:
    """The codecs that are shown by default: four at most, compared ones first, then an anchor."""
    compared = [name for name in codecs if name not in anchors]
    return [*compared[: CODECS - 1], *anchors[: max(1, CODECS - len(compared))]]


def preview_points(
    decoded: DecodedFrames,
    points: Sequence[Point],
    frames: int,
    megabytes: float,
    log: Log = silent,
) -> Preview:
    """Decode points and the originals of their clips, and code them as videos.

    What cannot be decoded is left out and named in `missing`. All videos of a clip are cut to
    equally many frames, such that all clips together take `megabytes` in the page at most.
    """
    preview = Preview()
    clips = list(dict.fromkeys(point.clip for point in points))
    videos: list[Videos] = []
    missing: Missing = {}
    for clip in clips:
        log(f"pictures of {clip}")
        own = {key_of(point): point for point in points if point.clip == clip}
        shown = _decode(decoded, clip, own, frames=frames, missing=missing)
        fps = next(iter(own.values())).fps
        videos.append(_encode(shown, fps, megabytes / len(clips)))
        preview.points |= {key: point for key, point in own.items() if key in shown}
    preview.videos = fit_videos(videos, megabytes)
    preview.missing = [reason_line(reason, names) for reason, names in missing.items()]
    return preview


def _decode(
    decoded: DecodedFrames,
    clip: str,
    points: Mapping[str, Point],
    frames: int,
    missing: Missing,
) -> dict[str, Tensor]:
    point = next(iter(points.values()))
    most = max(LEAST_FRAMES, MOST_PIXELS // (point.width * point.height))
    count = min(frames, most, *(point.frames for point in points.values()))
    found = {}
    for key in (f"{SOURCE}:{clip}", *points):
        try:
            if key in points:
                found[key] = decoded.frames_of(points[key], count)
            else:
                found[key] = decoded.source_of(clip, count)
        except NotShown as error:
            missing.setdefault(error.why, []).append(error.what)
        except CodecError as error:
            missing.setdefault(str(error).splitlines()[0], []).append(key)
    return found


def _encode(shown: Mapping[str, Tensor], fps: float, megabytes: float) -> Videos:
    """Code frames as finely as leaves enough of them."""
    videos: Videos = {}
    for crf in CRF_CHOICES:
        videos = {key: encode_vp9(frames, fps, crf) for key, frames in shown.items()}
        enough = min([ENOUGH_FRAMES, *map(len, shown.values())])
        if not videos or frames_that_fit(videos, megabytes) >= enough:
            break
    return videos


def reason_line(reason: str, names: Sequence[str]) -> str:
    """A reason with the first name that it holds for, and how many more there are."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}: {reason}"


def key_of(point: Point) -> str:
    """A name for the point that is the same in every run."""
    return f"{point.codec}:{point.clip}:{point.tune or ''}:{point.quality}"


def fit_videos(clips: Sequence[Videos], megabytes: float) -> Videos:
    """The videos of all clips, cut to take `megabytes` as base64.

    What a clip does not need is shared by the others.

    Raises:
        CodecError: not even one frame of each fits.
    """
    available = megabytes
    kept: Videos = {}
    by_size = sorted((videos for videos in clips if videos), key=_megabytes)
    for done, videos in enumerate(by_size):
        count = frames_that_fit(videos, available / (len(by_size) - done))
        if not count:
            raise CodecError(
                f"the pictures do not fit into {megabytes:g} MB; show fewer codecs or clips, "
                "or allow more"
            )
        cut = {key: video.truncated(count) for key, video in videos.items()}
        available -= _megabytes(cut)
        kept |= cut
    return {key: kept[key] for videos in clips for key in videos}


def frames_that_fit(videos: Videos, megabytes: float) -> int:
    """How many frames of each video take `megabytes` at most."""
    for count in range(max(len(video.packets) for video in videos.values()), 0, -1):
        cut = {key: video.truncated(count) for key, video in videos.items()}
        if _megabytes(cut) <= megabytes:
            return count
    return 0


def _megabytes(videos: Videos) -> float:
    return sum(video.bytes for video in videos.values()) * BASE64 / 1e6


def matched_levels(
    result: RDResult, clip: str, codecs: Sequence[str], levels: int = LEVELS
) -> list[dict[str, Point]]:
    """Sets of points of nearly equal rate, from low to high rate.

    A set has one point of every codec, and no point is in two sets. Where there are more sets than
    `levels` they are divided by rate into that many groups; of each group the set is taken whose
    rates are nearest to each other.
    """
    curves = {codec: points for codec in codecs if (points := viewing_points(result, codec, clip))}
    sets: list[dict[str, Point]] = []
    for level in sorted(narrowest_sets(curves), key=rate_gap):
        if not any(level[codec].place == other[codec].place for other in sets for codec in curves):
            sets.append(level)
    sets.sort(key=mean_rate)
    count = min(levels, len(sets))
    ends = [index * len(sets) // count for index in range(count + 1)] if count else []
    groups = [sets[start:end] for start, end in zip(ends, ends[1:], strict=False)]
    return [min(group, key=rate_gap) for group in groups]


def viewing_points(result: RDResult, codec: str, clip: str) -> list[Point]:
    """A codec's points on a clip by rate, in the tuning for viewers where it has several."""
    points = [
        point
        for point in result.points
        if (point.codec, point.clip) == (codec, clip) and not point.extra.get("imported")
    ]
    for tunes in ((None, "default"), ("psnr",)):
        if chosen := [point for point in points if point.tune in tunes]:
            return sorted(chosen, key=lambda point: point.bpp)
    return sorted(points, key=lambda point: point.bpp)


def narrowest_sets(curves: Mapping[str, Sequence[Point]]) -> list[dict[str, Point]]:
    """With every point as the lowest of a set, the nearest points above it.

    No set that begins there is narrower.
    """
    sets = []
    for codec, points in curves.items():
        for low in points:
            above = {
                name: [point for point in own if point.bpp >= low.bpp]
                for name, own in curves.items()
                if name != codec
            }
            if all(above.values()):
                sets.append({name: low if name == codec else above[name][0] for name in curves})
    return sets


def mean_rate(level: Mapping[str, Point]) -> float:
    """The geometric mean of the rates of a level."""
    return math.exp(sum(math.log(point.bpp) for point in level.values()) / len(level))


def rate_gap(level: Mapping[str, Point]) -> float:
    """How far apart the rates of a level are: the highest over the lowest, less one."""
    rates = [point.bpp for point in level.values()]
    return max(rates) / min(rates) - 1
