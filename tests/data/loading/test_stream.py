"""Streaming from shards: every sample once an epoch, and the same order when it goes on in the
middle.
"""

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from data.errors import DataError
from data.loading.clip import Clip, join_clips
from data.loading.stream import Consumer, ShardStream, StreamOrder, taken_after
from data.sequences import Sequence
from data.shards import storage

SIZES = (5, 1, 9, 7, 2)  # members of each shard


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> list[Sequence]:
    """24 members of 4 bytes, which say their number, in shards of uneven sizes."""
    folder = tmp_path_factory.mktemp("shards")
    sequences = []
    for shard, size in enumerate(SIZES):
        path = folder / f"{shard}.tar"
        numbers = range(len(sequences), len(sequences) + size)
        path.write_bytes(b"".join(b"skip" + number.to_bytes(4, "big") for number in numbers))
        sequences += [Sequence(path, 0, 1, byte_range=(8 * place + 4, 4)) for place in range(size)]
    return sequences


def as_number(sequence: Sequence, data: bytes) -> bytes:
    """Stands for a reader of the member: its bytes."""
    if data == b"bad!":
        raise DataError(f"{sequence.label}: cannot be decoded")
    return data


def number_clip(sequence: Sequence, reader: bytes, rng: np.random.Generator) -> Clip:
    """A clip of one pixel, named after the member and a draw of its generator."""
    number = int.from_bytes(reader, "big")
    return Clip(
        torch.zeros(1, 1, 3, 1, 1, dtype=torch.uint8), [f"{number}/{rng.integers(1000)}"], [25.0]
    )


def stream_of(
    sequences: list[Sequence], workers: int = 0, batch: int = 2, **options: object
) -> ShardStream:
    """A stream of tiny members, seed 3, buffer 4."""
    return ShardStream(
        sequences,
        number_clip,
        batch,
        workers=workers,
        **({"buffer": 4, "seed": 3, "open_bytes": as_number} | options),
    )


def batches(clips: ShardStream, count: int) -> list[list[str]]:
    """The names in the next batches, as training gets them."""
    loader = DataLoader(
        clips, batch_size=clips.batch, num_workers=clips.workers, collate_fn=join_clips
    )
    return [clip.names for clip in islice(loader, count)]


@pytest.mark.parametrize(("ranks", "workers"), [(1, 1), (2, 1), (2, 4), (3, 8)])
def test_every_row_once_an_epoch(ranks: int, workers: int):
    """Catches samples left out or doubled between processes, shares of unequal size, and epochs in
    the same order.
    """
    starts = np.cumsum([0, *SIZES])
    order = StreamOrder(starts, 1, 4)
    consumers = [
        Consumer(rank, ranks, worker, workers) for rank in range(ranks) for worker in range(workers)
    ]
    epochs = []
    for epoch in range(2):
        shares = [order.share(epoch, consumer) for consumer in consumers]
        assert sorted(np.concatenate(shares)) == list(range(24))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        epochs.append(np.concatenate(shares).tolist())
        for share, consumer in zip(shares, consumers, strict=True):
            draws = list(order.draws(len(share), epoch, consumer))
            assert sorted(place for _, place in draws) == list(range(len(share)))
            assert [place for entering, _ in draws for place in entering] == list(range(len(share)))
    assert epochs[0] != epochs[1]


def test_rows_are_drawn_out_of_a_buffer():
    """Catches a buffer that does not mix, draws from what is not yet read, or holds more than it
    should.
    """
    order = StreamOrder(np.array([0, 100]), 0, 10)
    held, drawn = set(), []
    for entering, place in order.draws(100, 0, Consumer(0, 1, 0, 1)):
        held.update(entering)
        assert len(held) <= 10
        held.remove(place)
        drawn.append(place)
    assert sum(abs(place - number) > 3 for number, place in enumerate(drawn)) > 30


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_resumed_in_the_middle_of_an_epoch(tiny: list[Sequence], workers: int):
    """Catches samples repeated or skipped by a resume, in two ranks, and one that is right at whole
    rounds of workers only.
    """
    batch = 3 if workers == 4 else 2  # batches do not cross epochs, so that they can be counted
    for done in (3, 9):
        seen: Counter[str] = Counter()
        for rank in range(2):
            whole = batches(stream_of(tiny, workers, batch, rank=rank, ranks=2), 12)
            first = stream_of(tiny, workers, batch, rank=rank, ranks=2)
            begun = batches(first, done)
            second = stream_of(tiny, workers, batch, rank=rank, ranks=2)
            second.load_state_dict(first.state_dict(done))
            rest = batches(second, 12 - done)
            assert begun + rest == whole
            seen.update(
                name.partition("/")[0] for names in (begun + rest)[: 12 // batch] for name in names
            )
        assert seen == Counter(map(str, range(24)))


def test_resumed_twice_and_with_another_batch(tiny: list[Sequence]):
    """Catches positions counted from the last start instead of the first, and stages that change
    the batch size.
    """
    whole = batches(stream_of(tiny, batch=1), 20)
    before, had = stream_of(tiny, batch=2), []
    for batch, count in ((2, 3), (3, 2), (1, 8)):
        following = stream_of(tiny, batch=batch)
        following.load_state_dict(before.state_dict(len(had)))
        had = batches(following, count)
        before = following
        taken = sum(following._taken)
        assert [name for names in had for name in names] == [
            name for [name] in whole[taken : taken + count * batch]
        ]


def test_taken_after_counts_turns():
    """Catches a worker credited with another's batch."""
    assert taken_after([0, 0, 0], 0, 4, 2) == ([4, 2, 2], 1)
    assert taken_after([4, 2, 2], 1, 4, 2) == ([6, 6, 4], 2)


def test_the_same_clips_whatever_the_workers(tiny: list[Sequence]):
    """Catches crops that depend on which process draws them."""
    first = {name for batch in batches(stream_of(tiny, 0), 12) for name in batch}
    assert first == {name for batch in batches(stream_of(tiny, 2), 12) for name in batch}


def test_other_workers_are_warned_of(tiny: list[Sequence], caplog: pytest.LogCaptureFixture):
    """Catches a changed order that nobody hears of, and a stream that starts over instead of about
    where it was.
    """
    state = stream_of(tiny, 4, rank=1, ranks=2).state_dict(4)
    other = stream_of(tiny, 1, ranks=1)
    other.load_state_dict(state)
    assert "ranks 2 before, 1 now, workers 4 before, 1 now" in caplog.text
    assert other.state_dict(0)["taken"] == [16]
    with pytest.raises(DataError, match="24 sequences, data.root has 23"):
        stream_of(tiny[:-1]).load_state_dict(state)


def test_nothing_is_read_of_what_was_had(tiny: list[Sequence], monkeypatch: pytest.MonkeyPatch):
    """Catches a resume that reads or decodes its way back."""
    opened: list[bytes] = []
    made = stream_of(
        tiny, open_bytes=lambda sequence, data: opened.append(data) or as_number(sequence, data)
    )
    made.load_state_dict(stream_of(tiny).state_dict(11))
    reads: list[int] = []
    read = storage.ShardFiles.read
    monkeypatch.setattr(
        storage.ShardFiles, "read", lambda self, row: reads.append(row) or read(self, row)
    )
    batches(made, 1)
    assert len(opened) == 2 and len(reads) <= 4


def test_faults_are_replaced(
    tmp_path: Path, tiny: list[Sequence], caplog: pytest.LogCaptureFixture
):
    """Catches a bad member that stops the stream, is not heard of, costs its neighbours, or shifts
    a resume.
    """
    content = bytearray(tiny[6].path.read_bytes())
    content[4:8] = b"bad!"
    (tmp_path / "2.tar").write_bytes(content)
    where = {tiny[6].path: str(tmp_path / "2.tar"), tiny[22].path: str(tmp_path / "gone.tar")}
    clips = stream_of(tiny, batch=1, where=where, worst_share=0.2)
    whole = batches(clips, 42)
    assert {name.partition("/")[0] for [name] in whole[:24]} == {str(n) for n in range(24)} - {
        "6",
        "22",
        "23",
    }
    assert (
        clips.quarantine.count == 3
        and "2.tar+4: cannot be decoded" in caplog.text
        and "gone.tar" in caplog.text
    )
    first = stream_of(tiny, batch=1, where=where, worst_share=0.2)
    begun = batches(first, 16)
    second = stream_of(tiny, batch=1, where=where, worst_share=0.2)
    second.load_state_dict(first.state_dict(16))
    assert begun + batches(second, 26) == whole
    with pytest.raises(DataError, match="more than data.worst_share=0.1"):
        batches(stream_of(tiny, batch=1, where=where, worst_share=0.1), 24)


def test_what_ends_its_worker_is_replaced(tiny: list[Sequence]):
    """Catches a member at which workers hang, set aside by the loader, read again by the stream,
    and places that shift.
    """
    clips = stream_of(tiny, batch=1)
    whole = batches(stream_of(tiny, batch=1), 24)
    had = batches(clips, 5)
    bad = whole[9][0].partition("/")[0]
    clips.quarantine.add(int(bad), "hung twice")
    rest = batches(clips.after(5), 19)
    shown = had + rest
    assert shown[:9] + shown[10:] == whole[:9] + whole[10:]
    assert rest[4][0].partition("/")[0] == str((int(bad) + 1) % 24)


def test_faults_of_another_rank_do_not_shift_a_resume(tmp_path: Path, tiny: list[Sequence]):
    """Catches a state that must know what failed in every rank, when only one of them writes it."""
    content = bytearray(tiny[6].path.read_bytes())
    content[4:8] = b"bad!"
    (tmp_path / "2.tar").write_bytes(content)
    where = {tiny[6].path: str(tmp_path / "2.tar")}
    state = None
    for rank in range(2):
        whole = batches(
            stream_of(tiny, batch=1, rank=rank, ranks=2, where=where, worst_share=0.2), 18
        )
        first = stream_of(tiny, batch=1, rank=rank, ranks=2, where=where, worst_share=0.2)
        begun = batches(first, 7)
        state = state or first.state_dict(7)
        second = stream_of(tiny, batch=1, rank=rank, ranks=2, where=where, worst_share=0.2)
        second.load_state_dict(state)
        assert begun + batches(second, 11) == whole


def test_urls_are_read(tiny: list[Sequence]):
    """Catches paths mangled on their way to object storage."""
    import fsspec

    where = {}
    for path in {sequence.path for sequence in tiny}:
        where[path] = f"memory://stream/{path.name}"
        with fsspec.open(where[path], "wb") as file:
            file.write(path.read_bytes())
    assert batches(stream_of(tiny, where=where), 6) == batches(stream_of(tiny), 6)


def test_wrong_use_is_told(tiny: list[Sequence], videos: Path):
    """Catches orders that do not hold because the loader has other workers, and files that are no
    shards.
    """
    with pytest.raises(DataError, match="data.workers=2, but the DataLoader has 0"):
        next(iter(DataLoader(stream_of(tiny, 2), collate_fn=join_clips)))
    with pytest.raises(DataError, match="not in a shard; make shards with: corvid data pack"):
        stream_of([Sequence(videos / "h264.mp4")])
    with pytest.raises(DataError, match="sequences=24; give 25 or more"):
        stream_of(tiny, 5, ranks=5)
