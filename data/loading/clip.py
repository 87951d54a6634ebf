"""Clip: a batch of short frame sequences, as training sees them, and squares cut out of frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from data.io.color import Window


@dataclass
class Clip:
    """A batch of `B` clips of `T` frames.

    Attributes:
        frames: uint8 `(B, T, 3, H, W)`, RGB, 0..255.
        names: `B` strings `FILE:FIRST..LAST/STRIDE`, frame numbers in the file; FIRST > LAST is
            reversed in time.
        fps: `B` frame rates in frames per second, of the clip (the file's rate over the stride).
        matrices: `B` names of the matrix that made the RGB, "bt601" or "bt709"; empty when it is
            not known.
    """

    frames: Tensor
    names: list[str]
    fps: list[float]
    matrices: list[str] = field(default_factory=list)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Clip:
        """The same clip with its frames on `device`, still uint8."""
        return replace(self, frames=self.frames.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Clip:
        """The same clip with its frames in page-locked memory; needs CUDA."""
        return replace(self, frames=self.frames.pin_memory())


def join_clips(clips: Sequence[Clip]) -> Clip:
    """One batch out of several on the CPU of equal `(T, 3, H, W)`, in order."""
    return Clip(
        frames=torch.from_numpy(np.concatenate([clip.frames.numpy() for clip in clips])),
        names=[name for clip in clips for name in clip.names],
        fps=[fps for clip in clips for fps in clip.fps],
        matrices=[matrix for clip in clips for matrix in clip.matrices],
    )


def window_at(height: int, width: int, size: int, down: float, across: float) -> Window:
    """A square of `size` pixels as (top, left, height, width), or all there is along a side that is
    shorter.

    Args:
        height, width: of the frames, pixels.
        size: pixels.
        down, across: where in the room that is left, 0 (top, left) to 1 (bottom, right); 0.5 is the
            centre.
    """
    tall = min(size, height)
    wide = min(size, width)
    return round(down * (height - tall)), round(across * (width - wide)), tall, wide


def crop_at(
    frames: Tensor, size: int, down: float, across: float, flip: Sequence[int] = ()
) -> Tensor:
    """A square of `size` pixels; frames that are smaller are first padded evenly by reflection.

    Args:
        frames: uint8 `(T, 3, H, W)`.
        size: pixels.
        down, across: see `window_at`.
        flip: axes to reverse: 0 in time, 2 upside down, 3 left to right.

    Returns:
        uint8 `(T, 3, size, size)`, contiguous and sharing no memory with `frames`.
    """
    pictures = _padded(frames.numpy(), size)
    height, width = pictures.shape[-2:]
    top, left, _, _ = window_at(height, width, size, down, across)
    window = torch.from_numpy(pictures[..., top : top + size, left : left + size])
    return torch.flip(window, list(flip)).contiguous()  # a copy; numpy mirrors 30 times slower


def _padded(pictures: np.ndarray, size: int) -> np.ndarray:
    """Reflection any number of times over, which torch's own padding refuses."""
    lacks = [max(0, size - extent) for extent in pictures.shape[-2:]]
    if not any(lacks):
        return pictures
    margins = [(lack // 2, lack - lack // 2) for lack in lacks]
    return np.pad(pictures, [(0, 0), (0, 0), *margins], mode="reflect")
