"""Random clips, each a function of the seed and its number."""

import errno
import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import DataError
from data.io.readers import open_reader
from data.io.source_clip import read_source
from data.loading.clip import Clip, crop_at
from data.loading.dataset import ClipDataset, ValidationClips
from data.loading.quarantine import Quarantine
from data.sequences import Sequence


def clips(files: list[Path], *arguments: int, **options: object) -> ClipDataset:
    return ClipDataset([Sequence(file) for file in files], *arguments, **options)


def same(one: Clip, other: Clip) -> bool:
    return one.names == other.names and torch.equal(one.frames, other.frames)


@pytest.fixture
def files(videos: Path) -> list[Path]:
    return [videos / "h264.mp4", videos / "hevc.mp4", videos / "hevc_open.mp4"]


def frame_numbers(clip: Clip) -> list[int]:
    span, stride = clip.names[0].rsplit(":", 1)[1].split("/")
    first, last = map(int, span.split(".."))
    step = int(stride) if last >= first else -int(stride)
    return list(range(first, last + step, step))


def test_sample_is_a_function_of_seed_and_number(files: list[Path]):
    """Catches state kept between samples, and a seed that is not used."""
    one, other = clips(files, 3, 32, seed=5), clips(files, 3, 32, seed=5)
    backwards = [other[index] for index in reversed(range(8))][::-1]
    assert all(same(one[index], backwards[index]) for index in range(8))
    assert any(not same(one[index], clips(files, 3, 32, seed=6)[index]) for index in range(4))
    assert len({one[index].names[0] for index in range(8)}) > 4


def test_clip_holds_the_frames_that_its_name_says(files: list[Path]):
    """Catches strides, reversal and crops that do not match the name or the rate, and held-out
    frames being drawn.
    """
    data = clips(files, 3, 32, stride=4, seed=1, reader="pyav", flips=False, held_out=0.25)
    strides, reversed_clips = set(), 0
    for index in range(24):
        clip = data[index]
        numbers = frame_numbers(clip)
        step = abs(numbers[1] - numbers[0])
        path = next(file for file in files if clip.names[0].startswith(file.name + ":"))
        whole = read_source(path).rgb[numbers]
        windows = whole.unfold(2, 32, 1).unfold(3, 32, 1)  # (T, 3, y, x, 32, 32)
        assert (windows == clip.frames[0][:, :, None, None]).all(-1).all(-1).all(0).all(0).any()
        assert clip.frames.shape == (1, 3, 3, 32, 32) and clip.frames.dtype == torch.uint8
        assert clip.fps == [25 / step] and clip.matrices == ["bt601"] and max(numbers) < 30
        strides.add(step)
        reversed_clips += numbers[0] > numbers[-1]
    assert strides == {1, 2, 3, 4} and 4 < reversed_clips < 20


def test_flips_mirror_both_ways(files: list[Path]):
    """Catches a mirrored axis that is not the picture's."""
    plain = clips(files[:1], 2, 64, flips=False, reverse=False)
    turned = clips(files[:1], 2, 64, flips=True, reverse=False)
    seen = set()
    for index in range(16):
        frames, mirrored = plain[index].frames, turned[index].frames
        ways = {"none": [], "across": [-1], "down": [-2], "both": [-1, -2]}
        seen |= {way for way, axes in ways.items() if torch.equal(frames.flip(axes), mirrored)}
    assert seen == {"none", "across", "down", "both"}


def test_small_video_is_padded_by_reflection():
    """Catches black borders, and a picture smaller than half of the crop."""
    frames = torch.arange(12, dtype=torch.uint8).view(1, 1, 3, 4).expand(2, 3, 3, 4)
    padded = crop_at(frames, 9, 0.3, 0.8)
    assert padded.shape == (2, 3, 9, 9) and torch.equal(padded[..., 3:6, 2:6], frames)
    assert torch.equal(padded[..., 2, 2:6], frames[..., 1, :]) and torch.equal(
        padded[..., 3:6, 1], frames[..., 1]
    )
    assert crop_at(frames[..., :1, :1], 4, 0, 0).unique().tolist() == [0]


def test_bad_file_is_set_aside_once(
    files: list[Path], bad_videos: Path, caplog: pytest.LogCaptureFixture
):
    """Catches a bad file that stops training, is silent, is tried again, or makes samples depend on
    history.
    """
    files = [*files, bad_videos / "text.mp4"]
    one, other = (clips(files, 3, 32, worst_share=0.25) for _ in range(2))
    backwards = [other[index] for index in reversed(range(20))][::-1]
    caplog.clear()
    assert all(same(one[index], backwards[index]) for index in range(20))
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert one.quarantine.count == 1 and len(warnings) == 1
    assert "text.mp4" in warnings[0].message and "1 of 4" in warnings[0].message


def test_too_many_bad_files_stop(files: list[Path], bad_videos: Path):
    """Catches training on the few files that are left."""
    data = clips(
        [files[0], bad_videos / "empty.mp4", bad_videos / "text.mp4"], 3, 32, worst_share=0.4
    )
    with pytest.raises(DataError, match=r"2 of 3 sequences failed.*worst_share=0\.4.*\.mp4"):
        [data[index] for index in range(20)]


def test_file_shorter_than_a_clip_is_a_fault(files: list[Path]):
    """Catches repeated or missing frames in long-clip stages."""
    with pytest.raises(DataError, match=r"40 frames to train on, frames=41"):
        clips(files[:1], 41, 32)[0]
    assert frame_numbers(clips(files[:1], 40, 32, stride=9, reverse=False)[0]) == list(range(40))


def test_held_frames_are_the_same_frames(files: list[Path]):
    """Catches a hold that changes samples, and one that grows above its size."""
    held, fresh = clips(files, 3, 32, hold_mb=2), clips(files, 3, 32)
    assert all(same(held[index], fresh[index]) for index in range(12))
    assert len(held.frame_cache._held) == 2 and held.frame_cache.room >= 0


def test_dataset_survives_pickling(files: list[Path]):
    """Catches what a spawned worker cannot take along."""
    data = clips(files, 3, 32)
    data[0]
    assert same(pickle.loads(pickle.dumps(data))[1], data[1])


@pytest.mark.parametrize(
    "field", [{"frames": 0}, {"crop": 0}, {"stride": 0}, {"worst_share": 2}, {"reader": "cv2"}]
)
def test_fields_are_checked(files: list[Path], field: dict):
    """Catches values that would fail later, inside a worker."""
    with pytest.raises(DataError, match=next(iter(field))):
        clips(**{"files": files, "frames": 3, "crop": 32, **field})


def test_validation_clips_stay_in_the_held_out_frames(files: list[Path]):
    """Catches validation on frames that were trained on, and clips that are all the same."""
    clips = ValidationClips(
        [Sequence(file) for file in files], frames=3, crop=32, count=6, held_out=0.25
    )
    numbers = [frame_numbers(clips[index]) for index in range(6)]
    assert all(min(clip) >= 30 and max(clip) < 40 for clip in numbers)
    assert len({clips[index].names[0] for index in range(6)}) == 6
    whole = read_source(files[0]).rgb[numbers[0]]
    assert torch.equal(clips[0].frames[0], whole[..., 16:48, 32:64])
    with pytest.raises(DataError, match=r"10 frames held out, val_frames=11"):
        ValidationClips(
            [Sequence(file) for file in files], frames=11, crop=32, count=1, held_out=0.25
        )[0]


def test_damaged_files_never_stop_training(tmp_path: Path, files: list[Path]):
    """Catches errors of other kinds than ours out of the libraries that read, wherever bytes are
    wrong.
    """
    rng = np.random.default_rng(0)
    damaged = []
    for number in range(40):
        content = bytearray(files[number % len(files)].read_bytes())
        for place in rng.integers(len(content), size=int(rng.integers(1, 300))):
            content[place] = rng.integers(256)
        damaged.append(tmp_path / f"{number}.mp4")
        damaged[-1].write_bytes(content)
    data = clips([*damaged, *files], 2, 16, worst_share=1.0, reader="pyav")
    assert all(data[index].frames.shape == (1, 2, 3, 16, 16) for index in range(60))
    assert data.quarantine.count > 10


def test_a_change_of_size_is_a_fault(tmp_path: Path, videos: Path, ffmpeg):
    """Catches pixels read from outside of a picture that is smaller than the first."""
    parts = []
    for size in ("96x64", "48x32"):
        parts.append(tmp_path / f"{size}.mpg")
        ffmpeg(
            "-f",
            "lavfi",
            "-i",
            f"testsrc2=size={size}:rate=25:duration=0.6",
            "-c:v",
            "mpeg2video",
            "-f",
            "mpeg",
            parts[-1],
        )
    (tmp_path / "both.mpg").write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(DataError, match="changes its size|cannot be decoded"):
        reader = open_reader(tmp_path / "both.mpg")
        reader.read(range(reader.frames))


def test_storage_that_is_gone_stops_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Catches hundreds of thousands of files set aside because a disk is not there."""
    monkeypatch.setattr("data.loading.quarantine.MAX_CONSECUTIVE", 10)
    with pytest.raises(
        DataError, match="11 sequences failed one after the other; is the storage there"
    ):
        clips([tmp_path / f"{number}.mp4" for number in range(5000)], 2, 16)[0]


def test_an_error_that_passes_is_waited_out(files: list[Path], monkeypatch: pytest.MonkeyPatch):
    """Catches good files set aside for a network that failed for a moment."""
    monkeypatch.setattr("data.loading.quarantine.RETRY_DELAYS", (0.0, 0.0))
    data = clips(files, 2, 16)
    read, left = data.frame_cache.open, [2]

    def fails(sequence: Sequence):
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EIO, "not now")
        return read(sequence)

    monkeypatch.setattr(data.frame_cache, "open", fails)
    assert data[0].names == clips(files, 2, 16)[0].names and data.quarantine.count == 0


def test_the_share_is_of_what_was_drawn(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
):
    """Catches a set of millions of which half is bad, trained on for days before a share of all has
    failed.
    """
    monkeypatch.setattr("data.loading.quarantine.MIN_SAMPLE", 20)
    data = clips(
        [files[0] if number % 2 else tmp_path / f"{number}.mp4" for number in range(2000)],
        2,
        16,
        worst_share=0.3,
    )
    with pytest.raises(
        DataError, match=r"\d+ of \d+ sequences failed, more than data.worst_share=0.3"
    ):
        [data[index] for index in range(200)]
    assert data.quarantine.count < 60


def test_a_mistake_in_a_program_is_no_bad_file():
    """Catches a data set of one's own whose typing error quarantines every file in turn."""

    def mistaken(number: int) -> None:
        raise AttributeError("no such attribute")

    def library(number: int) -> None:
        json.loads(number)  # a TypeError from inside the library

    def damaged(number: int) -> None:
        raise ValueError("cut off")

    quarantine = Quarantine([Sequence(Path("a.mp4")), Sequence(Path("b.mp4"))], 1.0)
    with pytest.raises(AttributeError):
        quarantine.first_good(0, mistaken)
    assert quarantine.count == 0
    for make in (library, damaged):
        quarantine = Quarantine([Sequence(Path("a.mp4")), Sequence(Path("b.mp4"))], 1.0)
        with pytest.raises(DataError, match="all 2 sequences failed"):
            quarantine.first_good(0, make)
        assert quarantine.count == 2
