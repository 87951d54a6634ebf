"""Opening what training draws from: whatever a user may call a set of videos."""

from pathlib import Path

from data.index.table import IndexedSequences
from data.sequences import Sequences
from data.sources.discovery import Places, find_sequences
from data.sources.manifest import is_index


def open_sequences(root: Places) -> Sequences:
    """An index, or anything that `find_sequences` takes.

    Raises:
        DataError: nothing is there; see `IndexedSequences` and `find_sequences`.
    """
    if isinstance(root, str | Path) and is_index(root):
        return IndexedSequences(root)
    return find_sequences(root)
