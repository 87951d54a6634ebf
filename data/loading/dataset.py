"""Data sets of clips: random ones to train on, fixed ones to validate on."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from data.errors import DataError, check_at_least, check_share
from data.io.readers import Reader, check_reader, open_reader
from data.loading.clip import Clip, crop_at, window_at
from data.loading.frame_cache import FrameCache
from data.loading.quarantine import Quarantine
from data.loading.samplers import EpochShuffle
from data.sequences import Sequence, Sequences


class ClipDataset(Dataset[Clip]):
    """Sample `i` is drawn by a generator seeded with `[seed, i]`: the same in every worker, run and
    order.

    Every sequence comes once an epoch, whatever its length (see `EpochShuffle`): no file needs to
    be opened to start, and a long take of one scene does not crowd out the others. Within a
    sequence the stride, the first frame and the square are uniform.

    A sequence that fails is set aside with a warning and its samples come from the next in the
    list, so that a sample still depends on the seed, its number and the sequences only.

    Args:
        sequences: at least one.
        frames: frames a clip.
        crop: side of the square in pixels; smaller videos are padded by reflection.
        stride: the largest step between frames; drawn from 1 to what this and the sequence's length
            allow.
        seed: any integer from 0.
        reader: "auto", "decord" or "pyav".
        flips: mirror half of the clips left to right, and half upside down.
        reverse: play half of the clips backwards.
        worst_share: 0..1, the share of sequences that may fail before DataError.
        held_out: 0..1, the share of each sequence's frames, the last ones, that is never drawn.
        hold_mb: MiB of decoded frames that this process may hold in memory, see `FrameCache`.
        record: where faults are recorded, see `Quarantine`.

    Raises:
        DataError: a field is out of range; in `[]`, too many sequences have failed.
    """

    def __init__(
        self,
        sequences: Sequences,
        frames: int,
        crop: int,
        stride: int = 1,
        seed: int = 0,
        reader: str = "auto",
        flips: bool = True,
        reverse: bool = True,
        worst_share: float = 0.1,
        held_out: float = 0.0,
        hold_mb: int = 0,
        record: Path | None = None,
    ) -> None:
        check_at_least(0, seed=seed, hold_mb=hold_mb)
        check_at_least(1, sequences=len(sequences), frames=frames, crop=crop, stride=stride)
        check_share(worst_share=worst_share, held_out=held_out)
        check_reader(reader)
        self.sequences = sequences
        self.frames = frames
        self.crop = crop
        self.stride = stride
        self.seed = seed
        self.flips = flips
        self.reverse = reverse
        self.held_out = held_out
        self.order = EpochShuffle(len(sequences), seed)
        self.quarantine = Quarantine(sequences, worst_share, record)
        self.frame_cache = FrameCache(reader, hold_mb)

    def resized(self, frames: int, crop: int) -> ClipDataset:
        """The same sequences, faults and held frames with another length and crop, for another
        training stage.
        """
        check_at_least(1, frames=frames, crop=crop)
        other = copy.copy(self)
        other.frames = frames
        other.crop = crop
        return other

    def __len__(self) -> int:
        """Samples an epoch."""
        return len(self.sequences)

    def __getitem__(self, sample: int) -> Clip:
        """Sample number `sample`, from 0 without end, as a `Clip` of batch 1."""
        if sample < 0:
            raise IndexError(f"sample {sample}: they are counted from 0")
        return self.quarantine.first_good(
            self.order[sample], lambda number: self._draw(sample, number)
        )

    def _draw(self, sample: int, number: int) -> Clip:
        sequence = self.sequences[number]
        return self.draw(
            sequence,
            self.frame_cache.open(sequence),
            np.random.default_rng([self.seed, sample, number]),
        )

    def draw(self, sequence: Sequence, reader: Reader, rng: np.random.Generator) -> Clip:
        """A random clip of one sequence as a `Clip` of batch 1; DataError when it is too short or
        cannot be read.
        """
        usable = first_held_out(reader.frames, self.held_out)
        if usable < self.frames:
            raise DataError(
                f"{sequence.path}: {usable} frames to train on, frames={self.frames}; lower it or "
                "give longer videos"
            )
        stride = int(
            rng.integers(1, max(1, min(self.stride, (usable - 1) // max(1, self.frames - 1))) + 1)
        )
        start = int(rng.integers(usable - (self.frames - 1) * stride))
        numbers = [start + stride * step for step in range(self.frames)]
        down, across = rng.random(2)
        mirrored, tipped, backwards = rng.random(3) < 0.5
        turns = (
            (3, self.flips and mirrored),
            (2, self.flips and tipped),
            (0, self.reverse and backwards),
        )
        flip = [axis for axis, turn in turns if turn]
        window = window_at(
            reader.height, width=reader.width, size=self.crop, down=down, across=across
        )
        pictures = crop_at(
            reader.read(numbers, window), size=self.crop, down=0, across=0, flip=flip
        )
        if 0 in flip:
            numbers.reverse()
        return one_clip(pictures, sequence=sequence, numbers=numbers, stride=stride, reader=reader)


def one_clip(
    pictures: Tensor, sequence: Sequence, numbers: list[int], stride: int, reader: Reader
) -> Clip:
    """A `Clip` of batch 1 from uint8 `(T, 3, H, W)` pictures of frames `numbers` of a sequence."""
    first = numbers[0] + sequence.first
    last = numbers[-1] + sequence.first
    return Clip(
        pictures[None],
        names=[f"{sequence.label}:{first}..{last}/{stride}"],
        fps=[reader.fps / stride],
        matrices=[reader.matrix],
    )


def first_held_out(frames: int, share: float) -> int:
    """Number of the first frame of the held-out end: `frames` when `share` is 0, else at least one
    is held out.
    """
    return frames - int(np.ceil(frames * share))


class ValidationClips(Dataset[Clip]):
    """`count` clips spread evenly over the sequences and, where one gives several, over its
    held-out frames.

    Read with PyAV (exact, with our color conversion) and then held in memory: the set is small and
    asked for often.

    Args:
        sequences: at least one.
        frames: frames a clip; the same in all stages of a training, so that its figures compare.
        crop: side of the centre square in pixels; smaller videos are padded by reflection.
        count: how many clips.
        held_out: 0..1, the share of each sequence's last frames to take them from; 0 means that all
            of it is held out.
        worst_share: 0..1, the share of sequences that may fail before DataError.
    """

    def __init__(
        self,
        sequences: Sequences,
        frames: int,
        crop: int,
        count: int,
        held_out: float = 0.0,
        worst_share: float = 0.1,
    ) -> None:
        check_at_least(
            1, sequences=len(sequences), val_frames=frames, val_crop=crop, val_clips=count
        )
        check_share(held_out=held_out)
        self.sequences = sequences
        self.frames = frames
        self.crop = crop
        self.count = count
        self.held_out = held_out
        self.quarantine = Quarantine(sequences, worst_share)
        self._loaded: dict[int, Clip] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Clip:
        """Clip `index` as a `Clip` of batch 1."""
        if not 0 <= index < self.count:
            raise IndexError(f"clip {index}: there are {self.count}")
        if index not in self._loaded:
            there = len(self.sequences)
            first = index % there if self.count > there else index * there // self.count
            self._loaded[index] = self.quarantine.first_good(
                first, lambda number: self._read(index, number)
            )
        return self._loaded[index]

    def _read(self, index: int, number: int) -> Clip:
        sequence = self.sequences[number]
        reader = open_reader(sequence, "pyav")
        begin = first_held_out(reader.frames, self.held_out) if self.held_out else 0
        room = reader.frames - begin - self.frames
        if room < 0:
            held = reader.frames - begin
            raise DataError(
                f"{sequence.path}: {held} frames held out, val_frames={self.frames}; lower it or "
                "give longer videos"
            )
        turns = -(-self.count // len(self.sequences))
        start = begin + room * (2 * (index // len(self.sequences) % turns) + 1) // (2 * turns)
        numbers = list(range(start, start + self.frames))
        window = window_at(reader.height, width=reader.width, size=self.crop, down=0.5, across=0.5)
        return one_clip(
            crop_at(reader.read(numbers, window), size=self.crop, down=0, across=0),
            sequence=sequence,
            numbers=numbers,
            stride=1,
            reader=reader,
        )
