"""Workers that die or hang are started again, and training sees the same batches."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from data.errors import DataError
from data.loading.clip import Clip
from data.loading.dataloader import ClipLoader
from data.loading.dataset import ClipDataset
from data.loading.samplers import ClipBatchSampler
from data.sequences import Sequence


class Trouble(ClipDataset):
    """Does something bad at sequence 3, at most `times` times."""

    def __init__(self, files: list[Path], folder: Path, times: int, hang: bool = False) -> None:
        super().__init__(
            [Sequence(file) for file in files],
            2,
            16,
            worst_share=0.5,
            record=folder / "faults.jsonl",
        )
        self.folder, self.times, self.hang = folder, times, hang

    def _draw(self, sample: int, number: int) -> Clip:
        before = len(list(self.folder.glob("trouble*")))
        if number == 3 and before < self.times:
            (self.folder / f"trouble{before}").touch()
            if self.hang:
                time.sleep(3600)
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._draw(sample, number)


@pytest.fixture
def files(videos: Path) -> list[Path]:
    return [videos / name for name in ("h264.mp4", "hevc.mp4", "h264_open.mkv", "hevc_open.mp4")]


def names(clips: ClipDataset, workers: int = 0, **options: float) -> list[list[str]]:
    return [clip.names for clip in ClipLoader(clips, ClipBatchSampler(0, 6, 2), workers, **options)]


def test_a_killed_worker_is_started_again(
    files: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Catches a run of weeks ended by one worker, and batches lost or doubled by the restart."""
    undisturbed = names(Trouble(files, tmp_path, times=0))
    clips = Trouble(files, tmp_path, times=1)
    loader = ClipLoader(clips, ClipBatchSampler(0, 6, 2), workers=2)
    assert [clip.names for clip in loader] == undisturbed
    assert loader.restarts == 1 and clips.quarantine.count == 0
    assert "hevc_open.mp4: the worker reading it" in caplog.text and "died" in caplog.text


def test_a_hanging_worker_is_ended_and_started_again(
    files: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Catches a run that stands still for ever, in decord for instance."""
    undisturbed = names(Trouble(files, tmp_path, times=0))
    assert names(Trouble(files, tmp_path, times=1, hang=True), workers=1, patience=3) == undisturbed
    assert "hevc_open.mp4" in caplog.text and "gave nothing for 3 s" in caplog.text


def test_a_sequence_that_kills_twice_is_set_aside(files: list[Path], tmp_path: Path):
    """Catches an endless circle of restarts at a file that crashes the decoder."""
    clips = Trouble(files, tmp_path, times=9)
    shown = names(clips, workers=1)
    assert (
        len(shown) == 6
        and clips.quarantine.count == 1
        and len(list(tmp_path.glob("trouble*"))) == 2
    )
    assert not any("hevc_open" in name for batch in shown for name in batch)
    (row,) = map(json.loads, (tmp_path / "faults.jsonl").read_text().splitlines())
    assert row["path"].endswith("hevc_open.mp4") and "second time" in row["reason"]


def test_workers_that_always_die_stop_training(files: list[Path], tmp_path: Path):
    """Catches restarting for ever when the machine, not a file, is the cause."""

    class Dying(ClipDataset):
        def __getitem__(self, sample: int) -> Clip:
            os.kill(os.getpid(), signal.SIGKILL)

    clips = Dying([Sequence(file) for file in files], 2, 16)
    with pytest.raises(DataError, match="workers=1.*died, 2 times in a row.*memory"):
        names(clips, workers=1, most_restarts=1)


def test_a_death_is_not_raised_in_the_middle_of_a_step(files: list[Path], tmp_path: Path):
    """Catches torch's signal handler, which raises wherever the training process happens to be."""
    clips = Trouble(files, tmp_path, times=0)
    loader = iter(ClipLoader(clips, ClipBatchSampler(0, 50, 2), 1))
    next(loader)
    worker, _ = clips.quarantine.read_by(0)
    os.kill(worker, signal.SIGKILL)
    for _ in range(20):
        time.sleep(0.01)  # a handler of signals would raise here
    assert len(list(loader)) == 49


def test_a_worker_that_hangs_as_it_starts_is_ended(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches waiting for ever for a worker that has not said who it is, as after a fork gone
    wrong.
    """
    clips = Trouble(files, tmp_path, times=0)
    start = clips.quarantine.start_worker

    def stuck(worker: int) -> None:
        if not (tmp_path / "stuck").exists():
            (tmp_path / "stuck").touch()
            time.sleep(3600)
        start(worker)

    monkeypatch.setattr(clips.quarantine, "start_worker", stuck)
    assert len(names(clips, workers=1, patience=3)) == 6


def test_a_mistake_in_a_worker_is_not_a_death(files: list[Path]):
    """Catches an error in code retried again and again, and blamed on memory."""

    class Wrong(ClipDataset):
        def __getitem__(self, sample: int) -> Clip:
            raise RuntimeError("a mistake")

    loader = ClipLoader(
        Wrong([Sequence(file) for file in files], 2, 16), ClipBatchSampler(0, 6, 2), 1
    )
    with pytest.raises(RuntimeError, match="a mistake"):
        list(loader)
    assert loader.restarts == 0


def test_the_reason_comes_without_a_traceback(files: list[Path]):
    """Catches a user's error buried under the worker's stack."""
    clips = ClipDataset([Sequence(file) for file in files], 99, 16)
    with pytest.raises(DataError) as error:
        names(clips, workers=1)
    assert (
        "Traceback" not in str(error.value)
        and "worst_share" in str(error.value)
        and "\n" not in str(error.value)
    )


def test_a_batch_that_went_with_its_worker_is_made_again(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches the broken connection to a worker that died with a finished batch, which is no
    RuntimeError.
    """
    clips = Trouble(files, tmp_path, times=0)
    loader = ClipLoader(clips, ClipBatchSampler(0, 6, 2), 1)
    dataloader, broken = loader._dataloader, []

    class Iterator:
        def __init__(self, real: object) -> None:
            self.real, self._workers = real, real._workers

        def __next__(self) -> Clip:
            clip = next(self.real)
            if not broken and clip.names == undisturbed[2]:
                broken.append(clip)
                os.kill(self._workers[0].pid, signal.SIGKILL)
                raise ConnectionResetError("the worker is gone")
            return clip

    class Loader:
        def __init__(self, done: int) -> None:
            self.done = done

        def __iter__(self) -> Iterator:
            return Iterator(iter(dataloader(self.done)))

    undisturbed = names(Trouble(files, tmp_path, times=0))
    monkeypatch.setattr(loader, "_dataloader", Loader)
    assert [clip.names for clip in loader] == undisturbed and loader.restarts == 1 and broken
