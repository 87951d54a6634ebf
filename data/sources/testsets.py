"""Named test sets: what their files are called and hold, and finding them all in a folder."""

import os
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from data.errors import DataError
from data.io.probe import Probe, probe
from data.io.raw import RawReader, frame_bytes
from data.io.yuv_names import read_name
from data.sequences import RawFormat, Sequence

SUFFIXES = (".yuv", ".y4m", ".mkv", ".mp4")  # the first that is there is taken
PIXEL_FORMAT = "yuv420p"
SPARE = 1  # frames that a file may hold beyond those that are coded


@dataclass(frozen=True)
class TestSequence:
    """One sequence: 8-bit 4:2:0; `names` are what its file may be called before the size, `stem`
    how it is published.
    """

    names: tuple[str, ...]
    stem: str
    width: int
    height: int
    fps: int
    frames: int

    __test__ = False  # pytest: no test class

    @property
    def raw(self) -> RawFormat:
        return RawFormat(self.width, self.height, PIXEL_FORMAT)


def _row(name: str, size: str, fps: int, frames: int, tail: str = "", *others: str) -> TestSequence:
    width, height = map(int, size.split("x"))
    return TestSequence(
        (name, *others),
        stem=f"{name}_{size}_{tail or fps}",
        width=width,
        height=height,
        fps=fps,
        frames=frames,
    )


_UVG = "120fps_420_8bit_YUV"
_HD = "1920x1080"
_MCL_24 = (17, 21, 22, 23, 24, 25, 29)
_MCL_25 = (5, 6, 7, 8, 9, 18, 20)
_MCL = {
    number: 24 if number in _MCL_24 else 25 if number in _MCL_25 else 30 for number in range(1, 31)
}

TESTSETS: dict[str, tuple[TestSequence, ...]] = {
    "uvg": (
        _row("Beauty", _HD, 120, 600, _UVG),
        _row("Bosphorus", _HD, 120, 600, _UVG),
        _row("HoneyBee", _HD, 120, 600, _UVG),
        _row("Jockey", _HD, 120, 600, _UVG),
        _row("ReadySteadyGo", _HD, 120, 600, _UVG, "ReadySetGo"),
        _row("ShakeNDry", _HD, 120, 300, _UVG),
        _row("YachtRide", _HD, 120, 600, _UVG),
    ),
    "mcl-jcv": tuple(
        _row(f"videoSRC{number:02d}", _HD, fps, 5 * fps) for number, fps in _MCL.items()
    ),
    "hevc-b": (
        _row("BasketballDrive", _HD, 50, 500),
        _row("BQTerrace", _HD, 60, 600),
        _row("Cactus", _HD, 50, 500),
        _row("Kimono1", _HD, 24, 240, "", "Kimono"),
        _row("ParkScene", _HD, 24, 240),
    ),
    "hevc-c": (
        _row("BasketballDrill", "832x480", 50, 500),
        _row("BQMall", "832x480", 60, 600),
        _row("PartyScene", "832x480", 50, 500),
        _row("RaceHorses", "832x480", 30, 300),
    ),
    "hevc-d": (
        _row("BasketballPass", "416x240", 50, 500),
        _row("BlowingBubbles", "416x240", 50, 500),
        _row("BQSquare", "416x240", 60, 600),
        _row("RaceHorses", "416x240", 30, 300),
    ),
    "hevc-e": (
        _row("FourPeople", "1280x720", 60, 600),
        _row("Johnny", "1280x720", 60, 600),
        _row("KristenAndSara", "1280x720", 60, 600),
    ),
}


def find_testset(name: str, folder: Path | str) -> list[Sequence]:
    """The sequences of a test set in the table's order, each checked.

    A file is taken by the sequence's name and, if it says one, its size, in the folder or a folder
    inside: .yuv, else .y4m, .mkv or .mp4. Of .yuv the number of bytes is checked; of the others
    size, frame rate (to 0.2 %, more than NTSC's 0.1 %) and number of frames. One frame more than
    the table says is allowed and not used. Color is as `color_space_of` guesses: BT.709 from 720
    lines up.

    Raises:
        DataError: the test set is unknown or the folder missing; or some files are missing or
            wrong: all are listed.

    Source of names, sizes, frames and (in the names) rates: test_cfg/all_yuv420.json of
    https://github.com/microsoft/DCVC. The sets: https://ultravideo.fi (UVG),
    https://mcl.usc.edu/mcl-jcv-dataset, and JCTVC-L1100 (HEVC's common test conditions).
    """
    if name not in TESTSETS:
        raise DataError(f"test set {name!r} is unknown; choose one of {', '.join(TESTSETS)}")
    if not os.path.isdir(folder):
        raise DataError(
            f"{folder}: no such folder; give the one that holds the files of test set {name}"
        )
    files = _files(Path(folder))
    found: list[Sequence] = []
    missing = []
    wrong = []
    for one in TESTSETS[name]:
        matches = [path for path in files if _is_named(one, path)]
        fault = _fault(one, matches[0]) if matches else None
        if not matches:
            missing.append(f"{one.stem}.yuv ({one.frames * frame_bytes(one.raw)} bytes)")
        elif fault:
            wrong.append(fault)
        else:
            raw = one.raw if matches[0].suffix.lower() == ".yuv" else None
            found.append(Sequence(matches[0], frames=one.frames, fps=Fraction(one.fps), raw=raw))
    if missing or wrong:
        lines = [f"missing {what}" for what in missing] + [f"wrong: {what}" for what in wrong]
        raise DataError(
            f"{folder}: {len(lines)} of the {len(TESTSETS[name])} sequences of {name} are missing "
            "or wrong; complete them, "
            "or list the files that you have:\n  " + "\n  ".join(lines)
        )
    return found


def _files(folder: Path) -> list[Path]:
    """Files that may be sequences, in the folder and one below, raw ones first."""
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    files = [
        path
        for place in (folder, *inside)
        for path in sorted(place.iterdir())
        if path.suffix.lower() in SUFFIXES
    ]
    return sorted(files, key=lambda path: SUFFIXES.index(path.suffix.lower()))


def _is_named(one: TestSequence, path: Path) -> bool:
    """Whether the name begins with one of the sequence's, as a word, and says neither another size
    nor another pixel format.
    """
    names = "|".join(map(re.escape, one.names))
    told = read_name(path.stem)
    size = (told.width, told.height) in ((None, None), (one.width, one.height))
    return (
        bool(re.match(rf"({names})(?![a-z0-9])", path.stem, re.IGNORECASE))
        and size
        and told.pixel_format == PIXEL_FORMAT
    )


def _fault(one: TestSequence, path: Path) -> str | None:
    """What is wrong with a file, or None."""
    if path.suffix.lower() == ".yuv":
        step = frame_bytes(one.raw)
        size = path.stat().st_size
        if size in ((one.frames + more) * step for more in range(SPARE + 1)):
            return None
        return (
            f"{path} holds {size} bytes, {one.frames * step} expected ({one.frames} frames of "
            f"{one.width}x{one.height})"
        )
    try:
        video: RawReader | Probe
        if path.suffix.lower() == ".y4m":
            video = RawReader(Sequence(path))
            rate = video.rate
        else:
            video = probe(path)
            rate = video.fps
    except DataError as error:
        return str(error)
    right = (video.width, video.height, video.pixel_format) == (one.width, one.height, PIXEL_FORMAT)
    if (
        right
        and abs(rate / one.fps - 1) < 0.002
        and one.frames <= video.frames <= one.frames + SPARE
    ):
        return None
    shape = f"{video.width}x{video.height}"
    holds = f"{video.frames} frames of {shape} {video.pixel_format} at {float(rate):g} fps"
    return (
        f"{path} holds {holds}, {one.frames} of {one.width}x{one.height} {PIXEL_FORMAT} at "
        f"{one.fps} fps expected"
    )
