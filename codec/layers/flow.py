"""Optical flow from coarse to fine by small networks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.layers.warp import warp

_WIDTHS = (32, 64, 32, 16)


class PyramidFlow(nn.Module):
    """Where each pixel of one frame comes from in another; zero at the start.

    Each level of a pyramid warps by what the coarser one found, and adds to it.

    Args:
        levels: sizes, each half of the next.

    Source: Ranjan and Black, *Optical flow estimation using a spatial pyramid network*, CVPR 2017,
    as DVC uses it.
    """

    def __init__(self, levels: int = 4) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_level() for _ in range(levels))

    def forward(self, frame: Tensor, reference: Tensor) -> Tensor:
        """`frame`, `reference` `(B, 3, H, W)`, sides multiples of `2 ** (levels - 1)` -> `(B, 2, H,
        W)` float32 in pixels.
        """
        pyramid = [(frame, reference)]
        for _ in self.levels[1:]:
            larger, other = pyramid[-1]
            pyramid.append((F.avg_pool2d(larger, 2), F.avg_pool2d(other, 2)))
        small = pyramid[-1][0]
        flow = torch.zeros(len(small), 2, *small.shape[-2:], device=small.device)
        for network, (current, other) in zip(self.levels, reversed(pyramid), strict=True):
            if current.shape[-1] != flow.shape[-1]:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False)
            flow = flow + network(torch.cat([current, warp(other, flow), flow], 1)).float()
        return flow


def _level() -> nn.Sequential:
    """Both frames, the second one warped, and the flow so far -> what to add to it."""
    layers, inputs = [], 3 + 3 + 2
    for width in _WIDTHS:
        layers += [nn.Conv2d(inputs, width, 7, padding=3), nn.ReLU(inplace=True)]
        inputs = width
    last = nn.Conv2d(inputs, 2, 7, padding=3)
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    return nn.Sequential(*layers, last)
