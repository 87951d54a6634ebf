"""Staging shards to a node's disk: bounded, resumable, shared by processes."""

import errno
import fcntl
import multiprocessing
import os
from pathlib import Path

import fsspec
import numpy as np
import pytest

from data.errors import DataError
from data.shards import staging
from data.shards.staging import MARKER, stage_shards

SIZE = 40_000
GB = 1e9


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Three files of `SIZE` random bytes."""
    folder = tmp_path / "set"
    folder.mkdir()
    paths = [folder / f"shard-{number:06d}.tar" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(np.random.default_rng(number).bytes(SIZE))
    return paths


def same(staged: dict[str, Path]) -> bool:
    return all(Path(place).read_bytes() == copy.read_bytes() for place, copy in staged.items())


def end_run(staged: dict[str, Path]) -> None:
    """Give up the lock on a set, as the end of its process does."""
    os.close(staging._held.pop(next(iter(staged.values())).parent))


def test_copies_are_whole_and_kept(tmp_path: Path, shards: list[Path]):
    """Catches copies that differ, are made again every run, or leave locks and parts behind."""
    staged = stage_shards(shards, tmp_path / "node", 1)
    assert list(staged) == list(map(str, shards)) and same(staged)
    before = {copy: (copy.stat().st_ino, copy.stat().st_mtime_ns) for copy in staged.values()}
    assert stage_shards(shards, tmp_path / "node", 1) == staged
    assert {
        copy: (copy.stat().st_ino, copy.stat().st_mtime_ns) for copy in staged.values()
    } == before
    assert {path for path in (tmp_path / "node").rglob("*") if path.is_file()} == set(before)


def test_what_does_not_fit_stays(
    tmp_path: Path, shards: list[Path], caplog: pytest.LogCaptureFixture
):
    """Catches a full disk where a limit was given, and shards left out unsaid."""
    staged = stage_shards(shards, tmp_path / "node", 2.5 * SIZE / GB)
    assert list(staged) == list(map(str, shards[:2])) and same(staged)
    assert "2 of 3 shards staged" in caplog.text and "read from where they are" in caplog.text


def test_interrupted_copy_goes_on(
    tmp_path: Path, shards: list[Path], monkeypatch: pytest.MonkeyPatch
):
    """Catches a part taken for the whole, and bytes lost or doubled where it went on."""
    monkeypatch.setattr(staging, "PORTION", 1000)
    written = staging._written

    def breaks(handle: int, data: bytes) -> int:
        if os.fstat(handle).st_size >= 10_000:
            raise KeyboardInterrupt
        return written(handle, data)

    monkeypatch.setattr(staging, "_written", breaks)
    with pytest.raises(KeyboardInterrupt):
        stage_shards(shards, tmp_path / "node", 1)
    [part] = (tmp_path / "node").rglob("*.part")
    assert part.stat().st_size == 10_000
    copied = []
    monkeypatch.setattr(
        staging, "_written", lambda handle, data: copied.append(len(data)) or written(handle, data)
    )
    assert same(stage_shards(shards, tmp_path / "node", 1))
    assert sum(copied) == 3 * SIZE - 9_000
    assert not list((tmp_path / "node").rglob("*.part"))


def test_changed_shard_is_copied_again(tmp_path: Path, shards: list[Path]):
    """Catches an old copy read for a new shard, and old copies that stay for ever."""
    before = stage_shards(shards, tmp_path / "node", 1)
    shards[1].write_bytes(np.random.default_rng(9).bytes(SIZE))
    end_run(before)
    after = stage_shards(shards, tmp_path / "node", 1)
    assert (
        same(after)
        and not before[str(shards[1])].exists()
        and before[str(shards[0])] == after[str(shards[0])]
    )


def test_old_copies_that_a_job_reads_stay(tmp_path: Path, shards: list[Path]):
    """Catches a shard taken from under a running job by another that stages a newer version of
    it.
    """
    before = stage_shards(shards, tmp_path / "node", 1)
    shards[1].write_bytes(np.random.default_rng(9).bytes(SIZE))
    other = multiprocessing.get_context("spawn").Process(
        target=_stage, args=(shards, tmp_path / "node")
    )
    other.start()
    other.join(60)
    assert other.exitcode == 0 and before[str(shards[1])].exists()
    after = stage_shards(shards, tmp_path / "node", 1)
    assert same(after) and after[str(shards[1])] != before[str(shards[1])]


def test_a_set_removed_while_we_wait_is_locked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches a lock on a folder that is gone: the next process that needs room would remove a set
    in use.
    """
    own, lock = tmp_path / f"{MARKER}own", fcntl.flock
    gone = []

    def evicted_meanwhile(handle: int, how: int) -> None:
        if len(gone) < 2:
            own.rmdir()
            if gone:
                own.mkdir()  # by a third process
            gone.append(handle)
        lock(handle, how)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", evicted_meanwhile)
        staging.shared_lock(own)
    assert len(gone) == 2
    staging._evict(own)
    assert own.exists()


def test_a_set_made_anew_is_not_removed_for_its_old_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches two processes that make room, of which the slower removes what a third has begun to
    use.
    """
    own, lock = tmp_path / f"{MARKER}own", fcntl.flock
    own.mkdir()

    def replaced_meanwhile(handle: int, how: int) -> None:
        own.rename(tmp_path / "removed")
        own.mkdir()
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", replaced_meanwhile)
    staging._evict(own)
    assert own.exists()


def test_other_sets_make_room(tmp_path: Path, shards: list[Path], monkeypatch: pytest.MonkeyPatch):
    """Catches sets removed that are in use, whose room is not needed, or that are not ours; and a
    node filled by old sets.
    """
    node = tmp_path / "node"
    theirs = node / "mine"
    theirs.mkdir(parents=True)
    (theirs / "file").write_bytes(bytes(SIZE))
    old, used = node / f"{MARKER}old", node / f"{MARKER}used"
    for folder in (old, used):
        folder.mkdir()
        (folder / "a.tar").write_bytes(bytes(SIZE))
    staging.shared_lock(used)
    stage_shards(shards[:1], node, 3 * SIZE / GB)
    assert old.exists() and used.exists()
    staged = stage_shards(shards, node, 4.5 * SIZE / GB)
    assert (
        len(staged) == 3
        and not old.exists()
        and (used / "a.tar").exists()
        and (theirs / "file").exists()
    )


def test_from_object_storage(tmp_path: Path, shards: list[Path]):
    """Catches URLs treated as paths."""
    urls = [f"memory://bucket/{path.name}" for path in shards]
    for url, path in zip(urls, shards, strict=True):
        with fsspec.open(url, "wb") as file:
            file.write(path.read_bytes())
    staged = stage_shards(urls, tmp_path / "node", 1)
    assert [staged[url].read_bytes() for url in urls] == [path.read_bytes() for path in shards]


def test_errors_say_what_to_do(tmp_path: Path, shards: list[Path], monkeypatch: pytest.MonkeyPatch):
    """Catches a bare OSError in the middle of a training's start."""
    with pytest.raises(DataError, match=r"gone\.tar: cannot be staged .*check the path"):
        stage_shards([tmp_path / "gone.tar"], tmp_path / "node", 1)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file.*check data\.stage"):
        stage_shards(shards, tmp_path / "file", 1)

    def full(handle: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(staging, "_written", full)
    with pytest.raises(DataError, match=r"the disk is full; free it, or lower data\.stage_gb"):
        stage_shards(shards, tmp_path / "node", 1)


def _stage(shards: list[Path], node: Path) -> None:
    staging.PORTION = 1000
    stage_shards(shards, node, 1)


def test_processes_share_the_work(tmp_path: Path, shards: list[Path]):
    """Catches ranks of one node that write into each other's copies."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_stage, args=(shards, tmp_path / "node")) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert same(stage_shards(shards, tmp_path / "node", 1))
    assert len([path for path in (tmp_path / "node").rglob("*") if path.is_file()]) == 3
