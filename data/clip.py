"""Clip: a batch of short frame sequences, as training sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor


@dataclass
class Clip:
    """A batch of `B` clips of `T` frames.

    Attributes:
        frames: uint8 `(B, T, 3, H, W)`, RGB, 0..255.
        names: `B` strings `FILE:FIRST..LAST/STRIDE`, frame numbers in the file; FIRST > LAST is reversed in time.
        fps: `B` frame rates in frames per second, of the clip (the file's rate over the stride).
        matrices: `B` names of the matrix that made the RGB, "bt601" or "bt709"; empty when it is not known.
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
