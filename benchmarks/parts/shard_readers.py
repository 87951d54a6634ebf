"""The ways in which shards are read, for shard_formats.py: members of tar files and of litdata's
chunks.
"""

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from data.loading.clip import Clip, join_clips
from data.sequences import Sequence

DONE, WHOLE = 7, 20  # batches before a resume, and in all


@dataclass(frozen=True)
class Ways:
    """How one format is read.

    Attributes:
        length: members.
        sequential: by name, all members' bytes once, front to back.
        member: the bytes of one, by number.
        resumes: for 0, 1 and 4 workers, 1 where batches after a resume are those of the
            uninterrupted run, else 0.
    """

    length: int
    sequential: dict[str, Callable[[], Iterator[bytes]]]
    member: Callable[[int], bytes]
    resumes: Callable[[], dict[str, int]]


def as_file(data: bytes) -> io.BytesIO:
    return io.BytesIO(data)


def tar_ways(folder: Path) -> Ways:
    """webdataset's reader, ours, and single reads at known offsets."""
    import webdataset

    from data.loading.stream import ShardStream

    shards = sorted(folder.glob("*.tar"))
    sequences = [
        Sequence(shard, 0, 1, byte_range=part) for shard in shards for part in _parts(shard)
    ]

    def by_webdataset() -> Iterator[bytes]:
        for sample in webdataset.WebDataset(
            list(map(str, shards)), shardshuffle=False, empty_check=False
        ):
            yield sample["mp4"]

    def keep(sequence: Sequence, data: bytes, rng: np.random.Generator) -> Clip:
        return Clip(torch.empty(1, 0), [sequence.label], [0.0], [data])

    def stream(workers: int, batch: int) -> ShardStream:
        return ShardStream(
            sequences, keep, batch, workers=workers, open_bytes=lambda sequence, data: data
        )

    def by_stream() -> Iterator[bytes]:
        return (clip.matrices[0] for clip in islice(stream(0, 1), len(sequences)))

    def names(clips: ShardStream, count: int) -> list[list[str]]:
        loader = DataLoader(clips, batch_size=2, num_workers=clips.workers, collate_fn=join_clips)
        return [batch.names for batch in islice(loader, count)]

    def resumes() -> dict[str, int]:
        exact = {}
        for workers in (0, 1, 4):
            whole, begun, rest = (
                names(stream(workers, 2), WHOLE),
                stream(workers, 2),
                stream(workers, 2),
            )
            first = names(begun, DONE)
            rest.load_state_dict(begun.state_dict(DONE))
            exact[f"{workers}_workers"] = int(first + names(rest, WHOLE - DONE) == whole)
        return exact

    return Ways(
        len(sequences),
        {"stream": by_stream, "webdataset": by_webdataset},
        lambda number: _read(sequences[number]),
        resumes,
    )


def _parts(shard: Path) -> list[tuple[int, int]]:
    with tarfile.open(shard) as tar:
        return [(entry.offset_data, entry.size) for entry in tar if entry.name.endswith(".mp4")]


def _read(sequence: Sequence) -> bytes:
    offset, length = sequence.byte_range
    handle = os.open(sequence.path, os.O_RDONLY)
    try:
        return os.pread(handle, length, offset)
    finally:
        os.close(handle)


def litdata_ways(folder: Path) -> Ways:
    """litdata's StreamingDataset, from the folder and from a store that it copies to its cache, and
    its StreamingDataLoader.
    """
    from litdata import StreamingDataLoader, StreamingDataset

    chunks = StreamingDataset(str(folder))

    def front_to_back() -> Iterator[bytes]:
        return (sample["mp4"] for sample in StreamingDataset(str(folder)))

    def from_store() -> Iterator[bytes]:
        return (sample["mp4"] for sample in StreamingDataset(f"local:{folder}"))

    def loader(workers: int) -> StreamingDataLoader:
        return StreamingDataLoader(
            StreamingDataset(str(folder), shuffle=True, seed=1), batch_size=2, num_workers=workers
        )

    def names(batches: StreamingDataLoader, count: int) -> list[list[int]]:
        return [[hash(data) for data in batch["mp4"]] for batch in islice(batches, count)]

    def resumes() -> dict[str, int]:
        exact = {}
        for workers in (0, 1, 4):
            whole, begun, rest = names(loader(workers), WHOLE), loader(workers), loader(workers)
            iterator = iter(begun)
            first = [[hash(data) for data in next(iterator)["mp4"]] for _ in range(DONE)]
            rest.load_state_dict(begun.state_dict())
            exact[f"{workers}_workers"] = int(first + names(rest, WHOLE - DONE) == whole)
        return exact

    return Ways(
        len(chunks),
        {"sequential": front_to_back, "from_store": from_store},
        lambda number: chunks[number]["mp4"],
        resumes,
    )
