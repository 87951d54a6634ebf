"""Writing frames and reading them back."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from data.errors import DataError
from data.io.source_clip import read_source
from data.io.writer import write_video


@pytest.fixture
def frames() -> Tensor:
    """Seven noisy frames of 45x33."""
    return torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (7, 3, 33, 45), dtype=np.uint8)
    )


def test_mkv_is_lossless(frames: Tensor, tmp_path: Path):
    """Catches RGB going through YUV, exchanged channels, padding of odd sizes, a rounded rate."""
    write_video(frames, Fraction(30000, 1001), tmp_path / "deep" / "clip.mkv")
    clip = read_source(tmp_path / "deep" / "clip.mkv")
    assert (
        torch.equal(clip.rgb, frames) and clip.fps == Fraction(30000, 1001) and clip.planes is None
    )


def test_npy_is_lossless(frames: Tensor, tmp_path: Path):
    """Catches another order of axes than documented."""
    write_video(frames, 25, tmp_path / "clip.npy")
    assert np.array_equal(np.load(tmp_path / "clip.npy"), frames.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("name", ["pictures", "clip.v2/"])
def test_pngs_are_lossless(frames: Tensor, tmp_path: Path, name: str):
    """Catches numbering from 1, missing frames, and a final slash that is not seen."""
    write_video(frames, 25, f"{tmp_path}/{name}")
    files = sorted((tmp_path / name).iterdir())
    assert [file.name for file in files] == [f"{number:05d}.png" for number in range(7)]
    assert torch.equal(torch.cat([read_source(file).rgb for file in files]), frames)


@pytest.mark.parametrize(("height", "matrix"), [(33, "bt601"), (721, "bt709")])
def test_mp4_is_for_viewing(tmp_path: Path, height: int, matrix: str):
    """Catches a matrix tagged but not used, and cropping instead of padding of odd sizes."""
    ramp = torch.linspace(40, 200, 45).to(torch.uint8).expand(3, 3, height, 45).clone()
    ramp[:, 0], ramp[:, 2] = ramp[:, 0].flip(-1), 90
    write_video(ramp, 25, tmp_path / "clip.mp4")
    clip = read_source(tmp_path / "clip.mp4")
    assert (clip.width, clip.height, clip.color_space.matrix, clip.color_space.origin) == (
        46,
        height + 1,
        matrix,
        "tagged",
    )
    assert (clip.rgb[..., :height, :45].int() - ramp.int()).abs().float().mean() < 3


def test_what_cannot_be_written_is_refused(frames: Tensor, tmp_path: Path):
    """Catches a file overwritten by a folder, unknown kinds and floats written as if they were
    bytes.
    """
    with pytest.raises(DataError, match=r"\.avi.*\.mkv.*\.mp4.*\.npy"):
        write_video(frames, 25, tmp_path / "clip.avi")
    with pytest.raises(DataError, match="float32"):
        write_video(frames / 255, 25, tmp_path / "clip.mkv")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(DataError, match="full.*another name"):
        write_video(frames, 25, tmp_path / "full")


def test_failure_leaves_nothing_behind(
    frames: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches half-written files under the final name, and ffmpeg's failure being swallowed."""
    monkeypatch.setattr("data.io.writer._for_viewing", lambda *_: ["-c:v", "no_such_encoder"])
    with pytest.raises(DataError, match="cannot be written .*ffmpeg: .*no_such_encoder"):
        write_video(frames, 25, tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []
