"""Other programs: run to their end, what they say when they fail, and what they took."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from codec.errors import CodecError

SAID_LINES = 20
_RUNNING: set[subprocess.Popen[bytes]] = set()

# A small process between us and the program: getrusage would count what a large parent held when it
# was forked.
_MEASURE = """
import resource, subprocess, sys, time
start = time.perf_counter()
null = subprocess.DEVNULL
done = subprocess.run(sys.argv[1:], stdin=null, stdout=null, stderr=subprocess.PIPE)
seconds = time.perf_counter() - start
sys.stderr.buffer.write(done.stderr)
unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
print(seconds, peak)
sys.exit(done.returncode)
"""


@dataclass(frozen=True)
class Taken:
    """Wall seconds of a program and its peak of resident memory in MiB."""

    seconds: float
    memory_mb: float


def run(
    command: Sequence[str], stdin: bytes | memoryview | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end.

    Args:
        command: the executable and its arguments.
        stdin: what it reads from its standard input; without it the input is closed, so it never
            waits for a key.
        folder: where it runs.

    Returns:
        The finished process with `stdout` and `stderr`.

    Raises:
        CodecError: it cannot be started or ended with an error; the message holds the command and
            the end of what it said.
    """
    source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
    try:
        process = subprocess.Popen(
            command, cwd=folder, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise CodecError(
            f"{command[0]}: cannot be run ({error.strerror}); give the path of an executable"
        ) from error
    _RUNNING.add(process)
    try:
        with process:
            try:
                # its stub knows bytes alone; any buffer will do
                out, said = process.communicate(stdin)  # type: ignore[arg-type]
            except BaseException:
                process.kill()
                raise
    finally:
        _RUNNING.discard(process)
    if process.returncode != 0:
        raise CodecError(failure(command, process.returncode, said or out))
    return subprocess.CompletedProcess(command, process.returncode, out, said)


def measure(command: Sequence[str], folder: Path | None = None) -> Taken:
    """Run a program alone, and what it took; errors are those of `run`."""
    done = run([sys.executable, "-I", "-S", "-c", _MEASURE, *command], folder=folder)
    seconds, memory = done.stdout.split()
    return Taken(float(seconds), float(memory))


def failure(command: Sequence[str], status: int, said: bytes) -> str:
    """What a reader needs to know of a program that failed."""
    lines = said.decode(errors="replace").strip().splitlines()[-SAID_LINES:]
    name = [Path(command[0]).name, *command[1:]]
    return f"{' '.join(name)}\nended with {status}:\n" + "\n".join(lines)


def kill_running() -> None:
    """End the programs that this process waits for; for the moment before it ends itself."""
    for process in list(_RUNNING):
        process.kill()
