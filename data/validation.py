"""ValidationClips: the same few centre crops every time, from frames that training never sees."""

from torch.utils.data import Dataset

from data.clip import Clip
from data.crops import crop_at, window_at
from data.dataset import first_held_out, one_clip
from data.errors import DataError, check_at_least, check_share
from data.faults import Faults
from data.io.readers import open_reader
from data.sequences import Sequences


class ValidationClips(Dataset[Clip]):
    """`count` clips spread evenly over the sequences and, where one gives several, over its held-out frames.

    Read with PyAV (exact, with our colour conversion) and then held in memory: the set is small and asked for often.

    Args:
        sequences: at least one.
        frames: frames a clip; the same in all stages of a training, so that its figures compare.
        crop: side of the centre square in pixels; smaller videos are padded by reflection.
        count: how many clips.
        held_out: 0..1, the share of each sequence's last frames to take them from; 0 means that all of it is held out.
        worst_share: 0..1, the share of sequences that may fail before DataError.
    """

    def __init__(
        self, sequences: Sequences, frames: int, crop: int, count: int, held_out: float = 0.0, worst_share: float = 0.1
    ) -> None:
        check_at_least(1, sequences=len(sequences), val_frames=frames, val_crop=crop, val_clips=count)
        check_share(held_out=held_out)
        self.sequences, self.frames, self.crop, self.count, self.held_out = sequences, frames, crop, count, held_out
        self.faults = Faults(sequences, worst_share)
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
            self._loaded[index] = self.faults.first_good(first, lambda number: self._read(index, number))
        return self._loaded[index]

    def _read(self, index: int, number: int) -> Clip:
        sequence = self.sequences[number]
        reader = open_reader(sequence, "pyav")
        begin = first_held_out(reader.frames, self.held_out) if self.held_out else 0
        room = reader.frames - begin - self.frames
        if room < 0:
            held = reader.frames - begin
            raise DataError(f"{sequence.path}: {held} frames held out, val_frames={self.frames}; lower it or give longer videos")
        turns = -(-self.count // len(self.sequences))
        start = begin + room * (2 * (index // len(self.sequences) % turns) + 1) // (2 * turns)
        numbers = list(range(start, start + self.frames))
        window = window_at(reader.height, reader.width, self.crop, 0.5, 0.5)
        return one_clip(crop_at(reader.read(numbers, window), self.crop, 0, 0), sequence, numbers, 1, reader)
