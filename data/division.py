"""Which sequences are trained on and which validate."""

from collections.abc import Iterator

import numpy as np

from data.sequences import Sequence, Sequences


class Chosen:
    """Some sequences of others, by number; holds 4 bytes for each.

    Args:
        sequences: to choose from.
        numbers: int32, those that are chosen.
    """

    def __init__(self, sequences: Sequences, numbers: np.ndarray) -> None:
        self.sequences, self.numbers = sequences, numbers.astype(np.int32)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, number: int) -> Sequence:
        return self.sequences[int(self.numbers[number])]

    def __iter__(self) -> Iterator[Sequence]:
        return (self[number] for number in range(len(self)))


def divided(sequences: Sequences, every: int) -> tuple[Chosen, Chosen]:
    """Sequences to train on and to validate on: those of every `every`-th file, so that no file is on both sides.

    Args:
        sequences: in the order of their files.
        every: 2 or more; with fewer files than that, all are in both.
    """
    files = sequences.files if hasattr(sequences, "files") else _numbered(sequences)
    if files[-1] + 1 < every:
        everything = Chosen(sequences, np.arange(len(sequences)))
        return everything, everything
    held = files % every == every - 1
    return Chosen(sequences, np.flatnonzero(~held)), Chosen(sequences, np.flatnonzero(held))


def _numbered(sequences: Sequences) -> np.ndarray:
    """For each sequence the number of its file, from 0 in order of appearance."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(sequence.path, len(numbers)) for sequence in sequences], np.int32)
