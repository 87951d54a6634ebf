"""How torch's threads on the CPU wait and how many there are; to be settled before torch is imported."""

import os

from data.cores import allowed_cores, available_cores

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")  # any of them says how threads wait


def prepare_threads() -> None:
    """Let OpenMP's threads sleep while they wait, and be no more than the cores that may be used.

    OpenMP reads this when its library is loaded, so it is called before torch is imported, first thing in a program; processes
    that this one starts inherit it. What the user has set stays. Threads that spin take the core from whatever else runs there,
    and every parallel region ends with the slowest of them: beside one busy process training took several times longer.
    Where a container or job has a quota of fewer cores than it sees, more threads would only be held up.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    if "OMP_NUM_THREADS" not in os.environ and available_cores() < allowed_cores():
        os.environ["OMP_NUM_THREADS"] = str(available_cores())
