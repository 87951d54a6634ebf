"""Faults: files that fail in training are set aside, counted, and replaced by others."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from data.errors import DataError

T = TypeVar("T")
log = logging.getLogger(__name__)


class Faults:
    """Which of `files` have failed, in memory shared by all workers.

    Args:
        files: the files.
        worst_share: 0..1, the share of them that may fail.
    """

    def __init__(self, files: Sequence[Path], worst_share: float) -> None:
        self.files = files
        self.worst_share = worst_share
        self._failed = torch.zeros(len(files), dtype=torch.bool).share_memory_()

    @property
    def count(self) -> int:
        """Files set aside so far, in all workers."""
        return int(self._failed.sum())

    def first_good(self, first: int, make: Callable[[int], T]) -> T:
        """`make(number)` of file `first`, or of the next in the list that does not raise DataError.

        Raises:
            DataError: more than `worst_share` of the files have failed.
        """
        for step in range(len(self.files)):
            number = (first + step) % len(self.files)
            if self._failed[number]:
                continue
            try:
                return make(number)
            except DataError as error:
                self._set_aside(number, str(error))
        raise DataError(f"all {len(self.files)} files failed, {self.files[0]} too; give readable videos as data.root")

    def _set_aside(self, number: int, reason: str) -> None:
        self._failed[number] = True
        share = f"{self.count} of {len(self.files)} files"
        if self.count > self.worst_share * len(self.files):
            raise DataError(f"{share} failed, more than data.worst_share={self.worst_share:g}; the last: {reason}")
        log.warning("set aside %s (%s so far)", reason, share)
