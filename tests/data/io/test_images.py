"""Folders of pictures."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.errors import DataError
from data.io.images import ImageReader, numbered
from data.io.readers import open_reader
from data.sequences import Sequence


def write(path: Path, value: int, size: tuple[int, int] = (6, 4)) -> None:
    array = np.full((size[1], size[0], 3), value, np.uint8)
    array[0, 0] = (255, 0, 7)
    Image.fromarray(array).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """im8.png .. im11.png, and files that are no pictures."""
    for number in range(8, 12):
        write(tmp_path / f"im{number}.png", 10 * number)
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".im12.png").touch()
    return tmp_path


def test_pictures_are_read_in_the_order_of_their_numbers(folder: Path):
    """Catches im10 before im9, channels exchanged, and windows of the wrong axis."""
    reader = ImageReader(Sequence(folder))
    assert (reader.frames, reader.fps, reader.width, reader.height) == (4, 25.0, 6, 4)
    frames = reader.read([0, 1, 2, 3])
    assert frames.dtype == torch.uint8 and tuple(frames.shape) == (4, 3, 4, 6)
    assert frames[:, 0, 1, 1].tolist() == [80, 90, 100, 110] and frames[2, :, 0, 0].tolist() == [
        255,
        0,
        7,
    ]
    assert torch.equal(reader.read([3, 1], (0, 0, 3, 2)), frames[[3, 1], :, :3, :2])
    assert ImageReader(Sequence(folder, fps=Fraction(24))).rate == 24
    assert torch.equal(open_reader(Sequence(folder, 1, 2)).read([1]), frames[2:3])


def test_grey_palettes_and_jpeg_become_rgb(tmp_path: Path):
    """Catches kinds that are RGB without loss refused or read wrongly."""
    rgb = Image.fromarray(np.array([[[0, 0, 0], [255, 0, 0]], [[0, 255, 0], [9, 9, 9]]], np.uint8))
    for number, image in enumerate((Image.new("L", (2, 2), 77), rgb.quantize(4))):
        image.save(tmp_path / f"{number}.png")
    Image.new("RGB", (2, 2), (60, 60, 60)).save(tmp_path / "2.JPG")
    frames = ImageReader(Sequence(tmp_path)).read([0, 1, 2])
    assert frames[0].unique().tolist() == [77] and frames[2].unique().tolist() == [60]
    assert np.array_equal(frames[1].permute(1, 2, 0).numpy(), np.asarray(rgb))


@pytest.mark.parametrize("kind", ["RGBA", "I;16", "deep", "LA", "CMYK"])
def test_pictures_that_would_lose_something_are_refused(folder: Path, ffmpeg, kind: str):
    """Catches 16 bits cut to 8 and transparency dropped without a word."""
    path = folder / "im9.png"
    if kind == "deep":
        ffmpeg("-f", "lavfi", "-i", "color=size=6x4", "-frames:v", "1", "-pix_fmt", "rgb48be", path)
    else:
        Image.new(kind, (6, 4)).save(path, format="JPEG" if kind == "CMYK" else "PNG")
    with pytest.raises(DataError, match="im9.png: .* pixels; make them 8-bit RGB"):
        ImageReader(Sequence(folder)).read([1])


def test_damaged_and_differing_pictures_are_refused(folder: Path):
    """Catches half a picture read as a whole one, and sizes that change within a sequence."""
    reader = ImageReader(Sequence(folder))
    write(folder / "im9.png", 1, (8, 4))
    with pytest.raises(DataError, match="im9.png: 8x4, the first picture is 6x4"):
        reader.read([1])
    noise = np.random.default_rng(0).integers(256, size=(4, 6, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "im9.png")
    whole = (folder / "im9.png").read_bytes()
    for content in (whole[: len(whole) // 2], b"text", b""):
        (folder / "im9.png").write_bytes(content)
        with pytest.raises(DataError, match="im9.png: (damaged|no picture)"):
            reader.read([1])
    (folder / "im9.png").unlink()
    with pytest.raises(DataError, match="im9.png: no picture that can be opened"):
        reader.read([1])
    with pytest.raises(DataError, match=r"holds 0\.\.3"):
        reader.read([4])


@pytest.mark.parametrize(("names", "said"), [
    (["im1.png", "im3.png", "im4.png"], r"of pictures 1..4, 2..2 are missing"),
    (["im1.png", "im01.png"], "number 1 is there twice"),
    (["im1.png", "im1.jpg"], "number 1 is there twice"),
    (["a1.png", "b2.png"], "a1.png and b2.png are no series"),
    (["cover.png"], "no series of numbered pictures"),
    (["cover.png", "im1.png"], "no series of numbered pictures"),
    (["1.txt"], "no pictures; give a folder that directly holds .png"),
])  # fmt: skip
def test_series_with_gaps_doubles_or_strangers_are_refused(names: list[str], said: str):
    """Catches frames that follow each other only in the list."""
    with pytest.raises(DataError, match=f"^FOLDER: .*{said}"):
        numbered("FOLDER", names)


def test_long_series_cross_the_number_of_digits():
    """Catches numbers sorted as text, and the wrong one of two numbers in a name."""
    names = [f"take2_{number}.png" for number in range(95, 105)]
    assert numbered("FOLDER", sorted(names)) == names


def test_missing_folder_is_refused(tmp_path: Path):
    """Catches a bare OSError."""
    with pytest.raises(DataError, match="nothing: no folder of pictures"):
        ImageReader(Sequence(tmp_path / "nothing"))
