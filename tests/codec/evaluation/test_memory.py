"""What memory is left, in made-up groups of processes."""

from pathlib import Path

import pytest

from codec.evaluation import memory
from data import cores


def test_limits_of_the_own_group_and_its_parents_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches a cluster job's limit that is not seen, at any level or version, and files' cache
    counted as use.
    """
    own, root = tmp_path / "cgroup", tmp_path / "groups"
    monkeypatch.setattr(cores, "OWN_GROUPS", own)
    monkeypatch.setattr(cores, "GROUPS", root)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "missing")
    assert memory.left() is None
    for folder, limit, used, cached in (
        ("slurm", "max", 9000, 0),
        ("slurm/job_7", "5000", 3000, 1000),
        ("slurm/job_7/task_0", "max", 2000, 0),
        ("slurm/job_8", "10", 0, 0),
    ):
        (root / folder).mkdir(parents=True)
        (root / folder / "memory.max").write_text(f"{limit}\n")
        (root / folder / "memory.current").write_text(f"{used}\n")
        (root / folder / "memory.stat").write_text(f"anon 7\ninactive_file {cached}\n")
    own.write_text("0::/slurm/job_7/task_0\n")
    assert memory.left() == 5000 - (3000 - 1000)
    first = root / "memory/docker/abc"
    first.mkdir(parents=True)
    (first / "memory.limit_in_bytes").write_text("4000\n")
    (first / "memory.usage_in_bytes").write_text("2500\n")
    (first / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 500\n")
    own.write_text("9:cpu,memory:/docker/abc/not:mounted\n5:cpuset:/\n0::/\n")
    assert memory.left() == 4000 - (2500 - 500)
