"""Finding sequences: files, folders, globs, sample clips, manifests, named sets, or a list of
these.
"""

import glob
import logging
import os
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path

from data.errors import DataError
from data.io.images import is_picture
from data.io.raw import stated_format
from data.sequences import RAW_SUFFIXES, VIDEO_SUFFIXES, Sequence, Sequences
from data.sources.manifest import SUFFIXES as MANIFESTS
from data.sources.manifest import Manifest, is_index
from data.sources.sample_clips import PREFIX, sample_clip
from data.sources.testsets import TESTSETS, find_testset
from data.sources.vimeo import Septuplets

VIMEO = {"vimeo90k": "train", "vimeo90k-test": "test"}
NAMED = re.compile(rf"({'|'.join((*VIMEO, *TESTSETS))}):(.+)")
Places = str | Path | Iterable[str | Path]
SUFFIXES = (*VIDEO_SUFFIXES, *RAW_SUFFIXES)
ENDINGS = 6  # suffixes named in a warning
log = logging.getLogger(__name__)


def find_sequences(where: Places, root: Path | str | None = None) -> Sequences:
    """Sequences in a stable order, each file once.

    - A file is taken whatever its suffix; .csv and .parquet are manifests (`Manifest`).
    - A folder is searched through and sorted, links to folders too. In folders and globs only the
      suffixes of video count, and folders that directly hold two numbered pictures or more and no
      video: each is one sequence. Hidden files and folders are left out; other files are counted in
      a warning.
    - A glob (`**` too) is sorted.
    - `sample:NAME` is a sample clip; `vimeo90k:ROOT` and `vimeo90k-test:ROOT` are the lists of
      `Septuplets`; `uvg:ROOT`, `mcl-jcv:ROOT`, `hevc-b:ROOT` and so on are test sets
      (`find_testset`).
    - A list of these keeps its order.

    Args:
        where: see above.
        root: folder that a manifest's paths count from; None is the manifest's own.

    Raises:
        DataError: a path is missing, nothing is found, a .yuv file's format is not known, or as the
            kinds above say.
    """
    places = [where] if isinstance(where, str | Path) else list(where)
    parts: list[Sequences] = []
    seen: set[str] = set()
    for place in places:
        special = _special(str(place), root)
        if special is None:
            found = [path for path in dict.fromkeys(_find(place)) if path not in seen]
            seen.update(found)
            special = FileSequences(found)
        parts.append(special)
    parts = [part for part in parts if len(part)]
    if not parts:
        kinds = f"{' '.join(SUFFIXES)} and folders of numbered pictures"
        raise DataError(
            f"no video in {', '.join(map(str, places))}; folders are searched for {kinds}"
        )
    return parts[0] if len(parts) == 1 else ConcatSequences(parts)


def find_videos(where: Places) -> list[Path]:
    """As `find_sequences`, for what a path alone tells: files, folders, globs, samples, lists of
    them.

    Raises:
        DataError: as there; or `where` holds a manifest or a named set, whose sequences are more
            than paths.
    """
    found = find_sequences(where)
    parts = found.parts if isinstance(found, ConcatSequences) else [found]
    if not all(isinstance(part, FileSequences) for part in parts):
        raise DataError(
            f"{where}: files, folders or globs are needed here, no manifest and no named set; list "
            "the files"
        )
    return [sequence.path for sequence in found]


class FileSequences:
    """Sequences that are whole files, or folders of pictures, in order; holds their paths as text,
    of millions if need be.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = list(paths)
        for path in self._paths:
            if path.lower().endswith(".yuv"):
                stated_format(Sequence(Path(path)))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> Sequence:
        return Sequence(Path(self._paths[number]))

    def __iter__(self) -> Iterator[Sequence]:
        return (Sequence(Path(path)) for path in self._paths)


class ConcatSequences:
    """Several `Sequences`, one behind the other."""

    def __init__(self, parts: list[Sequences]) -> None:
        self.parts = parts
        self._ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, number: int) -> Sequence:
        if not 0 <= number < len(self):
            raise IndexError(f"sequence {number}: there are {len(self)}")
        part = bisect_right(self._ends, number)
        return self.parts[part][number - self._ends[part] + len(self.parts[part])]

    def __iter__(self) -> Iterator[Sequence]:
        return (sequence for part in self.parts for sequence in part)


def _special(text: str, root: Path | str | None) -> Sequences | None:
    """A named set or a manifest; None for other places."""
    named = NAMED.fullmatch(text)
    if named and not os.path.lexists(text):
        name = named[1]
        folder = Path(named[2]).expanduser()
        return Septuplets(folder, VIMEO[name]) if name in VIMEO else find_testset(name, folder)
    path = Path(text) if os.path.lexists(text) else Path(os.path.expanduser(text))
    if not text.lower().endswith(MANIFESTS) or not path.is_file():
        return None
    if is_index(path):
        raise DataError(
            f"{path}: an index, where a manifest or videos are asked for; give what it was made "
            "from"
        )
    return Manifest(path, root)


def _find(place: str | Path) -> Iterable[str]:
    text = str(place)
    if text.startswith(PREFIX) and not os.path.lexists(text):
        return [str(sample_clip(text.removeprefix(PREFIX)))]
    path = text if os.path.lexists(text) else os.path.expanduser(text)
    if os.path.isfile(path):
        return [path]
    search = FolderSearch()
    if os.path.isdir(path):
        found = list(search.inside(path))
    elif glob.has_magic(text):
        found = search.matching(path)
    else:
        raise DataError(
            f"{text}: no such file or folder; check the path (sample clips are {PREFIX}NAME)"
        )
    if search.left_out:
        log.warning(
            "%s: %d files left out, neither video nor a series of numbered pictures by their "
            "names (%s); a video among them is read when it is given by its name",
            text,
            len(search.left_out),
            _endings(search.left_out),
        )
    return found


class FolderSearch:
    """Finds videos and folders of numbered pictures; no file is opened or, links aside, looked up
    one by one.

    Attributes:
        left_out: files met so far that are neither; hidden ones do not count.
    """

    def __init__(self) -> None:
        self.left_out: set[str] = set()
        self._done: set[str] = set()

    def inside(self, folder: str) -> Iterator[str]:
        """What is in a folder and in those inside, links to folders too, sorted; a folder met
        before is passed over.

        A folder that directly holds two numbered pictures or more and no video is itself a
        sequence.

        Raises:
            DataError: a folder cannot be listed.
        """
        real = os.path.realpath(folder)
        if real in self._done:  # also a link that leads in circles
            return
        self._done.add(real)
        try:
            with os.scandir(folder) as entries:
                shown = sorted(
                    (entry for entry in entries if not entry.name.startswith(".")),
                    key=lambda entry: entry.name,
                )
        except OSError as error:
            raise DataError(
                f"{folder}: cannot be listed ({error.strerror}); allow it, or give other folders"
            ) from error
        files = {entry.name for entry in shown if not entry.is_dir()}
        series = _is_series(files)
        if series:
            yield folder
        for entry in shown:
            if entry.name not in files:
                yield from self.inside(entry.path)
            elif _is_video(entry.name):
                yield entry.path  # a broken link too: reading it says so
            elif not (series and is_picture(entry.name)):
                self.left_out.add(entry.path)

    def matching(self, pattern: str) -> list[str]:
        """Videos that a glob matches, and what is inside the folders that it matches, sorted."""
        found: set[str] = set()
        for match in sorted(glob.glob(pattern, recursive=True)):
            if os.path.isdir(match):
                found.update(self.inside(match.rstrip(os.sep)))
            elif _is_video(match):
                found.add(match)
            else:
                self.left_out.add(match)
        self.left_out = {
            path
            for path in self.left_out
            if not (is_picture(path) and os.path.dirname(path) in found)
        }
        return sorted(found, key=lambda path: path.split(os.sep))


def _endings(paths: Iterable[str]) -> str:
    """The commonest suffixes, with their counts."""
    counts = Counter(os.path.splitext(path)[1].lower() or "no suffix" for path in paths)
    named = [f"{suffix} {count}" for suffix, count in counts.most_common(ENDINGS)]
    return ", ".join(named + ["..."] * (len(counts) > ENDINGS))


def _is_video(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _is_series(names: set[str]) -> bool:
    numbered = [name for name in names if is_picture(name) and re.search(r"\d", name)]
    return len(numbered) > 1 and not any(map(_is_video, names))
