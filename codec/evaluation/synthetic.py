"""A clip to measure with where none is given."""

import torch
from torch import Tensor
from torch.nn import functional as F

_SCALES = (64, 32, 16, 8, 4, 2)  # pixels from one random value to the next
_PAN = (3, 2)  # pixels a frame, right and down


def panning_clip(frames: int, width: int, height: int) -> Tensor:
    """uint8 `(T, 3, H, W)`: texture with more in it the coarser, as pictures have, that pans; a
    little noise. Always the same.
    """
    generator = torch.Generator().manual_seed(0)
    tall, wide = height + _PAN[1] * frames, width + _PAN[0] * frames
    picture = torch.full((1, 3, tall, wide), 128.0)
    for scale in _SCALES:
        coarse = (
            torch.randn(1, 3, tall // scale + 2, wide // scale + 2, generator=generator)
            * 6
            * scale**0.4
        )
        picture += F.interpolate(coarse, size=(tall, wide), mode="bilinear", align_corners=False)
    shots = [picture[0, :, _PAN[1] * t :, _PAN[0] * t :][:, :height, :width] for t in range(frames)]
    noisy = torch.stack(shots) + torch.randn(frames, 3, height, width, generator=generator)
    return noisy.round().clamp(0, 255).to(torch.uint8)
