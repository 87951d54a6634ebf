"""Batches: which samples make up which batch, so that training continues anywhere, and how a worker starts."""

import signal
from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

LARGEST = 4096  # batch k owns samples k * LARGEST .. k * LARGEST + batch - 1, whatever the batch sizes before it


class Batches(Sampler[list[int]]):
    """Sample numbers of batches `first` .. `first + count - 1` of `batch` samples; batch k depends on k only."""

    def __init__(self, first: int, count: int, batch: int) -> None:
        self.first, self.count, self.batch = first, count, batch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(self.first, self.first + self.count):
            yield list(range(number * LARGEST, number * LARGEST + self.batch))


def start_worker(worker: int) -> None:
    """A reading process takes one thread, and leaves Ctrl-C to the training process, which ends its workers itself.

    It stands here so that a spawned one need not load Lightning.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
