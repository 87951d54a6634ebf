"""ByteRange: some bytes of a file, read as if they were a file of their own."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import av

if TYPE_CHECKING:
    from typing_extensions import Buffer


class ByteRange(io.RawIOBase):
    """Bytes `offset` .. `offset + length - 1` of a file, for readers that take an open file, PyAV
    for instance.

    Args:
        path: the file, a shard for instance.
        offset, length: in bytes.
    """

    def __init__(self, path: Path, offset: int, length: int) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self._offset = offset
        self._length = length
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = min(max(0, start + position), self._length)
        return self._at

    def readinto(self, buffer: "Buffer") -> int:
        room = memoryview(buffer)[: self._length - self._at]
        count = os.preadv(self._file, [room], self._offset + self._at)
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._file)
        super().close()


@contextmanager
def opened(
    path: Path, part: tuple[int, int] | None = None
) -> Iterator[av.container.InputContainer]:
    """A file, or a part of it, opened by PyAV and closed behind the `with`."""
    if part is None:
        with av.open(str(path), "r") as container:
            yield container
        return
    with ByteRange(path, *part) as file, av.open(file, "r") as container:
        yield container
