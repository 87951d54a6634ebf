"""How far long work is: a bar at a terminal, a plain line every half minute in a log."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, ClassVar, TextIO, TypeVar

from tqdm import tqdm

T = TypeVar("T")
EVERY = 30.0  # seconds from one line to the next
SLACK = 5.0  # more that a line waits for the end of a step, whose numbers are newer
_TIMES = ((90, 1, "s"), (90 * 60, 60, "min"), (48 * 3600, 3600, "h"), (float("inf"), 86400, "days"))
_RATES = ((1, "s"), (60, "min"), (3600, "h"))


class Progress:
    """Shows how far work is, to be used around it: `with Progress("compress", 300) as progress: ...
    progress.update()`.

    At a terminal this is a bar of tqdm. Elsewhere a line is written every half minute, also while
    nothing is finished, with what is done, the rate and how long is left. Of several at once only
    the innermost writes.

    Args:
        title: what is done, "compress".
        total: units in all; None where nobody knows.
        unit: of them, in the singular.
        done: units that were done before this began; they do not count for the rate.
        left: gives the seconds that are left, for who knows better than the rate does; None while
            nobody knows.
        note: gives what else to say; called in `update`, by the thread that works.
        shown: False for the second and later ones of several processes, which say nothing.
        stream: to write to; standard error by default.
        clock: gives seconds.
    """

    _open: ClassVar[list[Progress]] = []

    def __init__(
        self,
        title: str,
        total: int | None = None,
        unit: str = "frame",
        *,
        done: int = 0,
        left: Callable[[], float | None] | None = None,
        note: Callable[[], str] | None = None,
        shown: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self.done = done
        self._left = left
        self._note = note
        self._clock = clock
        self._stream = sys.stderr if stream is None else stream
        self._text = ""  # of the last note
        self._lines = 0
        self._start = self._said = clock()
        self._first: tuple[float, int] | None = (
            None  # when the first update came, and what was done then
        )
        self._begun_with = done
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._writes = shown and not is_terminal(self._stream)
        self._bar: tqdm | None = None
        if shown and not self._writes:
            how: dict[str, Any] = {"unit_scale": True} if unit == "B" else {}
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=title,
                unit=unit,
                leave=False,
                file=self._stream,
                **how,
            )

    def __enter__(self) -> Progress:
        self._open.append(self)
        if self._writes:
            threading.Thread(target=self._watch, daemon=True, name="progress").start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._ended.set()
        with self._lock:
            self._open.remove(self)
            if self._bar is not None:
                self._bar.close()
            if self._lines and kind is None:
                self._write(f"{self._so_far()} in {duration(self._clock() - self._start)}")
            if self._lines and self._open:
                self._open[-1]._said = self._said

    def update(self, units: int = 1) -> None:
        """So many more units are done."""
        with self._lock:
            self.done += units
            if self._first is None:
                self._first = (self._clock(), self.done)
            if self._bar is not None:
                self._bar.update(units)
                if self._note:
                    self._bar.set_postfix_str(self._note(), refresh=False)
            elif self._is_due(EVERY):
                self._text = self._note() if self._note else ""
                self._say()

    def tick(self) -> None:
        """Write a line where one is overdue; called now and then by a thread."""
        with self._lock:
            if self._is_due(EVERY + SLACK):
                self._say()

    def line(self) -> str:
        """What is done, the rate, what is left, and the last note."""
        said = [self._so_far()]
        rate = self.rate()
        waited = f"{duration(self._clock() - self._start)} so far"
        said.append(rate_text(rate, self.unit) if rate else waited)
        left = self.seconds_left()
        if left is not None:
            said.append(f"about {duration(left)} left")
        return ", ".join(said) + (f"; {self._text}" if self._text else "")

    def rate(self) -> float | None:
        """Units a second: since the first was done, which is often slower than others, or else
        since the start.
        """
        now = self._clock()
        at, before = self._first or (self._start, self._begun_with)
        if self.done == before:
            at = self._start
            before = self._begun_with
        return (self.done - before) / (now - at) if self.done > before and now > at else None

    def seconds_left(self) -> float | None:
        """Of all units; None where it cannot be known yet."""
        if self._left:
            return self._left()
        rate = self.rate()
        return (self.total - self.done) / rate if rate and self.total is not None else None

    def _so_far(self) -> str:
        if self.total is None:
            return f"{self.title}: {amount(self.done, self.unit)}"
        done = f"{self.done / 1e6:,.0f}" if self.unit == "B" else f"{self.done:,}"
        return f"{self.title}: {done} of {amount(self.total, self.unit)}"

    def _is_due(self, seconds: float) -> bool:
        return self._writes and self._open[-1:] == [self] and self._clock() - self._said >= seconds

    def _say(self) -> None:
        self._said = self._clock()
        self._lines += 1
        self._write(self.line())

    def _write(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def _watch(self) -> None:
        while not self._ended.wait(max(1.0, self._said + EVERY + SLACK - self._clock())):
            self.tick()


def prepare_output() -> None:
    """Let standard output and error take any character on any terminal: a mark stands for what it
    lacks.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def progress_over(items: Iterable[T], title: str, unit: str, **how: Any) -> Iterator[T]:
    """The items, one after the other, with a `Progress` that takes `how`."""
    with Progress(title, len(items) if isinstance(items, Sized) else None, unit, **how) as progress:
        for item in items:
            yield item
            progress.update()


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody watches `stream`: it is no file and no pipe."""
    return not stream.closed and stream.isatty()


def duration(seconds: float) -> str:
    """For people: `40 s`, `25 min`, `3.5 h`, `2.1 days`."""
    size, name = next((size, name) for below, size, name in _TIMES if seconds < below)
    digits = 0 if size < 3600 or seconds >= 10 * size else 1
    return f"{seconds / size:.{digits}f} {name}"


def rate_text(rate: float, unit: str) -> str:
    """For people, of `rate` units a second: `3.1 steps/s`, `12 points/min`, `41 MB/s`."""
    if unit == "B":
        return f"{amount(rate, unit)}/s"
    size, name = next((size, name) for size, name in _RATES if rate * size >= 1 or size == 3600)
    return f"{rate * size:.{0 if rate * size >= 10 else 1}f} {_plural(unit)}/{name}"


def amount(number: float, unit: str) -> str:
    """A number of units, in the plural where it is needed; bytes as MB."""
    return (
        f"{number / 1e6:,.0f} MB"
        if unit == "B"
        else f"{number:,} {unit if number == 1 else _plural(unit)}"
    )


def _plural(unit: str) -> str:
    return unit + ("es" if unit.endswith("ch") else "s")
