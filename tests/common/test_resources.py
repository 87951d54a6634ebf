"""What cores and memory there are, in made-up groups of processes."""

import os
from pathlib import Path

import pytest

from common import resources


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of eight cores, whose groups are below this folder."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(resources, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(resources, "GROUPS", tmp_path / "groups")
    return tmp_path / "groups"


def write(folder: Path, **files: str) -> None:
    """Files of a group."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_quotas_of_the_own_group_and_its_parents_are_seen(groups: Path, tmp_path: Path):
    """Catches a container of two cores on a machine of eight that gets eight threads, at any level
    or version of groups.
    """
    assert resources.available_cores() == resources.allowed_cores() == 8
    (tmp_path / "own").write_text("0::/slurm/job_7/task_0\n")
    assert resources.available_cores() == 8
    write(groups / "slurm/job_7", cpu__max="250000 100000\n")
    write(groups / "slurm/job_7/task_0", cpu__max="max 100000\n")
    write(groups / "slurm/job_8", cpu__max="100000 100000\n")
    assert resources.available_cores() == 2 and resources.allowed_cores() == 8
    write(groups / "slurm", cpu__max="50000 100000\n")
    assert resources.available_cores() == 1
    (tmp_path / "own").write_text("4:cpu,cpuacct:/docker/a:b\n3:memory:/\n0::/\n")
    write(groups / "cpu/docker/a:b", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert resources.available_cores() == 8
    write(groups / "cpu/docker", cpu__cfs_quota_us="300000\n", cpu__cfs_period_us="100000\n")
    assert resources.available_cores() == 3


def test_a_quota_above_the_affinity_changes_nothing(groups: Path, tmp_path: Path):
    """Catches more threads than the cores that a process may run on, and a broken file that ends
    the program.
    """
    (tmp_path / "own").write_text("0::/\n")
    write(groups, cpu__max="6400000 100000\n")
    assert resources.available_cores() == 8
    write(groups, cpu__max="\n")
    assert resources.available_cores() == 8


def test_limits_of_the_own_group_and_its_parents_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches a cluster job's limit that is not seen, at any level or version, and files' cache
    counted as use.
    """
    own, root = tmp_path / "cgroup", tmp_path / "groups"
    monkeypatch.setattr(resources, "OWN_GROUPS", own)
    monkeypatch.setattr(resources, "GROUPS", root)
    monkeypatch.setattr(resources, "MEMINFO", tmp_path / "missing")
    assert resources.free_memory() is None
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
    assert resources.free_memory() == 5000 - (3000 - 1000)
    first = root / "memory/docker/abc"
    first.mkdir(parents=True)
    (first / "memory.limit_in_bytes").write_text("4000\n")
    (first / "memory.usage_in_bytes").write_text("2500\n")
    (first / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 500\n")
    own.write_text("9:cpu,memory:/docker/abc/not:mounted\n5:cpuset:/\n0::/\n")
    assert resources.free_memory() == 4000 - (2500 - 500)
