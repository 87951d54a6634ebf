"""The one error of the data side, and checks of what users give that raise it."""

import logging
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from stat import S_ISREG

from common.errors import CorvidError

REPAIR = "copy or download it again, or remove it"
INTERLACED = (
    "interlaced, and its pairs of fields are read as frames, of which neither motion nor chroma is "
    "right; deinterlace it first (ffmpeg -i IN -vf bwdif OUT.mkv)"
)
REMARKS_OF_A_KIND = 5  # files of which a process says the same at warning level
_remarks: Counter[str] = Counter()
_remarked: set[tuple[str, str]] = set()
log = logging.getLogger(__name__)


class DataError(CorvidError):
    """Bad input to a reader, a data set or a writer; the message names the file or field and the
    remedy.
    """


class OutOfMemory(DataError):
    """A file could not be read for want of memory: the machine's failure, and none of the file."""


def check_at_least(least: int, **fields: float) -> None:
    """DataError naming the first field that is smaller."""
    for name, value in fields.items():
        if value < least:
            raise DataError(f"{name}={value}; give {least} or more")


def check_share(**fields: float) -> None:
    """DataError naming the first field outside 0..1."""
    for name, value in fields.items():
        if not 0 <= value <= 1:
            raise DataError(f"{name}={value}; give a share from 0 to 1")


def check_file(path: Path, size: int | None = None, exact: bool = True) -> os.stat_result:
    """`stat` of a file that is there and not empty; DataError else, or when its bytes are not (at
    least) `size`.
    """
    try:
        stat = path.stat()
    except OSError as error:
        said = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise DataError(f"{path}: {said}; check the path") from error
    if not S_ISREG(stat.st_mode):
        raise DataError(f"{path}: no file; check the path")
    if stat.st_size == 0:
        raise DataError(f"{path}: empty (0 bytes); {REPAIR}")
    if size is not None and (stat.st_size < size or (exact and stat.st_size != size)):
        raise DataError(
            f"{path}: {stat.st_size} bytes, {size} when it was indexed; index again, or {REPAIR}"
        )
    return stat


def check_frame_numbers(indices: Iterable[int], frames: int, path: Path) -> list[int]:
    """Frame numbers as a list; DataError when there are none or one is outside 0..frames - 1."""
    wanted = [int(index) for index in indices]
    if not wanted or min(wanted) < 0 or max(wanted) >= frames:
        raise DataError(f"{path}: frames {wanted} asked for, it holds 0..{frames - 1}")
    return wanted


def remark(path: Path, kind: str, text: str) -> None:
    """Warn once of how a file is read, where that may not be what its owner expects.

    Args:
        path: the file.
        kind: a short name; of the sixth file of a kind on, only the debug log tells.
        text: one line: what the file is, how it is read, what to do against it.
    """
    if (str(path), kind) in _remarked:
        return
    _remarked.add((str(path), kind))
    _remarks[kind] += 1
    more = " (not said of further files)" if _remarks[kind] == REMARKS_OF_A_KIND else ""
    level = logging.WARNING if _remarks[kind] <= REMARKS_OF_A_KIND else logging.DEBUG
    log.log(level, "%s: %s%s", path, text, more)
