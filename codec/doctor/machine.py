"""Checks of the node: GPUs, processor, memory, limits, disks, clock."""

import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

from codec.doctor.plan import Finding, Plan, existing, failing, ok, warning
from common.resources import available_cores, free_memory

DRIVER = (
    "look at nvidia-smi; install a driver that suits torch's CUDA version, "
    "or a torch that suits the driver"
)
NONE_SEEN = f"is one there? Ask for it in the job (--gpus), look at CUDA_VISIBLE_DEVICES; {DRIVER}"
FILES = 256
FILES_PER_WORKER = 64  # a tensor that waits between two processes is an open file
MANY_FILES = 4096
MEMORY_GB = 2.0  # of a training process on the CPU side
WORKER_GB = 0.4  # of a worker (docs/data.md)

OPEN_FILES = (
    'ulimit -n "$(ulimit -Hn)" before the run (in the job script); '
    "where that is still few, limits.conf or LimitNOFILE"
)
PROCESSOR = (
    "leave trainer.precision as it is: auto (or give 32-true); "
    "bf16-mixed is for nodes with AMX or a GPU"
)
THREADS = (
    "leave OMP_WAIT_POLICY, GOMP_SPINCOUNT and OMP_NUM_THREADS unset: "
    "corvid, train.py and eval.py choose them"
)
CORES = (
    "lower data.workers, or ask for more cores "
    "(--cpus-per-task: a core each for workers and training process)"
)
MEMORY = (
    "ask for more memory (--mem), end other processes, "
    "or lower data.workers, data.hold_mb or the batch"
)

SHARED_MEMORY = Path("/dev/shm")
READ_AHEAD = 3  # batches of each worker: two that wait and one that is made
CHECKPOINT = 0.3e9  # bytes, where there is none yet
OTHER_CHECKPOINTS = 6  # best, the last ones, and one that is being written
PLENTY = 20e9  # bytes
WRITTEN = 64 * 2**20  # bytes, for the speed
SLOW = 50e6  # bytes a second
SKEW = 5.0  # seconds

DISK = (
    "free the disk, check its quota and that you may write there, "
    "or choose another folder with run="
)
SHARED = (
    "give more: mount -o remount,size=16G /dev/shm, docker run --shm-size=16g; "
    "or lower data.workers (0 needs none)"
)
CLOCK = (
    "have the node's clock set (chrony, ntpd); "
    "wrong clocks break TLS and with it wandb, and the order of files"
)


def check_gpus(plan: Plan) -> Finding:
    """As many GPUs as the run has processes, and a product on the first."""
    import torch

    from codec.device import accelerators, default_device

    found = accelerators()
    if not found:
        return warning("none: training will be on the CPU", NONE_SEEN)
    if len(found) < plan.processes:
        return failing(
            f"{len(found)} for {plan.processes} processes: {', '.join(found)}",
            "lower trainer.devices",
        )
    ones = torch.ones(16, 16, device=default_device())
    if (ones @ ones).unique().tolist() != [16.0]:
        return failing(
            f"{found[0]} computes wrongly", "have the GPU's memory checked; take another node"
        )
    return ok(", ".join(found))


def check_driver(plan: Plan) -> Finding:
    """The driver, and that torch can use every GPU that it knows of."""
    from codec.device import accelerators, driver

    facts = driver()
    usable = accelerators()
    if not facts["gpus"] and not usable:
        return ok("not needed without a GPU")
    found = (
        f"driver {facts['driver'] or 'unknown'}, torch for CUDA {facts['runtime'] or 'none'}, "
        f"cuDNN {facts['cudnn'] or 'none'}"
    )
    if not usable:
        return failing(f"{found}: torch cannot use {facts['gpus']}", DRIVER)
    return ok(found)


def check_processor(plan: Plan) -> Finding:
    """Whether the processor multiplies bfloat16, where no GPU does the work."""
    import torch

    from codec.device import accelerators, multiplies_bf16

    capability = torch.backends.cpu.get_cpu_capability()
    if multiplies_bf16(torch.device("cpu")):
        return ok(f"{capability}, multiplies bfloat16")
    found = f"{capability}, no AMX and no AVX-512 bf16: bfloat16 is emulated, 10 to 20 times slower"
    if accelerators():
        return ok(f"{found}; a GPU does the work")
    return warning(f"{found} than float32", PROCESSOR)


def check_threads(plan: Plan) -> Finding:
    """Threads that sleep while they wait, and no more of them than cores."""
    import torch

    cores = available_cores()
    threads = torch.get_num_threads()
    policy = os.environ.get("OMP_WAIT_POLICY", "unset")
    found = f"{threads} threads for {cores} cores, OMP_WAIT_POLICY={policy}"
    spinning = policy.upper() != "PASSIVE"  # else at most for microseconds
    if threads > cores:
        return warning(f"{found}: more threads than cores", THREADS)
    if spinning and threads > 1:
        return warning(f"{found}: threads spin while they wait", THREADS)
    return ok(found)


def check_open_files(plan: Plan) -> Finding:
    """The limit of open files, against what workers and shards take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return ok("no limit")
    need = FILES + FILES_PER_WORKER * plan.workers
    most = hard if hard != resource.RLIM_INFINITY else "any number"
    found = f"{soft} (at most {most}), {need} needed"
    if soft < need:
        return failing(found, OPEN_FILES)
    return warning(found, OPEN_FILES) if soft < MANY_FILES else ok(found)


def check_cores(plan: Plan) -> Finding:
    """A core for each worker and each training process, of those that this process may use."""
    cores = available_cores()
    need = plan.processes * (plan.workers + 1)
    found = f"{cores} cores for {plan.processes} × (training process + {plan.workers} workers)"
    return ok(found) if need <= cores else warning(found, CORES)


def check_memory(plan: Plan) -> Finding:
    """Memory that is free, of the node or of this process's cgroup (container, job)."""
    available = free_memory()  # memory that caches files counts as free
    free = None if available is None else available / 1e9
    if free is None:
        return warning(
            "this system does not say how much is free",
            "look yourself: 2 GB and 0.4 GB a worker are the least",
        )
    worker = WORKER_GB + plan.hold_mb * 2**20 / 1e9 + READ_AHEAD * plan.batch_mb / 1e3
    need = plan.processes * (MEMORY_GB + plan.workers * worker)
    found = f"{free:.1f} GB free, {need:.1f} GB for training and workers"
    if free < need:
        return failing(found, MEMORY)
    return warning(found, MEMORY) if free < 1.5 * need else ok(found)


def check_disk(plan: Plan) -> Finding:
    """Room for the checkpoints of all stages."""
    folder = existing(plan.folder)
    last = plan.folder / "last.ckpt"
    size = last.stat().st_size if last.is_file() else CHECKPOINT
    need = (plan.stages + OTHER_CHECKPOINTS) * size
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free at {folder}, {need / 1e9:.1f} GB for checkpoints"
    if free < need:
        return failing(found, DISK)
    return warning(found, DISK) if free < max(2 * need, PLENTY) else ok(found)


def check_writing(plan: Plan) -> Finding:
    """Write to the run's disk and synchronise, as for checkpoints."""
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
    if speed < SLOW:
        return warning(found, "raise checkpoint_every, or choose a faster disk with run=")
    return ok(found)


def check_shared_memory(plan: Plan) -> Finding:
    """Room for the batches that all workers have ready."""
    if not SHARED_MEMORY.is_dir():
        return ok(f"no {SHARED_MEMORY} on this system")
    need = plan.processes * plan.workers * READ_AHEAD * plan.batch_mb * 1e6
    free = shutil.disk_usage(SHARED_MEMORY).free
    found = (
        f"{free / 1e9:.2f} GB free in {SHARED_MEMORY}, "
        f"{need / 1e9:.2f} GB for the batches of {plan.workers} workers"
    )
    if free < need:
        return failing(found, SHARED)
    return warning(found, SHARED) if free < 2 * need else ok(found)


def check_clock(plan: Plan) -> Finding:
    """The clock is not behind Corvid's own files, and agrees with the run's disk."""
    now = time.time()
    installed = Path(__file__).stat().st_mtime
    if now < installed - SKEW:
        return failing(
            f"{time.ctime(now)}, before Corvid was installed ({time.ctime(installed)})", CLOCK
        )
    with tempfile.TemporaryFile(dir=existing(plan.folder)) as file:
        file.write(b"now")
        file.flush()
        away = os.fstat(file.fileno()).st_mtime - time.time()
    found = f"{time.ctime(now)}, {abs(away):.1f} s from the run's disk"
    return ok(found) if abs(away) < SKEW else warning(found, CLOCK)
