"""The order of samples: which sequence sample number i is drawn from."""

import numpy as np


class Order:
    """Sample `i` belongs to epoch `i // sequences`, in which every sequence comes once, shuffled by `[seed, epoch]`.

    A pure function of its arguments: it needs no state to go on anywhere, and is the same in every process. It holds the shuffle
    of the last epoch asked for, 4 bytes a sequence.

    Args:
        sequences: how many there are.
        seed: any integer from 0.
    """

    def __init__(self, sequences: int, seed: int) -> None:
        self.sequences, self.seed = sequences, seed
        self._epoch, self._shuffled = -1, np.empty(0, np.int32)

    def __getitem__(self, sample: int) -> int:
        """The number of the sequence of sample `sample`, 0 .. `sequences - 1`."""
        epoch, position = divmod(sample, self.sequences)
        if epoch != self._epoch:
            numbers = np.arange(self.sequences, dtype=np.int32)
            np.random.default_rng([self.seed, epoch]).shuffle(numbers)
            self._epoch, self._shuffled = epoch, numbers
        return int(self._shuffled[position])

    def __getstate__(self) -> dict[str, int]:
        return {"sequences": self.sequences, "seed": self.seed}  # a worker shuffles for itself

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(**state)
