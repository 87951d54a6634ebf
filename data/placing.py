"""Placing: where a packed set's shards are read."""

from pathlib import Path

from data.errors import DataError
from data.index.table import IndexedSequences
from data.sequences import Sequences
from data.stage import stage_shards


class Placing:
    """Shards where their index says, somewhere else, or copied to a disk of the node first.

    Args:
        shards: folder or URL of the shards; None is where the index says.
        stage: folder on the node, or None.
        stage_gb: bytes / 1e9 that shards may take there.
    """

    def __init__(self, shards: str | None = None, stage: str | Path | None = None, stage_gb: float = 100) -> None:
        self.shards, self.stage, self.stage_gb = shards, stage, stage_gb
        self.where: dict[Path, str] = {}

    def place(self, sequences: Sequences) -> None:
        """Copy what is to be staged, and tell `sequences` where its shards are; a stream finds them in `where`.

        Raises:
            DataError: `shards` or `stage` is given for a set that is not packed; as `stage_shards`.
        """
        if self.shards is None and self.stage is None:
            return
        packed = sequences.shards if isinstance(sequences, IndexedSequences) else []
        if not packed:
            field = "shards" if self.stage is None else "stage"
            raise DataError(f"data.{field}: only for sets made by corvid data pack; leave it out, or pack data.root")
        base = None if self.shards is None else self.shards.rstrip("/")
        self.where = {path: str(path) if base is None else f"{base}/{path.name}" for path in packed}
        if self.stage is not None:
            staged = stage_shards(list(self.where.values()), self.stage, self.stage_gb)
            self.where = {path: str(staged.get(place, place)) for path, place in self.where.items()}
        sequences.moved = {str(path): Path(place) for path, place in self.where.items() if "://" not in place}
