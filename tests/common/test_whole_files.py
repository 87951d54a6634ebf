import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import common.files
from common.files import WriteError, append_line, new_version, remove_parts, write_text


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no tmpfs can be mounted here; the test with a pretended full disk runs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_what_was_there(small_disk: Path):
    """Catches a checkpoint lost to the next one, a .part file that keeps the disk full, and torch's
    words for it.
    """
    path = small_disk / "a.ckpt"
    with new_version(path) as file:
        torch.save({"a": torch.zeros(10)}, file)
    said = r"a.ckpt: not written, the disk is full \(4.0 MB needed, 2.\d MB free\).*same command"
    with pytest.raises(WriteError, match=said), new_version(path, 4_000_000) as file:
        torch.save({"a": torch.zeros(1_000_000)}, file)
    assert torch.equal(torch.load(path)["a"], torch.zeros(10)) and os.listdir(small_disk) == [
        "a.ckpt"
    ]
    (small_disk / "ballast").write_bytes(bytes(small_disk.stat().st_blksize))
    with pytest.raises(WriteError, match="rows: not written, the disk is full"):
        append_line(small_disk / "rows", "x" * 3_000_000)


def test_a_disk_that_refuses_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Catches the same where no small disk can be made: the error comes when the file is flushed to
    the disk.
    """
    write_text(tmp_path / "a", "old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(common.files.os, "fsync", full)
    with pytest.raises(WriteError, match="a: not written, the disk is full"):
        write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old" and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "number, said",
    [
        (errno.EDQUOT, r"the disk is full \(0.0 MB needed, .* MB free\); .*Free space and"),
        (errno.EROFS, "Read-only file system; .*Make its folder writable and"),
        (errno.EIO, "Input/output error; .*Look at the disk and"),
    ],
)
def test_the_remedy_is_of_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
):
    """Catches somebody who removes files because a disk is broken."""

    def refuse(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(common.files.os, "fsync", refuse)
    with pytest.raises(WriteError, match=f"a: not written, {said} give the same command again"):
        write_text(tmp_path / "a", "new")


def test_other_errors_stay_what_they_are(tmp_path: Path):
    """Catches a mistake of ours, or Ctrl-C, that is called a full disk."""
    for error in (ValueError("no"), KeyboardInterrupt()):
        with pytest.raises(type(error)), new_version(tmp_path / "a"):
            raise error
    assert os.listdir(tmp_path) == []


def test_what_dead_processes_left_is_removed(tmp_path: Path):
    """Catches half-written files that fill a disk, one a kill."""
    for name in ("last.ckpt.123.part", "last.ckpt"):
        (tmp_path / name).write_text("")
    remove_parts(tmp_path)
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_names_of_any_length(tmp_path: Path):
    """Catches a name that is good for the file and too long for its part."""
    path = tmp_path / ("ä" * 125 + ".json")
    write_text(path, "{}")
    assert path.read_text() == "{}" and list(tmp_path.iterdir()) == [path]
