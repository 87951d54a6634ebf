"""Clips made up in memory."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from data.io.color import ColorSpace, planes_to_rgb
from data.io.source_clip import SourceClip


def make_clip(width: int, height: int, frames: int = 3, planes: bool = True) -> SourceClip:
    """A gradient that moves two pixels a frame, with its own planes or with RGB only."""
    colour = ColorSpace("bt601", False, "guessed")
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    moved = [
        (2 * column + row + 4 * time + 20 * ((column + 2 * time) // 8 % 2)) % 200 + 20
        for time in range(frames)
    ]
    luma = torch.stack(moved).to(torch.uint8)
    half = (frames, (height + 1) // 2, (width + 1) // 2)
    own = (luma, torch.full(half, 110, dtype=torch.uint8), torch.full(half, 140, dtype=torch.uint8))
    rgb = planes_to_rgb(*own, colour)
    size = {"width": width, "height": height, "frames": frames}
    pixels = {"planes": own if planes else None, "rgb": rgb, "color_space": colour}
    return SourceClip("moving", Path("moving.mkv"), Fraction(30000, 1001), **size, **pixels)


@pytest.fixture(scope="session")
def clip() -> Callable[..., SourceClip]:
    """`clip(width, height, frames=3, planes=True)`."""
    return make_clip
