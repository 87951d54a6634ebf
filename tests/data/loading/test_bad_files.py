"""The set of bad and unusual files: what happens to each at indexing, at reading, in a loader and
in evaluation.
"""

import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import torch

from data.errors import DataError
from data.index.options import ScanOptions
from data.index.scan import Scan, scan
from data.index.source_files import Source
from data.io.readers import open_reader
from data.io.source_clip import read_source
from data.loading.dataloader import ClipLoader
from data.loading.dataset import ClipDataset
from data.loading.samplers import ClipBatchSampler
from data.sequences import Sequence

DROPPED = {
    "empty.mp4": "empty",
    "text.mp4": "no video",
    "header_only.mp4": "no picture",
    "truncated_faststart.mp4": "cut short, .* of 50",
    "truncated.mp4": "no video",
    "flipped.mp4": "decoded|damaged",
    "flipped_hevc.mp4": "decoded|damaged",
    "zero_frames.mp4": "no video stream|no picture",
    "audio_only.mp4": "no video stream",
    "over_reported.mp4": "decoded|damaged",
    "one_frame.mp4": "1 frames between cuts",
}
KEPT = {"8k.mp4": 2, "variable_rate.mp4": 22, "rotated.mp4": 50, "odd.webm": 50}  # frames
UNOPENED = (
    "empty.mp4",
    "text.mp4",
    "header_only.mp4",
    "truncated_faststart.mp4",
    "truncated.mp4",
    "zero_frames.mp4",
    "audio_only.mp4",
)


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """The benchmark's script that makes the files; benchmarks import each other as scripts of one
    folder do.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
        from parts import bad_files
    return bad_files


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where they are, made once."""
    return tmp_path_factory.mktemp("bad") / "files"


@pytest.fixture(scope="module")
def files(maker: ModuleType, folder: Path) -> dict[str, Path]:
    return maker.make_bad_files(folder, large=2)


def scanned(path: Path) -> Scan:
    return scan(Source(path.name, Sequence(path)), ScanOptions(min_frames=2))


def test_every_file_of_the_set_has_an_expected_outcome(files: dict[str, Path], maker: ModuleType):
    """Catches a file that is added to the set and looked at nowhere."""
    assert set(files) == {*DROPPED, *KEPT} == {*maker.DAMAGED, *maker.UNUSUAL}
    assert all(path.is_file() for path in files.values())


@pytest.mark.parametrize("name", DROPPED)
def test_index_drops_damaged_files_and_says_why(files: dict[str, Path], name: str):
    """Catches pictures patched up by a decoder entering an index, and a reason that does not say
    what is wrong.
    """
    found = scanned(files[name])
    assert not found.rows
    with pytest.raises(DataError, match=DROPPED[name]):
        raise DataError(found.dropped[0]["detail"])


@pytest.mark.parametrize("name", KEPT)
def test_index_keeps_unusual_files(files: dict[str, Path], name: str):
    """Catches good files lost for their size, rate, rotation or odd lines."""
    found = scanned(files[name])
    assert sum(row["frames"] for row in found.rows) == KEPT[name]


@pytest.mark.parametrize("reader", ["auto", "decord", "pyav"])
@pytest.mark.parametrize("name", UNOPENED)
def test_readers_refuse_what_has_no_pictures(files: dict[str, Path], name: str, reader: str):
    """Catches a hang, a crash or another kind of error at opening."""
    with pytest.raises(DataError, match=name):
        open_reader(files[name], reader)


@pytest.mark.parametrize("name", KEPT)
def test_frames_of_unusual_files_are_those_of_evaluation(files: dict[str, Path], name: str):
    """Catches frames shifted by a variable rate, mixed up by odd lines, or turned in one place and
    not in the other.
    """
    reader, whole = open_reader(files[name], "pyav"), read_source(files[name])
    assert (reader.frames, reader.height, reader.width) == (whole.frames, whole.height, whole.width)
    for number in (0, reader.frames - 1):
        assert torch.equal(reader.read([number])[0], whole.rgb[number])


@pytest.mark.parametrize("name", ["flipped.mp4", "over_reported.mp4", *UNOPENED])
def test_evaluation_refuses_damaged_files(files: dict[str, Path], name: str):
    """Catches figures measured on pictures that no encoder made."""
    with pytest.raises(DataError, match=name):
        read_source(files[name])


@pytest.mark.parametrize("reader", ["auto", "decord"])
def test_none_stops_a_loader_and_none_is_silent(
    files: dict[str, Path], folder: Path, tmp_path: Path, reader: str
):
    """Catches a file at which training stops, or that gives no clips and is in no record."""
    goods = [
        Path(shutil.copy(folder / "good.mp4", tmp_path / f"good_{number}.mp4"))
        for number in range(3)
    ]
    sequences = [Sequence(path) for path in (*goods, *files.values())]
    clips = ClipDataset(
        sequences, 2, 32, reader=reader, worst_share=0.9, record=tmp_path / "faults.jsonl"
    )
    batches = list(ClipLoader(clips, ClipBatchSampler(0, len(sequences) // 2, 2), workers=1))
    assert len(batches) == len(sequences) // 2
    reported = {
        Path(json.loads(line)["path"]).name
        for line in (tmp_path / "faults.jsonl").read_text().splitlines()
    }
    drawn = {sequences[clips.order[sample]].path.name for sample in range(2 * len(batches))}
    given = {name.rpartition(":")[0] for batch in batches for name in batch.names}
    assert (drawn & set(UNOPENED)) <= reported and reported.isdisjoint(path.name for path in goods)
    assert drawn <= reported | given
