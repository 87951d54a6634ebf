"""Checks of how the run will be stopped: by signals, and under SLURM."""

import os
import re
import signal
import subprocess

from codec.doctor.finding import Finding, ok, warning
from codec.doctor.plan import Plan

STOPS = (signal.SIGTERM, signal.SIGUSR1)
SIGNALS = "start the run from a shell that does not ignore them (trap - TERM USR1)"
REQUEUE = "in the job script: #SBATCH --requeue and --signal=USR1@120, as docs/failures.md shows"


def check_signals(plan: Plan) -> Finding:
    """SIGTERM and SIGUSR1 reach the process; a parent that ignores them hands that on."""
    ignored = [stop.name for stop in STOPS if signal.getsignal(stop) == signal.SIG_IGN]
    if ignored:
        return warning(f"{', '.join(ignored)} ignored: no checkpoint before the job is killed", SIGNALS)
    return ok(" and ".join(stop.name for stop in STOPS) + ": a checkpoint, then the end with code 75")


def check_job(plan: Plan) -> Finding:
    """In a SLURM job: that it may be queued again."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return ok("not in a job")
    said = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=True, timeout=20).stdout
    facts = dict(re.findall(r"(\w+)=(\S+)", said))
    found = f"job {job}, Requeue={facts.get('Requeue')}, TimeLimit={facts.get('TimeLimit')}"
    return ok(found) if facts.get("Requeue") == "1" else warning(found, REQUEUE)
