"""The data module: batches, their division, workers and continuation."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from codec.registry import build
from data.errors import DataError
from data.loading.clip import Clip
from data.loading.dataloader import ClipLoader
from data.loading.datamodule import ClipDataModule
from data.loading.samplers import ClipBatchSampler

CONF = Path(__file__).parents[3] / "conf"


def take(module: ClipDataModule, count: int, start: int = 0) -> list[Clip]:
    module.configure(module.frames, module.crop, module.batch, start_sample=start, batches=count)
    return list(module.train_dataloader())


def same(one: list[Clip], other: list[Clip]) -> bool:
    names = [clip.names for clip in one] == [clip.names for clip in other]
    return names and all(torch.equal(a.frames, b.frames) for a, b in zip(one, other, strict=True))


@pytest.fixture
def folder(tmp_path: Path, videos: Path) -> Path:
    """Twelve files, every one good."""
    for number in range(12):
        shutil.copy(
            videos / ("h264.mp4" if number % 2 else "hevc.mp4"), tmp_path / f"{number:02d}.mp4"
        )
    return tmp_path


def make(root: Path, **options: int | str) -> ClipDataModule:
    return ClipDataModule(
        **{"root": root, "frames": 2, "crop": 32, "batch": 3, "stride": 2, "seed": 4, **options}
    )


@pytest.mark.parametrize(("workers", "start_method"), [(1, "fork"), (2, "fork"), (1, "spawn")])
def test_workers_change_nothing(folder: Path, workers: int, start_method: str):
    """Catches draws that depend on the worker, an order lost between workers, and workers that
    cannot start.
    """
    alone = take(make(folder), 5)
    assert same(alone, take(make(folder, workers=workers, start_method=start_method), 5))
    assert alone[0].frames.shape == (3, 2, 3, 32, 32) and alone[0].frames.dtype == torch.uint8
    assert len(alone[0].names) == len(alone[0].fps) == len(alone[0].matrices) == 3


def test_workers_start_after_reading_in_this_process(folder: Path):
    """Catches the deadlock of decord and of threads carried across a fork."""
    module = make(folder)
    first = take(module, 2)
    next(iter(module.val_dataloader()))
    module.workers = 2
    assert same(first, take(module, 2))


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_interrupted_in_an_epoch_it_goes_on_with_what_is_left(folder: Path, workers: int):
    """Catches samples repeated or skipped after a resume, with another number of workers too."""
    whole = take(make(folder, batch=2), 8)
    first = take(make(folder, batch=2, workers=workers), 3)
    rest = take(make(folder, batch=2, workers=workers), 5, start=6)
    assert same(whole, first + rest)
    files = [name.split(":")[0] for clip in whole for name in clip.names]
    assert len(set(files[:11])) == 11, "every sequence once an epoch"
    assert files[11:] != files[:5] and len(set(files[11:])) == 5


def test_two_processes_share_an_epoch(folder: Path):
    """Catches ranks that draw the same samples, and global batches that depend on how many ranks
    there are.
    """
    alone = [name for clip in take(make(folder, batch=4), 3) for name in clip.names]
    data = make(folder, batch=2, workers=1)
    data.setup()
    ranks = [
        [
            c.names
            for c in ClipLoader(data.train_clips, ClipBatchSampler(0, 3, 2, rank, 2), workers=1)
        ]
        for rank in range(2)
    ]
    together = [name for pair in zip(*ranks, strict=True) for names in pair for name in names]
    assert together == alone
    left = [c.names for c in ClipLoader(data.train_clips, ClipBatchSampler(8, 1, 2, 1, 2))]
    assert left == ranks[1][2:], "rank 1 resumed in the middle of the epoch"


def test_another_set_of_sequences_is_noticed_on_resume(
    folder: Path, caplog: pytest.LogCaptureFixture
):
    """Catches an epoch that goes on over other sequences in silence."""
    before = make(folder).state()
    make(folder).resume(before)
    assert not caplog.records
    (folder / "05.mp4").unlink()
    make(folder).resume(before)
    assert "sequences were 11 and are 10" in caplog.text


@pytest.mark.parametrize("device, pinned", [("cpu", False), ("meta", True)])
def test_batches_for_another_memory_are_page_locked(folder: Path, device: str, pinned: bool):
    """Catches slow copies to a GPU, and page-locked memory that a training on the CPU has no use
    for.
    """
    module = make(folder)
    assert not module.train_dataloader().pin_memory
    strategy = SimpleNamespace(root_device=torch.device(device))
    module.trainer = SimpleNamespace(strategy=strategy, global_rank=0, world_size=1)
    assert module.train_dataloader().pin_memory is pinned


def test_stage_changes_frames_crop_and_batch(folder: Path):
    """Catches a stage that trains with the sizes of the one before."""
    module = make(folder)
    take(module, 1)
    module.configure(5, 48, 2)
    clip = next(iter(module.train_dataloader()))
    assert clip.frames.shape == (2, 5, 3, 48, 48)
    assert len(module.train_dataloader()) > 10**8


def test_every_tenth_file_is_for_validation_only(folder: Path):
    """Catches leaks between training and validation."""
    module = make(folder, val_frames=3, val_crop=24, val_clips=2)
    module.setup()
    assert [sequence.path.name for sequence in module.val_clips.sequences] == ["09.mp4"]
    assert (
        "09.mp4" not in [s.path.name for s in module.train_clips.sequences]
        and len(module.train_clips) == 11
    )
    clips = list(module.val_dataloader())
    assert clips[0].frames.shape == (2, 3, 3, 24, 24)
    assert same(clips, list(module.val_dataloader()))


def test_few_files_hold_out_their_last_frames(videos: Path):
    """Catches validation on nothing, or on frames trained on, when there are few files."""
    module = make(videos / "h264.mp4", val_frames=2, val_clips=2, stride=1)
    assert all(
        int(name.split(":")[1].split("..")[0]) < 36
        for clip in take(module, 12)
        for name in clip.names
    )
    names = [name for clip in module.val_dataloader() for name in clip.names]
    assert names == ["h264.mp4:36..37/1", "h264.mp4:37..38/1"]


def test_faults_in_workers_are_counted_here(folder: Path, bad_videos: Path):
    """Catches faults that only the worker knows of."""
    shutil.copy(bad_videos / "text.mp4", folder / "02.mp4")
    module = make(folder, workers=2)
    take(module, 12)
    assert module.train_clips.quarantine.count == 1 and module.trouble == "1 sequences set aside"


def test_too_many_faults_in_workers_stop_training(folder: Path, bad_videos: Path):
    """Catches an error that is lost on its way out of a worker."""
    for number in range(0, 12, 2):
        shutil.copy(bad_videos / "truncated.mp4", folder / f"{number:02d}.mp4")
    with pytest.raises(DataError, match="worst_share"):
        take(make(folder, workers=1), 20)


@pytest.mark.parametrize(
    "field",
    [
        {"batch": 0},
        {"patience": 0},
        {"workers": -1},
        {"reader": "cv2"},
        {"exclude_every": 1},
        {"val_clips": 0},
    ],
)
def test_module_fields_are_checked(folder: Path, field: dict):
    """Catches values that would fail later, in a stage or a worker."""
    with pytest.raises(DataError, match=next(iter(field))):
        make(folder, **field).setup()


@pytest.mark.parametrize("name", ["demo", "folder"])
def test_configs_instantiate(folder: Path, name: str):
    """Catches fields that the module does not know, and OmegaConf objects reaching it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(
            "train",
            overrides=[
                f"data={name}",
                f"data.root=[{folder}]",
                "seed=3",
                f"run={folder}",
                "name=test",
            ],
        )
    module = build("data", OmegaConf.to_container(config.data, resolve=True), "data")
    module.setup()
    assert type(module.root) is list and module.train_clips.seed == 3
    assert len(next(iter(module.train_dataloader())).names) == 8


def test_clip_moves_and_keeps_the_rest():
    """Catches names or rates lost on the way to the device."""
    clip = Clip(torch.zeros(1, 2, 3, 4, 4, dtype=torch.uint8), ["a:0..1/1"], [25.0], ["bt601"])
    moved = clip.to("meta", non_blocking=True)
    assert moved.frames.device.type == "meta" and (moved.names, moved.fps) == (clip.names, clip.fps)
