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
        stream: whether shards are to be streamed.
    """

    def __init__(self, shards: str | None, stage: str | Path | None, stage_gb: float, stream: bool) -> None:
        self.shards, self.stage, self.stage_gb, self.stream = shards, stage, stage_gb, stream
        self.where: dict[Path, str] = {}

    def place(self, sequences: Sequences) -> None:
        """Copy what is to be staged, and tell `sequences` where its shards are; a stream finds them in `where`.

        Raises:
            DataError: a field is given for a set that is not packed, or shards are missing; as `stage_shards`.
        """
        packed = sequences.shards if isinstance(sequences, IndexedSequences) else []
        given = [name for name in ("shards", "stage", "stream") if getattr(self, name)]
        if given and not packed:
            raise DataError(f"data.{given[0]}: only for sets made by corvid data pack; leave it out, or pack data.root")
        base = None if self.shards is None else self.shards.rstrip("/")
        self.where = {path: str(path) if base is None else f"{base}/{path.name}" for path in packed}
        if self.stage is not None:
            staged = stage_shards(list(self.where.values()), self.stage, self.stage_gb)
            self.where = {path: str(staged.get(place, place)) for path, place in self.where.items()}
        here = {path: Path(place) for path, place in self.where.items() if "://" not in place}
        if missing := [place for place in here.values() if not place.is_file()]:
            raise DataError(
                f"{missing[0]}: no such shard, {len(missing)} of {len(packed)} are missing; copy them there, pack again, or say "
                "where they are with data.shards"
            )
        if packed:
            sequences.moved = {str(path): place for path, place in here.items()}
