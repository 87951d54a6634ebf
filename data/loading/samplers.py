"""Which sequence a sample is drawn from, and which samples make up a batch."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class ClipBatchSampler(Sampler[list[int]]):
    """Sample numbers of `count` batches of one process; together, the processes take samples
    `first`, `first + 1`, ... in turn.

    Args:
        first: number of the first sample of all processes' first batch.
        count: how many batches.
        batch: samples a batch of one process.
        rank, ranks: which of how many processes this is; each takes its part of every `batch *
            ranks` samples, so that as many samples with other `ranks` make the same global batches.
        repeat: after so many batches their samples come again, from sample 0 on; None: never.
    """

    def __init__(
        self,
        first: int,
        count: int,
        batch: int,
        rank: int = 0,
        ranks: int = 1,
        repeat: int | None = None,
    ) -> None:
        self.first = first
        self.count = count
        self.batch = batch
        self.rank = rank
        self.ranks = ranks
        self.repeat = repeat

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[int]]:
        return (self[number] for number in range(self.count))

    def __getitem__(self, number: int) -> list[int]:
        """Sample numbers of batch `number`, counted from 0."""
        start = self.first + (number * self.ranks + self.rank) * self.batch
        samples = range(start, start + self.batch)
        if self.repeat is None:
            return list(samples)
        different = self.repeat * self.batch * self.ranks
        return [sample % different for sample in samples]

    def after(self, batches: int) -> "ClipBatchSampler":
        """What is left when so many batches have been had."""
        first = self.first + batches * self.batch * self.ranks
        return ClipBatchSampler(
            first,
            count=self.count - batches,
            batch=self.batch,
            rank=self.rank,
            ranks=self.ranks,
            repeat=self.repeat,
        )


class EpochShuffle:
    """Sample `i` belongs to epoch `i // sequences`, in which every sequence comes once, shuffled by
    `[seed, epoch]`.

    A pure function of its arguments: it needs no state to go on anywhere, and is the same in every
    process. It holds the shuffle of the last epoch asked for, 4 bytes a sequence.

    Args:
        sequences: how many there are.
        seed: any integer from 0.
    """

    def __init__(self, sequences: int, seed: int) -> None:
        self.sequences = sequences
        self.seed = seed
        self._forget()

    def _forget(self) -> None:
        self._epoch = -1
        self._shuffled = np.empty(0, np.int32)

    def __getitem__(self, sample: int) -> int:
        """The number of the sequence of sample `sample`, 0 .. `sequences - 1`."""
        epoch, position = divmod(sample, self.sequences)
        if epoch != self._epoch:
            numbers = np.arange(self.sequences, dtype=np.int32)
            np.random.default_rng([self.seed, epoch]).shuffle(numbers)
            self._epoch = epoch
            self._shuffled = numbers
        return int(self._shuffled[position])

    def __getstate__(self) -> dict[str, int]:
        return {"sequences": self.sequences, "seed": self.seed}  # a worker shuffles for itself

    def __setstate__(self, state: dict[str, int]) -> None:
        self.sequences = state["sequences"]
        self.seed = state["seed"]
        self._forget()
