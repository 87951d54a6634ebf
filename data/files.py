"""Finding sequences: files, folders, globs, sample clips, manifests, named sets, or a list of these."""

import glob
import logging
import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path

from data.errors import DataError
from data.index import KEY
from data.io.raw import stated_format
from data.manifest import SUFFIXES as MANIFESTS
from data.manifest import Manifest
from data.samples import PREFIX, sample_clip
from data.search import SUFFIXES, Search
from data.sequences import Sequence, Sequences
from data.testsets import TESTSETS, find_testset
from data.vimeo import Septuplets

VIMEO = {"vimeo90k": "train", "vimeo90k-test": "test"}
NAMED = re.compile(rf"({'|'.join((*VIMEO, *TESTSETS))}):(.+)")
Places = str | Path | Iterable[str | Path]
log = logging.getLogger(__name__)


def find_sequences(where: Places, root: Path | str | None = None) -> Sequences:
    """Sequences in a stable order, each file once.

    - A file is taken whatever its suffix; .csv and .parquet are manifests (`Manifest`).
    - A folder is searched through and sorted, links to folders too. In folders and globs only the suffixes of video count, and
      folders that directly hold two numbered pictures or more and no video: each is one sequence. Hidden files and folders are
      left out; other files are counted in a warning.
    - A glob (`**` too) is sorted.
    - `sample:NAME` is a sample clip; `vimeo90k:ROOT` and `vimeo90k-test:ROOT` are the lists of `Septuplets`; `uvg:ROOT`,
      `mcl-jcv:ROOT`, `hevc-b:ROOT` and so on are test sets (`find_testset`).
    - A list of these keeps its order.

    Args:
        where: see above.
        root: folder that a manifest's paths count from; None is the manifest's own.

    Raises:
        DataError: a path is missing, nothing is found, a .yuv file's format is not known, or as the kinds above say.
    """
    places = [where] if isinstance(where, str | Path) else list(where)
    parts: list[Sequences] = []
    seen: set[str] = set()
    for place in places:
        special = _special(str(place), root)
        if special is None:
            special = Files(path for path in _find(place) if not (path in seen or seen.add(path)))
        parts.append(special)
    parts = [part for part in parts if len(part)]
    if not parts:
        kinds = f"{' '.join(SUFFIXES)} and folders of numbered pictures"
        raise DataError(f"no video in {', '.join(map(str, places))}; folders are searched for {kinds}")
    return parts[0] if len(parts) == 1 else Joined(parts)


def find_videos(where: Places) -> list[Path]:
    """As `find_sequences`, for what a path alone tells: files, folders, globs, samples, lists of them.

    Raises:
        DataError: as there; or `where` holds a manifest or a named set, whose sequences are more than paths.
    """
    found = find_sequences(where)
    parts = found.parts if isinstance(found, Joined) else [found]
    if not all(isinstance(part, Files) for part in parts):
        raise DataError(f"{where}: files, folders or globs are needed here, no manifest and no named set; list the files")
    return [sequence.path for sequence in found]


def is_index(path: Path | str) -> bool:
    """Whether a file is an index: Parquet with `KEY` in its schema's metadata."""
    if Path(path).suffix.lower() != ".parquet" or not os.path.isfile(path):
        return False
    import pyarrow as pa
    import pyarrow.parquet

    try:
        return KEY in (pyarrow.parquet.read_schema(path).metadata or {})
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: no Parquet file that can be read ({str(error).splitlines()[0]}); write it again") from error


class Files:
    """Sequences that are whole files, or folders of pictures, in order; holds their paths as text, of millions if need be."""

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


class Joined:
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
    if named := NAMED.fullmatch(text):
        name, folder = named[1], Path(named[2]).expanduser()
        return Septuplets(folder, VIMEO[name]) if name in VIMEO else find_testset(name, folder)
    path = Path(text).expanduser()
    if not text.lower().endswith(MANIFESTS) or not path.is_file():
        return None
    if is_index(path):
        raise DataError(f"{path}: an index, where a manifest or videos are asked for; give what it was made from")
    return Manifest(path, root)


def _find(place: str | Path) -> Iterable[str]:
    text = str(place)
    if text.startswith(PREFIX):
        return [str(sample_clip(text.removeprefix(PREFIX)))]
    path = str(Path(text).expanduser())
    if os.path.isfile(path):
        return [path]
    search = Search()
    if os.path.isdir(path):
        found = list(search.inside(path))
    elif glob.has_magic(text):
        found = search.matching(path)
    else:
        raise DataError(f"{text}: no such file or folder; check the path (sample clips are {PREFIX}NAME)")
    if search.left_out:
        log.warning("%s: %d files left out, neither video nor a series of numbered pictures", text, len(search.left_out))
    return found
