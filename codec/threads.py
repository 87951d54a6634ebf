"""How torch's threads on the CPU wait and how many there are; to be settled before torch is
imported.
"""

import os

from data.cores import allowed_cores, available_cores

WAITING = {  # how threads wait, by name of the variable
    "OMP_WAIT_POLICY": "PASSIVE",  # asleep
    "GOMP_SPINCOUNT": "1000",  # after some 10 to 50 microseconds awake, with GNU's OpenMP
}
ALSO_WAITING = ("KMP_BLOCKTIME", "KMP_LIBRARY")  # what Intel's and LLVM's OpenMP call it


def prepare_threads() -> None:
    """Let OpenMP's threads sleep while they wait, and be no more than the cores that may be used.

    OpenMP reads this when its library is loaded, so it is called before torch is imported, first
    thing in a program; processes that this one starts inherit it. What the user has set stays.

    Threads that spin take the core from whatever else runs there, and every parallel region ends
    with the slowest of them: beside one busy process training took several times longer. To be
    woken for every region costs, too: on two free cores a step of the demo takes 1.9 times as long
    with threads that sleep at once, and as long as with spinning ones when they first look 1,000
    times. Where a container or job has a quota of fewer cores than it sees, more threads would
    only be held up.
    """
    if not any(name in os.environ for name in (*WAITING, *ALSO_WAITING)):
        os.environ.update(WAITING)
    if "OMP_NUM_THREADS" not in os.environ and available_cores() < allowed_cores():
        os.environ["OMP_NUM_THREADS"] = str(available_cores())
