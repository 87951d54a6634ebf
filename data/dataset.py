"""ClipDataset: random short clips of video files, each a pure function of the seed and its number."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from data.clip import Clip
from data.crops import crop_at
from data.errors import DataError
from data.faults import Faults
from data.hold import Hold
from data.readers import READERS, Reader


class ClipDataset(Dataset[Clip]):
    """Sample `i` is drawn by a generator seeded with `[seed, i]`: the same in every worker, run and order.

    Files are drawn uniformly, whatever their length: no file needs to be opened to start, and a long take of one
    scene does not crowd out the others. Within a file the stride, the first frame and the square are uniform.

    A file that fails is set aside with a warning and its samples come from the next file in the list, so that a
    sample still depends on the seed, its number and the files only.

    Args:
        files: video files, at least one.
        frames: frames a clip.
        crop: side of the square in pixels; smaller videos are padded by reflection.
        stride: the largest step between frames; drawn from 1 to what this and the file's length allow.
        seed: any integer from 0.
        length: how many samples there are.
        reader: "decord" or "pyav".
        flips: mirror half of the clips left to right, and half upside down.
        reverse: play half of the clips backwards.
        worst_share: 0..1, the share of files that may fail before DataError.
        held_out: 0..1, the share of each file's frames, the last ones, that is never drawn.
        hold_mb: MiB of decoded frames that this process may hold in memory, see `Hold`.

    Raises:
        DataError: a field is out of range; in `[]`, too many files have failed.
    """

    def __init__(
        self,
        files: Sequence[Path],
        frames: int,
        crop: int,
        stride: int = 1,
        seed: int = 0,
        length: int = 1 << 62,
        reader: str = "decord",
        flips: bool = True,
        reverse: bool = True,
        worst_share: float = 0.1,
        held_out: float = 0.0,
        hold_mb: int = 0,
    ) -> None:
        check_at_least(0, seed=seed, hold_mb=hold_mb)
        check_at_least(1, files=len(files), frames=frames, crop=crop, stride=stride, length=length)
        check_share(worst_share=worst_share, held_out=held_out)
        check_reader(reader)
        self.files, self.frames, self.crop, self.stride = list(files), frames, crop, stride
        self.seed, self.length, self.flips, self.reverse, self.held_out = seed, length, flips, reverse, held_out
        self.faults = Faults(self.files, worst_share)
        self.hold = Hold(reader, hold_mb)

    def resized(self, frames: int, crop: int) -> ClipDataset:
        """The same files, faults and held frames with another length and crop, for another training stage."""
        check_at_least(1, frames=frames, crop=crop)
        other = copy.copy(self)
        other.frames, other.crop = frames, crop
        return other

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Clip:
        """Sample `index` as a `Clip` of batch 1."""
        if not 0 <= index < self.length:
            raise IndexError(f"sample {index}: there are {self.length}")
        first = int(np.random.default_rng([self.seed, index]).integers(len(self.files)))
        return self.faults.first_good(first, lambda number: self._draw(index, number))

    def _draw(self, index: int, number: int) -> Clip:
        """Sample `index` out of file `number`."""
        path = self.files[number]
        rng = np.random.default_rng([self.seed, index, number])
        reader = self.hold.open(path)
        usable = first_held_out(reader.frames, self.held_out)
        if usable < self.frames:
            raise DataError(f"{path}: {usable} frames to train on, frames={self.frames}; lower it or give longer videos")
        stride = int(rng.integers(1, max(1, min(self.stride, (usable - 1) // max(1, self.frames - 1))) + 1))
        start = int(rng.integers(usable - (self.frames - 1) * stride))
        numbers = [start + stride * step for step in range(self.frames)]
        at = rng.random(2)
        across, down, backwards = rng.random(3) < 0.5
        turns = ((3, self.flips and across), (2, self.flips and down), (0, self.reverse and backwards))
        flip = [axis for axis, turn in turns if turn]
        pictures = crop_at(reader.read(numbers), self.crop, *at, flip)
        if 0 in flip:
            numbers.reverse()
        return one_clip(pictures, path, numbers, stride, reader)


def one_clip(pictures: Tensor, path: Path, numbers: list[int], stride: int, reader: Reader) -> Clip:
    """A `Clip` of batch 1 from uint8 `(T, 3, H, W)` pictures of frames `numbers`."""
    name = f"{path.name}:{numbers[0]}..{numbers[-1]}/{stride}"
    return Clip(pictures[None], [name], [reader.fps / stride], [reader.matrix])


def first_held_out(frames: int, share: float) -> int:
    """Number of the first frame of the held-out end: `frames` when `share` is 0, else at least one is held out."""
    return frames - int(np.ceil(frames * share))


def check_at_least(least: int, **fields: int) -> None:
    """DataError naming the first field that is smaller."""
    for name, value in fields.items():
        if value < least:
            raise DataError(f"{name}={value}; give {least} or more")


def check_share(**fields: float) -> None:
    """DataError naming the first field outside 0..1."""
    for name, value in fields.items():
        if not 0 <= value <= 1:
            raise DataError(f"{name}={value}; give a share from 0 to 1")


def check_reader(reader: str) -> None:
    """DataError unless `reader` is one of `READERS`."""
    if reader not in READERS:
        raise DataError(f"reader={reader!r} is unknown; choose one of {', '.join(READERS)}")
