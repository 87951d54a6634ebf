"""Training from an index and from shards, as `corvid data index` and `corvid data pack` make
them.
"""

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from codec.cli import main
from data.errors import DataError
from data.index.table import IndexedSequences
from data.io.source_clip import read_source
from data.loading.clip import Clip
from data.loading.datamodule import ClipDataModule

FILES = ("h264.mp4", "hevc.mp4", "h264_open.mkv", "hevc_open.mp4", "mpeg2.mpg", "odd.mkv")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Path:
    """A folder with `videos/`, `index.parquet` of them, and `packed/`."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "videos").mkdir()
    for name in FILES:
        shutil.copy(videos / name, folder / "videos" / name)
    keep = [
        "--min-frames",
        "5",
        "--static",
        "0",
        "--duplicates",
        "-1",
        "--workers",
        "1",
        "--cut",
        "255",
    ]
    main(["data", "index", str(folder / "videos"), "-o", str(folder / "index.parquet"), *keep])
    main(
        [
            "data",
            "pack",
            str(folder / "index.parquet"),
            str(folder / "packed"),
            "--workers",
            "1",
            "--shard-mb",
            "1",
        ]
    )
    return folder


def module(root: Path, **options: object) -> ClipDataModule:
    """Two clips a batch, two frames of 32 pixels; every sequence is trained on."""
    return ClipDataModule(root, 2, 32, 2, **({"exclude_every": 0, "seed": 1} | options))


def take(data: ClipDataModule, count: int, start: int = 0) -> list[Clip]:
    data.configure(2, 32, 2, start_sample=start, batches=count)
    return list(data.train_dataloader())


def names(clips: list[Clip]) -> list[str]:
    return [name for clip in clips for name in clip.names]


def test_frames_of_an_index_are_those_of_the_files(made: Path):
    """Catches times, keyframes or first frames that an index has wrong."""
    whole = {name: read_source(made / "videos" / name).rgb for name in FILES}
    data = module(made / "index.parquet", flips=False, reverse=False, reader="pyav")
    data.setup()
    assert len(data.train_clips) == len(FILES)
    for sample in range(24):
        clip = data.train_clips.resized(2, 16)[sample]
        name, span = clip.names[0].rsplit(":", 1)
        first, last = map(int, span.split("/")[0].split(".."))
        pictures = whole[name][[first, last]]
        windows = pictures.unfold(2, 16, 1).unfold(3, 16, 1).permute(0, 2, 3, 1, 4, 5)
        same = (windows == clip.frames[0][:, None, None]).flatten(3).all(3).all(0)
        assert same.any(), clip.names


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_goes_on_where_it_stopped(
    made: Path, workers: int, caplog: pytest.LogCaptureFixture
):
    """Catches samples repeated or skipped by a resume in the middle of an epoch, also in another
    stage.
    """
    root = made / "packed" / "index.parquet"
    whole = take(module(root, stream=True, workers=workers), 9)
    data = module(root, stream=True, workers=workers)
    first = take(data, 2)
    state = data.state(4)
    assert names(first + take(data, 2, start=4)) == names(whole[:4]), "as the next stage goes on"
    data = module(root, stream=True, workers=workers)
    data.resume(state)
    rest = take(data, 7, start=4)
    assert names(first + rest) == names(whole) and not caplog.records
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(whole, first + rest, strict=True))
    data = module(root, stream=True, workers=workers + 2)
    data.resume(state)
    take(data, 1, start=4)
    assert "workers" in caplog.text


def test_a_stream_survives_its_worker(made: Path):
    """Catches a stream that starts again from the beginning when a worker dies."""
    root = made / "packed" / "index.parquet"
    whole = names(take(module(root, stream=True, workers=1), 9))
    data = module(root, stream=True, workers=1)
    data.configure(2, 32, 2, batches=9)
    loader = data.train_dataloader()
    batches = iter(loader)
    shown = names([next(batches)])
    os.kill(loader.clips.quarantine.read_by(0)[0], signal.SIGKILL)
    assert shown + names(list(batches)) == whole and loader.restarts == 1


def test_staged_shards_are_read_from_the_node(made: Path, tmp_path: Path):
    """Catches a stage that is filled and then not used."""
    shutil.copytree(made / "packed", tmp_path / "packed")
    root = tmp_path / "packed" / "index.parquet"
    expected = names(take(module(root), 3))
    data = module(root, stage=tmp_path / "ssd")
    data.setup()
    for shard in IndexedSequences(root).shards:
        shard.unlink()
    assert [name.split("+")[1] for name in names(take(data, 3))] == [
        name.split("+")[1] for name in expected
    ]
    with pytest.raises(DataError, match="stage: only for sets made by corvid data pack"):
        module(made / "index.parquet", stage=tmp_path / "ssd").setup()


def test_shards_may_be_elsewhere(made: Path, tmp_path: Path):
    """Catches an index that can only be used beside its shards."""
    (tmp_path / "shards").mkdir()
    for shard in IndexedSequences(made / "packed" / "index.parquet").shards:
        shutil.copy(shard, tmp_path / "shards")
    shutil.copy(made / "packed" / "index.parquet", tmp_path / "alone.parquet")
    expected = names(take(module(made / "packed" / "index.parquet"), 2))
    assert (
        names(take(module(tmp_path / "alone.parquet", shards=str(tmp_path / "shards")), 2))
        == expected
    )
    streamed = module(tmp_path / "alone.parquet", shards=f"file://{tmp_path}/shards", stream=True)
    assert len(names(take(streamed, 3))) == 6


def test_a_file_keeps_its_side_when_it_is_packed(made: Path):
    """Catches validation clips that are trained on after packing, or after the set grew."""
    sides = {}
    for root in ("index.parquet", "packed/index.parquet"):
        name_hashes = IndexedSequences(made / root).name_hashes
        data = module(made / root, exclude_every=3)
        data.setup()
        held = set(data.val_clips.sequences.numbers.tolist())
        sides[root] = {int(lot): number in held for number, lot in enumerate(name_hashes)}
    assert (
        sides["index.parquet"] == sides["packed/index.parquet"]
        and len(set(sides["index.parquet"].values())) == 2
    )


def test_a_missing_shard_is_told_at_the_start(made: Path, tmp_path: Path):
    """Catches a run that begins, and ends when the first sample of the missing shard is drawn."""
    shutil.copytree(made / "packed", tmp_path / "packed")
    next((tmp_path / "packed").glob("*.tar")).unlink()
    with pytest.raises(
        DataError, match=r"\.tar: no such shard, 1 of 1 are missing; copy them there, pack again"
    ):
        module(tmp_path / "packed" / "index.parquet").setup()
    with pytest.raises(DataError, match="data.stream: only for sets made by corvid data pack"):
        module(made / "index.parquet", stream=True).setup()
