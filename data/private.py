"""Folders and pickles of this user alone: whoever can write a pickle runs what he likes in its
reader.
"""

import os
import pickle
import stat
from pathlib import Path
from typing import Any

from data.errors import DataError


def make_private(folder: Path) -> Path:
    """Make a folder that only this user can look into; one that is there already is made so.

    Raises:
        DataError: it is another user's, or a link: what lies in it may be anybody's.
        OSError: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        facts = folder.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
            what = f"{folder}: belongs to user {facts.st_uid} or is no folder"
            what = f"{what}, and shall hold files of yours alone"
            raise DataError(f"{what}; remove it, or choose another") from None
        folder.chmod(0o700)
    return folder


def write_pickle(path: Path, content: Any) -> None:
    """Write what `read_pickle` reads, for this user alone; nothing is there yet."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        pickle.dump(content, file)


def read_pickle(path: Path) -> Any:
    """What this user wrote.

    Raises:
        DataError: file or folder belong to another user, or others may write to them.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as file:
        for where, facts in ((path, os.fstat(handle)), (path.parent, path.parent.stat())):
            if facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
                what = f"{where}: user {facts.st_uid} or others can write to it"
                raise DataError(f"{what}, so it is not read; give a cache folder of your own")
        return pickle.load(file)
