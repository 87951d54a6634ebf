"""How training is asked to stop, and what it ends with; apart from the rest, as it can be imported
at once.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

TRY_AGAIN = 75  # exit status (EX_TEMPFAIL): the same command goes on
INTERRUPTED = 130  # that of Ctrl-C
ASK_TO_STOP = (signal.SIGTERM, signal.SIGUSR1)
PATIENCE = 5.0  # seconds in which a process that is asked to stop before its first step ends


class Stopped(BaseException):
    """Training was asked to stop and did; it says by what. Whoever starts runs exits with
    `TRY_AGAIN`.
    """


class StoppedEarly(Stopped):
    """It was asked before the end of its first step: there is nothing to keep, and others may wait
    for this process.
    """


def stop_early(number: int, frame: FrameType | None = None) -> NoReturn:
    """Handler of signals that come before the end of the first step: says so and raises
    `StoppedEarly`.
    """
    say_early(number)
    raise StoppedEarly(signal.Signals(number).name)


def say_early(number: int) -> None:
    """One line, once, of the first process; by no stream of Python's, as this may interrupt another
    one's use of it.
    """
    text = (
        f"\nstopped before the first step ({signal.Signals(number).name}); the same command goes "
        "on\n"
    )
    rank = next(
        (os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ),
        "0",
    )
    if rank == "0" and number not in _told:
        _told.add(number)
        with suppress(OSError):
            os.write(2, text.encode())


_told: set[int] = set()  # signals of which the line was said


@contextmanager
def stopping_early() -> Iterator[None]:
    """Let signals end what is inside at once."""
    before = {number: signal.signal(number, stop_early) for number in ASK_TO_STOP}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class EndInTime:
    """Ends this process where a signal asks for it and Python cannot, as the main thread waits in a
    library.

    A process that waits for the others of its run, which may never come, waits in C++: handlers in
    Python are called when they have come. To be made in the main thread before that, and disarmed
    when it can no longer happen.

    Args:
        patience: seconds from a signal to the end.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._disarmed = threading.Event()
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        _armed.append(self)
        threading.Thread(target=self._watch, daemon=True, name="end in time").start()

    def disarm(self) -> None:
        """Leave signals to their handlers."""
        if not self._disarmed.is_set():
            self._disarmed.set()
            _armed.remove(self)
            signal.set_wakeup_fd(self._before)
            os.write(
                self._write, bytes(1)
            )  # wakes the thread; a forked process may hold this end, too
            os.close(self._write)

    def _watch(self) -> None:
        while number := os.read(self._read, 1)[0]:
            if number in (*ASK_TO_STOP, signal.SIGINT) and not self._disarmed.wait(self._patience):
                say_early(number)
                os._exit(INTERRUPTED if number == signal.SIGINT else TRY_AGAIN)
        os.close(self._read)


_armed: list[EndInTime] = []


def _leave_to_parent() -> None:
    """In a forked process: signals that come to it are not its parent's."""
    if _armed:
        signal.set_wakeup_fd(-1)
        _armed.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


class StopOnSignal:
    """Remembers that a signal came; before the end of the first step, stops at once.

    To be used around training: `with StopOnSignal() as stop`; the loop calls `listen` and
    `step_done`. The training module asks for `wanted` at every step, agrees with the other
    processes, and raises `Stopped` after all callbacks have seen the step. Until the first step is
    done there is nobody to agree with and nothing to keep: `StoppedEarly` is raised where the
    signal finds the process, which ends in seconds even where it waits in a library.

    Attributes:
        wanted: name of the signal that came, or "".
    """

    def __init__(self) -> None:
        self.wanted = ""
        self._begun, self._process = False, os.getpid()

    def __enter__(self) -> "StopOnSignal":
        self._before = {number: signal.getsignal(number) for number in ASK_TO_STOP}
        self._end_in_time = EndInTime()
        self.listen()
        return self

    def __exit__(self, *error: object) -> None:
        self._end_in_time.disarm()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Handle the signals; again in every stage, as Lightning takes SIGTERM for itself."""
        for number in ASK_TO_STOP:
            signal.signal(number, self._note)

    def step_done(self) -> None:
        """From the first call on, signals are remembered only."""
        self._begun = True
        self._end_in_time.disarm()

    def _note(self, number: int, frame: FrameType | None) -> None:
        first, self.wanted = not self.wanted, signal.Signals(number).name
        if (
            first and not self._begun and os.getpid() == self._process
        ):  # a forked data worker leaves it to its parent
            stop_early(number)
