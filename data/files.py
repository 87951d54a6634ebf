"""Finding video files: a file, a folder, a glob, a sample clip, or a list of these."""

import glob
import logging
from collections.abc import Iterable
from pathlib import Path

from data.errors import DataError
from data.samples import PREFIX, sample_clip

SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".m4v", ".avi", ".mpg", ".mpeg", ".y4m")
log = logging.getLogger(__name__)


def find_videos(where: str | Path | Iterable[str | Path]) -> list[Path]:
    """Video files in a stable order, each once.

    A file is taken whatever its suffix; a folder is searched through and sorted; a glob (`**` too) is sorted;
    `sample:NAME` is a sample clip; a list keeps its order. In folders and globs only the suffixes of video count;
    other files are counted in a warning.

    Raises:
        DataError: a path is missing, or nothing is found.
    """
    places = [where] if isinstance(where, str | Path) else list(where)
    found = dict.fromkeys(path for place in places for path in _find(place))
    if not found:
        raise DataError(f"no video in {', '.join(map(str, places))}; folders are searched for {' '.join(SUFFIXES)}")
    return list(found)


def _find(place: str | Path) -> list[Path]:
    text = str(place)
    if text.startswith(PREFIX):
        return [sample_clip(text.removeprefix(PREFIX))]
    path = Path(text).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        return _videos(path.rglob("*"), text)
    if glob.has_magic(text):
        matches = [Path(match) for match in glob.glob(str(path), recursive=True)]
        inside = [file for match in matches if match.is_dir() for file in match.rglob("*")]
        return _videos(matches + inside, text)
    raise DataError(f"{text}: no such file or folder; check the path (sample clips are {PREFIX}NAME)")


def _videos(paths: Iterable[Path], where: str) -> list[Path]:
    """Sorted files with a video's suffix; hidden ones are left out, others counted."""
    files = sorted({path for path in paths if path.is_file() and not path.name.startswith(".")})
    videos = [path for path in files if path.suffix.lower() in SUFFIXES]
    if len(videos) < len(files):
        log.warning("%s: %d files left out, their suffix is no video's", where, len(files) - len(videos))
    return videos
