"""Batches: which samples make up which batch, so that training continues anywhere."""

from collections.abc import Iterator

from torch.utils.data import Sampler


class Batches(Sampler[list[int]]):
    """Sample numbers of `count` batches of one process; together, the processes take samples `first`, `first + 1`, ... in turn.

    Args:
        first: number of the first sample of all processes' first batch.
        count: how many batches.
        batch: samples a batch of one process.
        rank, ranks: which of how many processes this is; each takes its part of every `batch * ranks` samples, so that as many
            samples with other `ranks` make the same global batches.
    """

    def __init__(self, first: int, count: int, batch: int, rank: int = 0, ranks: int = 1) -> None:
        self.first, self.count, self.batch, self.rank, self.ranks = first, count, batch, rank, ranks

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[int]]:
        return (self[number] for number in range(self.count))

    def __getitem__(self, number: int) -> list[int]:
        """Sample numbers of batch `number`, counted from 0."""
        start = self.first + (number * self.ranks + self.rank) * self.batch
        return list(range(start, start + self.batch))

    def after(self, batches: int) -> "Batches":
        """What is left when so many batches have been had."""
        first = self.first + batches * self.batch * self.ranks
        return Batches(first, self.count - batches, self.batch, self.rank, self.ranks)
