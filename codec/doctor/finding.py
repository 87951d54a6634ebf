"""What a check found."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failing"]


@dataclass(frozen=True)
class Finding:
    """`found` in a few words; where it is not ok, `remedy` says what to do."""

    state: State
    found: str
    remedy: str = ""


def ok(found: str) -> Finding:
    """Nothing to do."""
    return Finding("ok", found)


def warning(found: str, remedy: str) -> Finding:
    """A run works, but slowly, or not for long."""
    return Finding("warning", found, remedy)


def failing(found: str, remedy: str) -> Finding:
    """A run would fail."""
    return Finding("failing", found, remedy)
