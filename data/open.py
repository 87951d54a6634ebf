"""Opening what training draws from: whatever a user may call a set of videos."""

from collections.abc import Iterable
from pathlib import Path

from data.files import find_videos
from data.index.table import IndexedSequences, is_index
from data.sequences import Sequence, Sequences


def open_sequences(root: str | Path | Iterable[str | Path]) -> Sequences:
    """An index, or anything that `find_videos` takes.

    Raises:
        DataError: nothing is there; see `IndexedSequences` and `find_videos`.
    """
    if isinstance(root, str | Path) and Path(root).suffix == ".parquet" and is_index(root):
        return IndexedSequences(root)
    return [Sequence(path) for path in find_videos(root)]
