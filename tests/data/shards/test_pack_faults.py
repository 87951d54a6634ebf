"""Packing when processes are lost or the disk is full."""

import errno
import re
from concurrent.futures import Future
from pathlib import Path

import pytest
from pebble import ProcessExpired

from data.errors import DataError
from data.shards import pack as run
from data.shards.member import Packed
from data.shards.options import PackOptions
from data.shards.pack import pack
from data.shards.plan import Plan


@pytest.mark.parametrize(
    ("error", "reason"),
    [(TimeoutError(), "took more than 380 s"), (ProcessExpired("", 9), "died .exit code")],
)
def test_lost_processes_are_rejections(tmp_path: Path, index_of, error: Exception, reason: str):
    """Catches one file that hangs or crashes its process and ends the whole job."""
    [member] = Plan(index_of("h264.mp4"), PackOptions()).members(range(1))
    future: Future[Packed] = Future()
    future.set_exception(error)
    path, first, frames, said = run._outcome(member, future)
    assert (path, first, frames) == ("h264.mp4", 0, 40) and re.search(
        rf"h264\.mp4: .*{reason}", said
    )


def test_full_disk_stops_at_once(tmp_path: Path, index_of, monkeypatch: pytest.MonkeyPatch):
    """Catches a full disk taken for two million bad files."""

    def full(*_: object, **__: object) -> Packed:
        raise OSError(errno.ENOSPC, "No space left on device", "scratch")

    monkeypatch.setattr(run, "pack_member", full)
    with pytest.raises(DataError, match="scratch: No space left on device; make room"):
        pack(Plan(index_of("h264.mp4", "hevc.mp4"), PackOptions()), tmp_path / "out", workers=0)
    assert not (tmp_path / "out" / "rejected.csv").exists()
