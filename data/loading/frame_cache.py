"""FrameCache: opening sequences for a data set, the first of them decoded once and held in
memory.
"""

from collections.abc import Sequence as Numbers

import torch
from torch import Tensor

from data.io.color import Window
from data.io.readers import Reader, open_reader
from data.sequences import Sequence

PORTION = 64  # frames decoded at once; each portion is decoded from the keyframe before it


class CachedReader:
    """A `Reader` over frames that were decoded before."""

    def __init__(self, reader: Reader) -> None:
        self.frames = reader.frames
        self.fps = reader.fps
        self.matrix = reader.matrix
        self.width = reader.width
        self.height = reader.height
        self._pictures = torch.empty(
            reader.frames, 3, reader.height, reader.width, dtype=torch.uint8
        )
        for first in range(0, reader.frames, PORTION):
            portion = range(first, min(first + PORTION, reader.frames))
            self._pictures.numpy()[first : portion.stop] = reader.read(portion).numpy()

    def read(self, indices: Numbers[int], window: Window | None = None) -> Tensor:
        """See `Reader`; evenly spaced frames are a view, not to be written to."""
        top, left, height, width = window or (0, 0, self.height, self.width)
        pictures = self._pictures[..., top : top + height, left : left + width]
        step = indices[1] - indices[0] if len(indices) > 1 else 1
        if step > 0 and list(indices) == list(range(indices[0], indices[-1] + 1, step)):
            return pictures[indices[0] : indices[-1] + 1 : step]
        return pictures[list(indices)]


class FrameCache:
    """Opens sequences; those that fit into `megabytes` are decoded wholly at first use and held,
    first come, never evicted.

    Those that do not fit are opened anew every time, which keeps no memory (an open decord reader
    grows). Each worker has its own hold: use it for a few small files, with `workers=0` or 1.
    """

    def __init__(self, reader: str, megabytes: int = 0) -> None:
        self.reader = reader
        self.room = megabytes * 2**20
        self._held: dict[Sequence, CachedReader] = {}

    def open(self, sequence: Sequence) -> Reader:
        """A reader of a sequence; DataError as `open_reader`."""
        if self._held and sequence in self._held:
            return self._held[sequence]
        reader = open_reader(sequence, self.reader)
        need = reader.frames * 3 * reader.height * reader.width
        if need > self.room:
            return reader
        self._held[sequence] = CachedReader(reader)
        self.room -= need
        return self._held[sequence]
