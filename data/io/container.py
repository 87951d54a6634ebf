"""Container: a file, a part of one, or bytes in memory, opened by PyAV as what they are.

ffmpeg takes names for patterns (`%d`, `*`) and addresses (`concat:`, `http:`), and some formats
name other files. Here a name is a file's, and nothing but files is opened.
"""

import errno
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import av
import av.logging
import numpy as np

from data.errors import REPAIR, DataError, OutOfMemory

if TYPE_CHECKING:
    from typing_extensions import Buffer

PROTOCOLS = {"protocol_whitelist": "file,pipe"}
WHITELIST = ["-protocol_whitelist", "file,pipe"]  # of an ffmpeg command, before each `-i FILE`
PATTERN = re.compile(r"[%*?\[{]")  # what ffmpeg's reader of numbered pictures looks for in a name
PLAYLISTS = ("hls", "dash", "concat", "concatf", "imf", "sdp", "rtsp", "rtp", "tty", "lavfi")
REFUSED_PROTOCOL = re.compile(r"Protocol '([^']*)' not on whitelist")
NO_MEMORY = re.compile(r"cannot allocate|failed to allocate|out of memory", re.IGNORECASE)
Messages = Sequence[tuple[int, str, str]]
SPARE = 2**26  # bytes that must be free for memory not to be to blame


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


def file_url(path: Path | str) -> str:
    """A file's name for ffmpeg, where `concat:a`, `http:x` and `-x` would mean something else."""
    return f"file:{os.fspath(path)}"


@contextmanager
def opened(
    path: Path, part: tuple[int, int] | None = None, container_format: str | None = None
) -> Iterator[av.container.InputContainer]:
    """A file, or a part of it, opened by PyAV and closed behind the `with`.

    Args:
        path: the file.
        part: offset and length, in bytes.
        container_format: ffmpeg's name of a format; None finds it.

    Raises:
        FFmpegError, OSError: it cannot be opened.
    """
    if part is None and PATTERN.search(str(path)):
        part = (0, os.stat(path).st_size)  # without its name, so that nothing can be read into it
    if part is None:
        with av.open(
            file_url(path), "r", format=container_format, options=dict(PROTOCOLS)
        ) as container:
            yield container
        return
    with ByteRange(path, *part) as file, opened_bytes(file, container_format) as container:
        yield container


def opened_bytes(
    file: BinaryIO | io.RawIOBase, container_format: str | None = None
) -> av.container.InputContainer:
    """An open file, or bytes in memory, opened by PyAV; to be closed by a `with`."""
    return av.open(file, "r", format=container_format, options=dict(PROTOCOLS))


@contextmanager
def decoder_errors() -> Iterator[list[tuple[int, str, str]]]:
    """ffmpeg's messages of this thread inside the `with`, errors and worse: of damage that it
    conceals, they are the only sign.

    A decoder must be told `thread_count = 1`, or its messages are other threads'.
    """
    before = av.logging.get_level()
    skipping = av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # or a file before this one is still told about here
    try:
        with av.logging.Capture(True) as messages:
            yield messages
    finally:
        av.logging.set_skip_repeated(skipping)
        av.logging.set_level(before)


def read_failure(
    path: Path, doing: str, error: BaseException | None, messages: Messages = ()
) -> DataError:
    """The error to raise where a file could not be read: the machine's memory, an address that the
    file names, or the file itself is to blame.

    Args:
        path: the file.
        doing: what failed, "cannot be opened" for instance.
        error: what was raised; None where there are only messages.
        messages: what ffmpeg logged, of `decoder_errors`.
    """
    texts = [text.strip() for _, _, text in messages]
    if out_of_memory(error, texts):
        return OutOfMemory(
            f"{path}: {doing} as memory ran out, and the file may be good; read fewer frames at "
            "once, close other programs, or allow more memory (ulimit, the job's limit)"
        )
    refused = next(filter(None, map(REFUSED_PROTOCOL.search, texts)), None)
    if refused:
        return DataError(
            f"{path}: names an address (protocol {refused[1]}), and only files are opened; "
            "download the video, and give that"
        )
    said = getattr(error, "strerror", None) or (str(error) if error else "")
    said = said or (texts[0] if texts else "")
    return DataError(f"{path}: {doing}{f' ({said})' if said else ''}; {REPAIR}")


def out_of_memory(error: BaseException | None, messages: Iterable[str] = ()) -> bool:
    """Whether a failure is one of memory: ffmpeg says so, or calls a good file invalid when none is
    left.
    """
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    if any(map(NO_MEMORY.search, messages)):
        return True
    try:
        np.empty(SPARE, np.uint8)  # asks for the addresses, and touches none
    except MemoryError:
        return True
    return False
