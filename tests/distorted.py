"""Clips to score: texture that pans, and the same as a poor codec would leave it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.evaluation.complexity.profiler import panning_clip


def clip_and_distorted(frames: int, width: int, height: int) -> tuple[Tensor, Tensor]:
    """uint8 `(T, 3, H, W)` twice: the second blurred and with noise that changes from frame to
    frame.
    """
    clip = panning_clip(frames, width, height)
    blurred = F.avg_pool2d(F.pad(clip.float(), (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    noise = torch.randn(clip.shape, generator=torch.Generator().manual_seed(1))
    return clip, (blurred + 4 * noise).round().clamp(0, 255).to(torch.uint8)
