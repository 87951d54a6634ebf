"""Backward warping of features by a dense motion field."""

import torch
from torch import Tensor
from torch.nn import functional as F


def warp(features: Tensor, motion: Tensor) -> Tensor:
    """Sample `features` where `motion` points, bilinearly, borders repeated.

    Args:
        features: `(B, C, H, W)`, any float type.
        motion: `(B, 2, H, W)` float32 (bfloat16 loses whole pixels at 720p), displacement (x, y) in
            pixels of `features`.

    Returns:
        `(B, C, H, W)` in the type of `features`.

    Raises:
        ValueError: the two disagree in batch or size, or motion is not float32.

    Source: Jaderberg et al., *Spatial Transformer Networks*, 2015, eq. 5.
    """
    if features.shape[0] != motion.shape[0] or features.shape[-2:] != motion.shape[-2:]:
        raise ValueError(
            f"warp: features {tuple(features.shape)} and motion {tuple(motion.shape)} differ in "
            "batch or size"
        )
    if motion.dtype != torch.float32:
        raise ValueError(f"warp: motion is {motion.dtype}, float32 expected")
    with torch.autocast(features.device.type, enabled=False):
        grid = normalise(pixel_grid(motion) + motion)
        moved = F.grid_sample(
            features.float(), grid, mode="bilinear", padding_mode="border", align_corners=True
        )
    return moved.to(features.dtype)


def pixel_grid(like: Tensor) -> Tensor:
    """Coordinates (x, y) of every pixel, `(1, 2, H, W)` float32, for a `like` of `(…, H, W)`."""
    height, width = like.shape[-2:]
    y = torch.arange(height, dtype=torch.float32, device=like.device)[:, None].expand(height, width)
    x = torch.arange(width, dtype=torch.float32, device=like.device)[None].expand(height, width)
    return torch.stack([x, y])[None]


def normalise(position: Tensor) -> Tensor:
    """Pixel positions `(B, 2, H, W)` -> the `(B, H, W, 2)` grid in -1..1 that `grid_sample` wants
    (corners aligned).
    """
    height, width = position.shape[-2:]
    x, y = position.unbind(1)
    return torch.stack([x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1], 3)
