"""Files that are either whole or not there: written beside their place, flushed to the disk, then
renamed; and their hash.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from codec.errors import CodecError

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


class WriteError(CodecError):
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
    part = path.with_name(f"{path.name}.{os.getpid()}{PART}")
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
