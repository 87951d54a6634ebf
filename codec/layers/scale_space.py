"""Warping in scale space: a flow that also says how blurred the place is that it points to."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.layers.compressai import gaussian_kernel1d


def scale_space_warp(frame: Tensor, flow: Tensor, levels: int = 5, sigma: float = 1.5) -> Tensor:
    """Sample ever more blurred copies of `frame` where `flow` points, linearly also between copies;
    borders repeated.

    Args:
        frame: `(B, C, H, W)` float32, H and W multiples of `2 ** (levels - 1)`.
        flow: `(B, 3, H, W)` float32: displacement (x, y) in halves of the frame's sides, and the
            scale from -1 (sharp) to 1 (most blurred).
        levels: blurred copies, beside the frame itself.
        sigma: standard deviation of the blur, in pixels of each copy's own size.

    Returns:
        `(B, C, H, W)` float32.

    Raises:
        ValueError: `frame` and `flow` are not float32.

    Source: Agustsson et al., *Scale-space flow for end-to-end optimized video compression*, CVPR
    2020, sec. 3.1; coordinates and borders as in compressai's `ssf2020`.
    """
    if frame.dtype != torch.float32 or flow.dtype != torch.float32:
        raise ValueError(
            f"scale_space_warp: frame {frame.dtype} and flow {flow.dtype}, float32 expected"
        )
    with torch.autocast(frame.device.type, enabled=False):
        volume = gaussian_volume(frame, levels, sigma)
        identity = torch.eye(2, 3, device=frame.device).expand(len(frame), 2, 3)
        place = F.affine_grid(identity, list(frame.shape), align_corners=False) + flow[
            :, :2
        ].permute(0, 2, 3, 1)
        grid = torch.cat([place, flow[:, 2:].permute(0, 2, 3, 1)], -1)[:, None]
        return F.grid_sample(
            volume, grid, mode="bilinear", padding_mode="border", align_corners=False
        )[:, :, 0]


def gaussian_volume(frame: Tensor, levels: int, sigma: float) -> Tensor:
    """`frame` `(B, C, H, W)` and `levels` blurred copies, each from half the size of the last: `(B,
    C, levels + 1, H, W)`.
    """
    kernel = gaussian_kernel1d(2 * math.ceil(3 * sigma) + 1, sigma, frame.device, frame.dtype)
    small = _blur(frame.contiguous(memory_format=torch.channels_last), kernel)
    copies = [frame, small]
    for level in range(1, levels):
        small = _blur(F.avg_pool2d(small, 2), kernel)
        copy = small
        for _ in range(level):
            copy = F.interpolate(copy, scale_factor=2, mode="bilinear", align_corners=False)
        copies.append(copy)
    return torch.stack(copies, 2)


def _blur(frame: Tensor, kernel: Tensor) -> Tensor:
    """Blur along both sides with a `(k,)` kernel, borders repeated; in two passes, the fastest way
    measured on a CPU.
    """
    channels, reach = frame.shape[1], len(kernel) // 2
    rows = F.pad(frame, (reach,) * 4, mode="replicate")
    columns = F.conv2d(rows, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(columns, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
