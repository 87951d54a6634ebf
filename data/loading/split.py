"""Which sequences are trained on and which validate."""

from collections.abc import Iterator

import numpy as np

from data.sequences import Sequence, Sequences
from data.sources.discovery import FileSequences


class SequenceSubset:
    """Some sequences of others, by number; holds 4 bytes for each.

    Args:
        sequences: to choose from.
        numbers: int32, those that are chosen.
    """

    def __init__(self, sequences: Sequences, numbers: np.ndarray) -> None:
        self.sequences = sequences
        self.numbers = numbers.astype(np.int32)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, number: int) -> Sequence:
        return self.sequences[int(self.numbers[number])]

    def __iter__(self) -> Iterator[Sequence]:
        return (self[number] for number in range(len(self)))


def split_sequences(sequences: Sequences, every: int) -> tuple[SequenceSubset, SequenceSubset]:
    """Sequences to train on and to validate on: those of one file in `every`, so that no file is on
    both sides.

    Of a list, every `every`-th file; with fewer files than that, all are on both sides. Of an
    index, files are chosen by their names, so that a file keeps its side when others come or go,
    and when the set is packed; where none is chosen, all are on both sides.

    Args:
        sequences: in the order of their files.
        every: 2 or more.
    """
    held = (
        sequences.name_hashes % every == 0
        if hasattr(sequences, "name_hashes")
        else _numbered(sequences) % every == every - 1
    )
    if not held.any() or held.all():
        everything = SequenceSubset(sequences, np.arange(len(sequences)))
        return everything, everything
    return SequenceSubset(sequences, np.flatnonzero(~held)), SequenceSubset(
        sequences, np.flatnonzero(held)
    )


def _numbered(sequences: Sequences) -> np.ndarray:
    """For each sequence the number of its file, from 0 in order of appearance."""
    if isinstance(sequences, FileSequences):
        return np.arange(len(sequences), dtype=np.int32)
    numbers: dict[object, int] = {}
    return np.array(
        [numbers.setdefault(sequence.path, len(numbers)) for sequence in sequences], np.int32
    )
