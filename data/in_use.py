"""Which folders of a node's disk are in use: locks by the kernel, so that nothing is left of a process that dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_held: dict[Path, int] = {}  # descriptors of folders, locked while this process runs


def use(folder: Path) -> None:
    """Make a set's folder and mark it as used until this process and its workers end; waits for one who removes it."""
    while not _is_mine(folder):
        if folder in _held:
            os.close(_held.pop(folder))
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # removed again, by a process that makes room
            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_SH)
            _held[folder] = handle
    os.utime(folder)


def _is_mine(folder: Path) -> bool:
    """Whether our lock is on the folder of that name: it may have been removed and made anew while we waited."""
    with suppress(FileNotFoundError):
        return folder in _held and os.path.samestat(os.fstat(_held[folder]), folder.stat())
    return False


@contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Whether no process, this one included, uses a set; none can begin to until the `with` ends."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:  # not there yet, or removed by another process
        yield False
        return
    alone = False
    try:
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = os.path.samestat(os.fstat(handle), folder.stat())
        yield alone
    finally:
        os.close(handle)
