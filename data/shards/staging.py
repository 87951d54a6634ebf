"""Where shards are read: where the index says, elsewhere, or copied to a disk of the node."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from common.progress import Progress
from data.errors import REPAIR, DataError
from data.index.table import IndexedSequences
from data.sequences import Sequences
from data.shards.storage import open_path_or_url

MARKER = "corvid-stage-"
PORTION = 2**24  # bytes copied at once
_held: dict[Path, int] = {}  # descriptors of folders, locked while this process runs
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Shard:
    """A shard, its bytes, and where its copy goes; the copy's name says which version of the shard
    it is.
    """

    place: str
    size: int
    target: Path

    @property
    def part(self) -> Path:
        return self.target.with_name(self.target.name + ".part")


def stage_shards(
    files: Sequence[str | Path], folder: Path | str, limit_gb: float
) -> dict[str, Path]:
    """Copy shards to a disk of this node, or go on doing so; several processes of a node may call
    it at once and share the work.

    A copy is kept for later runs; it is renamed when it is whole, and one that was interrupted is
    continued. Copies of other sets are removed when their room is needed and no process uses them.
    Locks are on the files themselves, by the kernel, so nothing is left of a process that dies.

    Args:
        files: paths, or URLs that fsspec knows (s3://...). The first of them are staged, as many as
            fit.
        folder: on a disk of the node; the copies go to a folder in it named after where the files
            are.
        limit_gb: bytes / 1e9 that all that is staged in `folder` may take.

    Returns:
        Where the staged ones are; what is not in it did not fit, which is warned of, and is read
        from where it is.

    Raises:
        DataError: a file is missing or changes, the folder cannot be written or the disk is full.
    """
    places = [str(file) for file in files]
    own = Path(folder) / (
        MARKER
        + hashlib.sha256(
            "\n".join(sorted({_parent(place) for place in places})).encode()
        ).hexdigest()[:12]
    )
    try:
        shards = [_described(place, own) for place in places]
        _remove_old(shards, own)
        shared_lock(own)
        fitting = shards[: _make_room(shards, own, limit_gb * 1e9)]
        _copy_all(fitting, own)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "free it, or lower data.stage_gb" if full else "check data.stage"
        raise DataError(f"{own}: {'the disk is full' if full else error}; {remedy}") from error
    if len(fitting) < len(shards):
        need = sum(shard.size for shard in shards) / 1e9
        log.warning(
            "%s: %d of %d shards staged (%.1f GB in all, limit %g GB); the others are read from "
            "where they are",
            own,
            len(fitting),
            len(shards),
            need,
            limit_gb,
        )
    return {shard.place: shard.target for shard in fitting}


def _parent(place: str) -> str:
    return place.rpartition("/")[0] if "://" in place else str(Path(place).resolve().parent)


def _described(place: str, own: Path) -> _Shard:
    try:
        if "://" in place:
            import fsspec

            system, path = fsspec.core.url_to_fs(place)
            found = system.info(path)
            size = found["size"]
            version = [
                found.get(key) for key in ("ETag", "etag", "LastModified", "mtime", "created")
            ]
        else:
            stat = os.stat(place)
            size = stat.st_size
            version = [stat.st_mtime_ns]
    except Exception as error:  # every storage raises its own kinds
        raise DataError(
            f"{place}: cannot be staged ({error or type(error).__name__}); check the path and the "
            "storage"
        ) from error
    known = hashlib.sha256(f"{place} {size} {version}".encode()).hexdigest()[:12]
    name = place.rpartition("/")[2]
    return _Shard(place, size, own / f"{Path(name).stem}-{known}{Path(name).suffix}")


def _remove_old(shards: list[_Shard], own: Path) -> None:
    """Remove copies of other versions of these shards unless a process uses the set."""
    with exclusive_lock(own) as alone:
        for shard in shards:
            stem = shard.target.stem.rpartition("-")[0]
            suffix = shard.target.suffix
            for old in set(own.glob(f"{stem}-{'[0-9a-f]' * 12}{suffix}*")) - {
                shard.target,
                shard.part,
            }:
                if alone:
                    old.unlink()
                else:
                    log.info("%s: of another version of %s; in use, kept", old, shard.place)


def _make_room(shards: list[_Shard], own: Path, limit: float) -> int:
    """How many of the shards can be staged, after removing what is in the way and nobody's."""
    need = sum(shard.size for shard in shards)
    others = [path for path in own.parent.glob(MARKER + "*") if path.is_dir() and path != own]
    for other in sorted(others, key=_last_used):
        if need <= _room(shards, own, limit):
            break
        _evict(other)
    room = _room(shards, own, limit)
    count = 0
    while count < len(shards) and shards[count].size <= room:
        room -= shards[count].size
        count += 1
    return count


def _room(shards: list[_Shard], own: Path, limit: float) -> float:
    """Bytes that these shards may take, of the limit and of the disk."""
    ours = _size(path for shard in shards for path in (shard.target, shard.part))
    every = _size(path for path in own.parent.glob(MARKER + "*/*"))
    return min(limit - (every - ours), shutil.disk_usage(own).free + ours)


def _size(files: Iterable[Path]) -> int:
    size = 0
    for file in files:
        with suppress(
            FileNotFoundError
        ):  # not yet there, or renamed or removed by another process meanwhile
            size += file.stat().st_size
    return size


def _last_used(folder: Path) -> float:
    with suppress(FileNotFoundError):  # removed by another process meanwhile
        return folder.stat().st_mtime
    return 0.0


def _evict(other: Path) -> None:
    """Remove another set unless a process uses it."""
    with exclusive_lock(other) as alone:
        if alone:
            shutil.rmtree(other, ignore_errors=True)
            log.info("%s: removed to make room", other)
        else:
            log.info("%s: in use, kept", other)


def _copy_all(shards: list[_Shard], own: Path) -> None:
    """Copy what no other process is copying, then wait for those."""
    missing = [shard for shard in shards if not _is_whole(shard)]
    total = sum(shard.size for shard in missing)
    with Progress(f"stage to {own.parent}", total, "B") as progress:
        for wait in (False, True):
            for shard in missing:
                while not _is_whole(shard):
                    with _locked(shard.part, wait) as handle:
                        if handle is not None:
                            _copy(shard, handle, progress)
                        elif not wait:
                            break
        progress.update(total - progress.done)


def _is_whole(shard: _Shard) -> bool:
    return shard.target.is_file() and shard.target.stat().st_size == shard.size


@contextmanager
def _locked(part: Path, wait: bool) -> Iterator[int | None]:
    """The part, open and locked; None when another process has it, or had it and has renamed it."""
    handle = os.open(part, os.O_RDWR | os.O_CREAT, 0o644)
    mine = False
    try:
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            with suppress(FileNotFoundError):
                mine = os.path.samestat(os.fstat(handle), part.stat())
        yield handle if mine else None
    finally:
        os.close(handle)


def _copy(shard: _Shard, handle: int, progress: Progress) -> None:
    """Continue a locked part, its last portion once more, as a machine that stopped may not have
    written it; then rename it.
    """
    if _is_whole(shard):  # by another process, after we looked
        shard.part.unlink()
        return
    done = min(shard.size, max(0, os.fstat(handle).st_size - PORTION))
    os.ftruncate(handle, done)
    os.lseek(handle, done, os.SEEK_SET)
    progress.update(done)
    try:
        with open_path_or_url(shard.place) as source:
            source.seek(done)
            while done < shard.size and (data := source.read(PORTION)):
                done += _written(handle, data)
                progress.update(len(data))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DataError(f"{shard.place}: cannot be read ({error}); check the storage") from error
    if done != shard.size:
        raise DataError(
            f"{shard.place}: {done} bytes read, {shard.size} expected; is it being written? "
            f"{REPAIR}"
        )
    os.fsync(handle)
    os.replace(shard.part, shard.target)


def _written(handle: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
    return len(data)


def shared_lock(folder: Path) -> None:
    """Make a set's folder and mark it as used until this process and its workers end; waits for one
    who removes it.
    """
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
    """Whether our lock is on the folder of that name: it may have been removed and made anew while
    we waited.
    """
    with suppress(FileNotFoundError):
        return folder in _held and os.path.samestat(os.fstat(_held[folder]), folder.stat())
    return False


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[bool]:
    """Whether no process, this one included, uses a set; none can begin to until the `with`
    ends.
    """
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


class ShardLocation:
    """Shards where their index says, somewhere else, or copied to a disk of the node first.

    Args:
        shards: folder or URL of the shards; None is where the index says.
        stage: folder on the node, or None.
        stage_gb: bytes / 1e9 that shards may take there.
        stream: whether shards are to be streamed.
    """

    def __init__(
        self, shards: str | None, stage: str | Path | None, stage_gb: float, stream: bool
    ) -> None:
        self.shards = shards
        self.stage = stage
        self.stage_gb = stage_gb
        self.stream = stream
        self.where: dict[Path, str] = {}

    def place(self, sequences: Sequences) -> None:
        """Copy what is to be staged, and tell `sequences` where its shards are; a stream finds them
        in `where`.

        Raises:
            DataError: a field is given for a set that is not packed, or shards are missing; as
                `stage_shards`.
        """
        packed = sequences.shards if isinstance(sequences, IndexedSequences) else []
        given = [name for name in ("shards", "stage", "stream") if getattr(self, name)]
        if given and not packed:
            raise DataError(
                f"data.{given[0]}: only for sets made by corvid data pack; leave it out, or pack "
                "data.root"
            )
        base = None if self.shards is None else self.shards.rstrip("/")
        self.where = {path: str(path) if base is None else f"{base}/{path.name}" for path in packed}
        if self.stage is not None:
            staged = stage_shards(list(self.where.values()), self.stage, self.stage_gb)
            self.where = {path: str(staged.get(place, place)) for path, place in self.where.items()}
        here = {path: Path(place) for path, place in self.where.items() if "://" not in place}
        if missing := [place for place in here.values() if not place.is_file()]:
            raise DataError(
                f"{missing[0]}: no such shard, {len(missing)} of {len(packed)} are missing; copy "
                "them there, pack again, or say "
                "where they are with data.shards"
            )
        if isinstance(sequences, IndexedSequences) and packed:
            sequences.moved = {str(path): place for path, place in here.items()}
