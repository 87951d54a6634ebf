import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from codec.training.shutdown import ASK_TO_STOP, StopOnSignal, Stopped, StoppedEarly, stopping_early

ROOT = Path(__file__).parents[3]
WAITS = """
import signal
import torch
# Ignored where the tests run in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
from codec.training.shutdown import EndInTime, stopping_early
waiting = EndInTime(patience=0.1)
with stopping_early():
    print("waits", flush=True)
    torch.distributed.TCPStore("127.0.0.1", 0, world_size=2, is_master=True, wait_for_workers=True)
"""
WAITS_NO_MORE = """
import os, signal, time
from codec.training.shutdown import StopOnSignal
with StopOnSignal() as stop:
    stop._end_in_time._patience = 0.0
    stop.step_done()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1)
    print(stop.wanted)
"""
FORKED = """
import os, signal, time
from codec.training.shutdown import StopOnSignal
with StopOnSignal() as stop:
    stop._end_in_time._patience = 0.0
    if not (child := os.fork()):
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(7 if stop.wanted else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    time.sleep(1)
    print("on", stop.wanted)
"""


@pytest.mark.parametrize("number", ASK_TO_STOP)
def test_before_the_first_step_a_signal_ends_the_run_at_once(
    number: int, capfd: pytest.CaptureFixture
):
    """Catches a run that waits for data, a compiler or other processes and does not listen, and a
    handler that stays behind.
    """
    before = signal.getsignal(number)
    with pytest.raises(StoppedEarly, match=signal.Signals(number).name), StopOnSignal():
        os.kill(os.getpid(), number)
        time.sleep(5)
    with pytest.raises(StoppedEarly), stopping_early():
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert signal.getsignal(number) == before and issubclass(StoppedEarly, Stopped)
    assert capfd.readouterr().err.count("stopped before the first step") <= 1


def test_after_the_first_step_it_is_noted():
    """Catches a step that is lost to a signal, and checkpoints of half a step."""
    with StopOnSignal() as stop:
        stop.step_done()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.wanted == "SIGUSR1"


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_process_that_waits_for_others_in_a_library_ends(number: int, code: int):
    """Catches a job of too few processes that can only be killed: handlers in Python are not called
    while C++ waits.
    """
    with subprocess.Popen(
        [sys.executable, "-c", WAITS],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as waits:
        assert waits.stdout.readline() == "waits\n"
        time.sleep(1)
        waits.send_signal(number)
        assert waits.wait(60) == code, waits.stderr.read()
        assert (
            f"stopped before the first step ({signal.Signals(number).name})" in waits.stderr.read()
        )


@pytest.mark.parametrize("code, said", [(WAITS_NO_MORE, "SIGTERM\n"), (FORKED, "on \n")])
def test_training_that_has_begun_and_signals_of_workers_are_left_alone(code: str, said: str):
    """Catches a run that is ended in the middle of a checkpoint, or because one of its data workers
    was told to end.
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, said), done.stderr
