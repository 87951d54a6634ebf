"""Checks of what the node allows a process: open files, cores, memory."""

import os
import resource

from codec.doctor.finding import Finding, failing, ok, warning
from codec.doctor.plan import Plan
from data.cores import available_cores

FILES, FILES_PER_WORKER = 256, 64  # a tensor that waits between two processes is an open file
MANY_FILES = 4096
MEMORY_GB, WORKER_GB = 2.0, 0.4  # of a training process on the CPU side, and of a worker (docs/data.md)

OPEN_FILES = 'ulimit -n "$(ulimit -Hn)" before the run (in the job script); where that is still few, limits.conf or LimitNOFILE'
PROCESSOR = "leave trainer.precision as it is: auto (or give 32-true); bf16-mixed is for nodes with AMX or a GPU"
THREADS = "leave OMP_WAIT_POLICY, GOMP_SPINCOUNT and OMP_NUM_THREADS unset: corvid, train.py and eval.py choose them"
CORES = "lower data.workers, or ask for more cores (--cpus-per-task: a core each for workers and training process)"
MEMORY = "ask for more memory (--mem), end other processes, or lower data.workers, data.hold_mb or the batch"


def check_processor(plan: Plan) -> Finding:
    """What the processor lacks for bfloat16, and what follows where no GPU does the work."""
    import torch

    from codec.device import accelerators, multiplies_bf16

    if multiplies_bf16(torch.device("cpu")):
        return ok(f"{torch.backends.cpu.get_cpu_capability()}, multiplies bfloat16")
    found = f"{torch.backends.cpu.get_cpu_capability()}, no AMX and no AVX-512 bf16: bfloat16 is emulated, 10 to 20 times slower"
    if accelerators():
        return ok(f"{found}; a GPU does the work")
    return warning(f"{found} than float32", PROCESSOR)


def check_threads(plan: Plan) -> Finding:
    """Threads that sleep while they wait, and no more of them than cores."""
    import torch

    cores, threads = available_cores(), torch.get_num_threads()
    found = f"{threads} threads for {cores} cores, OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', 'unset')}"
    spinning = os.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE"  # else at most for microseconds
    if threads > cores:
        return warning(f"{found}: more threads than cores", THREADS)
    return warning(f"{found}: threads spin while they wait", THREADS) if spinning and threads > 1 else ok(found)


def check_open_files(plan: Plan) -> Finding:
    """The limit of open files, against what workers and shards take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return ok("no limit")
    need = FILES + FILES_PER_WORKER * plan.workers
    found = f"{soft} (at most {hard if hard != resource.RLIM_INFINITY else 'any number'}), {need} needed"
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
    """Memory that is free, of the node or of the group of processes (container, job) that this one belongs to."""
    from codec.evaluation.memory import left

    room = left()  # what is cached of files gives way: it is free
    free = None if room is None else room / 1e9
    if free is None:
        return warning("this system does not say how much is free", "look yourself: 2 GB and 0.4 GB a worker are the least")
    need = plan.processes * (MEMORY_GB + plan.workers * (WORKER_GB + plan.hold_mb * 2**20 / 1e9 + 3 * plan.batch_mb / 1e3))
    found = f"{free:.1f} GB free, {need:.1f} GB for training and workers"
    if free < need:
        return failing(found, MEMORY)
    return warning(found, MEMORY) if free < 1.5 * need else ok(found)
