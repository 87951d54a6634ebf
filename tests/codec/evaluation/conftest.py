"""Real video files, tiny."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from data.io.writer import write_video


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A 4:2:0 clip of 64x48 and a lossless RGB clip of odd size 45x33, four frames each, of moving
    texture.
    """
    folder = tmp_path_factory.mktemp("clips")
    files = []
    for name, height, width in (("even.mp4", 48, 64), ("odd.mkv", 33, 45)):
        row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        shades = [
            (7 * (column + 2 * time) + 5 * row) % 97 + 50 * ((row // 8 + column // 8) % 2)
            for time in range(4)
        ]
        frames = torch.stack([shade.expand(3, -1, -1) for shade in shades]).to(torch.uint8)
        write_video(frames, Fraction(25), folder / name)
        files.append(folder / name)
    return files
