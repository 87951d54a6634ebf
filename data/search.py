"""Search: the sequences in a tree of folders, by names alone; fit for millions of files."""

import glob
import os
import re
from collections.abc import Iterator

from data.errors import DataError
from data.io.images import is_picture

SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".m4v", ".avi", ".mpg", ".mpeg", ".y4m", ".yuv")


class Search:
    """Finds videos and folders of numbered pictures; no file is opened or, links aside, looked up one by one.

    Attributes:
        left_out: files met so far that are neither; hidden ones do not count.
    """

    def __init__(self) -> None:
        self.left_out: set[str] = set()
        self._done: set[str] = set()

    def inside(self, folder: str) -> Iterator[str]:
        """What is in a folder and in those inside, links to folders too, sorted; a folder met before is passed over.

        A folder that directly holds two numbered pictures or more and no video is itself a sequence.

        Raises:
            DataError: a folder cannot be listed.
        """
        real = os.path.realpath(folder)
        if real in self._done:  # also a link that leads in circles
            return
        self._done.add(real)
        try:
            with os.scandir(folder) as entries:
                shown = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{folder}: cannot be listed ({error.strerror}); allow it, or give other folders") from error
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
        self.left_out = {path for path in self.left_out if not (is_picture(path) and os.path.dirname(path) in found)}
        return sorted(found, key=lambda path: path.split(os.sep))


def _is_video(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _is_series(names: set[str]) -> bool:
    numbered = [name for name in names if is_picture(name) and re.search(r"\d", name)]
    return len(numbered) > 1 and not any(map(_is_video, names))
