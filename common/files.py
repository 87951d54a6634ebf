"""Files that are either whole or not there: written beside their place, flushed to the disk, then
renamed; their hash; folders and pickles of this user alone.
"""

import errno
import hashlib
import os
import pickle
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from common.errors import CorvidError

PART = ".part"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REMEDIES = dict.fromkeys(_FULL, "Free space")
_REMEDIES |= dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Make its folder writable")
_REMEDIES |= dict.fromkeys((errno.ENOENT, errno.ENOTDIR), "Make its folder")
_REMEDIES |= dict.fromkeys((errno.EMFILE, errno.ENFILE), "Allow more open files (ulimit -n)")
_TORCH_WRITERS = (
    "PytorchStreamWriter",
    "inline_container",
    "iostream",
)  # what torch.save says when a disk fails


class WriteError(CorvidError):
    """A file could not be written; what was there before still is."""


@contextmanager
def new_version(path: Path, size: int = 0) -> Iterator[BinaryIO]:
    """A file to write; at the end of the `with` it replaces `path`, on the disk too. On an error
    `path` stays as it was.

    Args:
        path: the file; its folder exists.
        size: bytes that are about to be written, for the message.

    Raises:
        WriteError: the disk is full, or does not take it for another reason.
    """
    short = os.fsdecode(os.fsencode(path.name)[:200])  # file systems take names of 255 bytes
    part = path.with_name(f"{short}.{os.getpid()}{PART}")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if message := _message(path, error, size):
            raise WriteError(message) from error
        raise
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace a text file at once; errors are those of `new_version`."""
    content = text.encode()
    with new_version(path, len(content)) as file:
        file.write(content)


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file; errors are those of `new_version`, and may leave a part of the
    line.
    """
    try:
        with path.open("a") as file:
            file.write(line + "\n")
    except OSError as error:
        raise WriteError(_message(path, error, len(line))) from error


def sync_folder(folder: Path) -> None:
    """Flush a folder's names to the disk, where its file system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def remove_parts(folder: Path) -> None:
    """Remove what processes that died had not finished; nobody else may be writing there."""
    for part in folder.glob(f"*{PART}"):
        part.unlink(missing_ok=True)


def make_private(folder: Path) -> Path:
    """Make a folder that only this user can look into; one that is there already is made so.

    Raises:
        CorvidError: it is another user's, or a link: what lies in it may be anybody's.
        OSError: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        facts = folder.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
            what = f"{folder}: belongs to user {facts.st_uid} or is no folder"
            what = f"{what}, and shall hold files of yours alone"
            raise CorvidError(f"{what}; remove it, or choose another") from None
        folder.chmod(0o700)
    return folder


def write_pickle(path: Path, content: Any) -> None:
    """Write what `read_pickle` reads, for this user alone; nothing is there yet.

    Whoever can write a pickle runs what he likes in its reader.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        pickle.dump(content, file)


def read_pickle(path: Path) -> Any:
    """What this user wrote.

    Raises:
        CorvidError: file or folder belong to another user, or others may write to them.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as file:
        for where, facts in ((path, os.fstat(handle)), (path.parent, path.parent.stat())):
            if facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
                what = f"{where}: user {facts.st_uid} or others can write to it"
                raise CorvidError(f"{what}, so it is not read; give a cache folder of your own")
        return pickle.load(file)


def _message(path: Path, error: BaseException, size: int) -> str:
    """What to say where the disk did not take a file; "" where something else went wrong."""
    number, reason = _reason(error)
    if not reason:
        return ""
    if number in (*_FULL, None):
        free = "unknown"
        with suppress(OSError):
            free = f"{shutil.disk_usage(path.parent).free / 1e6:.1f}"
        reason += f" ({size / 1e6:.1f} MB needed, {free} MB free)"
    remedy = "Look at the disk" if number is None else _REMEDIES.get(number, "Look at the disk")
    return (
        f"{path}: not written, {reason}; what was kept earlier is still there. {remedy} and give "
        "the same command again"
    )


def _reason(error: BaseException) -> tuple[int | None, str]:
    """The system's error number and why the disk did not take it; "" where something else went
    wrong.

    torch hides the system's error behind its own, and with it at times the number: None.
    """
    found = ""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return seen.errno, "the disk is full" if seen.errno in _FULL else str(
                seen.strerror or seen
            )
        if isinstance(seen, RuntimeError) and any(name in str(seen) for name in _TORCH_WRITERS):
            found = "the disk did not take it, it may be full"
        seen = seen.__cause__ or seen.__context__
    return None, found
