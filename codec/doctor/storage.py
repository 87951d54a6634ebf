"""Checks of disks: of the run's folder, and the one in memory that workers hand over batches through."""

import os
import shutil
import tempfile
import time
from pathlib import Path

from codec.doctor.finding import Finding, failing, ok, warning
from codec.doctor.plan import Plan, existing

SHARED_MEMORY = Path("/dev/shm")
READ_AHEAD = 3  # batches of each worker: two that wait and one that is made
UNKNOWN_CHECKPOINT = 0.3e9  # bytes, where there is none yet
BESIDE_STAGES = 6  # checkpoints: best, the last ones, and one that is being written
COMFORTABLE = 20e9  # bytes
WRITTEN = 64 * 2**20  # bytes, for the speed
SLOW = 50e6  # bytes a second
SKEW = 5.0  # seconds

DISK = "free the disk, check its quota and that you may write there, or choose another folder with run="
SHARED = "give more: mount -o remount,size=16G /dev/shm, docker run --shm-size=16g; or lower data.workers (0 needs none)"
CLOCK = "have the node's clock set (chrony, ntpd); wrong clocks break TLS and with it wandb, and the order of files"


def check_disk(plan: Plan) -> Finding:
    """Room for the checkpoints of all stages."""
    folder = existing(plan.folder)
    last = plan.folder / "last.ckpt"
    size = last.stat().st_size if last.is_file() else UNKNOWN_CHECKPOINT
    need, free = (plan.stages + BESIDE_STAGES) * size, shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free at {folder}, {need / 1e9:.1f} GB for checkpoints"
    if free < need:
        return failing(found, DISK)
    return warning(found, DISK) if free < max(2 * need, COMFORTABLE) else ok(found)


def check_writing(plan: Plan) -> Finding:
    """Write to the run's disk and have it confirmed, as checkpoints are."""
    folder = existing(plan.folder)
    block = os.urandom(2**20)
    started = time.perf_counter()
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(WRITTEN // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    speed = WRITTEN / (time.perf_counter() - started)
    found = f"{speed / 1e6:.0f} MB/s written and synchronised at {folder}"
    return ok(found) if speed >= SLOW else warning(found, "raise checkpoint_every, or choose a faster disk with run=")


def check_shared_memory(plan: Plan) -> Finding:
    """Room for the batches that all workers have ready."""
    if not SHARED_MEMORY.is_dir():
        return ok(f"no {SHARED_MEMORY} on this system")
    need = plan.processes * plan.workers * READ_AHEAD * plan.batch_mb * 1e6
    free = shutil.disk_usage(SHARED_MEMORY).free
    found = f"{free / 1e9:.2f} GB free in {SHARED_MEMORY}, {need / 1e9:.2f} GB for the batches of {plan.workers} workers"
    if free < need:
        return failing(found, SHARED)
    return warning(found, SHARED) if free < 2 * need else ok(found)


def check_clock(plan: Plan) -> Finding:
    """The clock is not behind Corvid's own files, and agrees with that of the run's disk, which may be a server's."""
    now, installed = time.time(), Path(__file__).stat().st_mtime
    if now < installed - SKEW:
        return failing(f"{time.ctime(now)}, before Corvid was installed ({time.ctime(installed)})", CLOCK)
    with tempfile.TemporaryFile(dir=existing(plan.folder)) as file:
        file.write(b"now")
        file.flush()
        away = os.fstat(file.fileno()).st_mtime - time.time()
    found = f"{time.ctime(now)}, {abs(away):.1f} s from the run's disk"
    return ok(found) if abs(away) < SKEW else warning(found, CLOCK)
