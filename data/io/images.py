"""ImageReader: a folder of numbered pictures, PNG or JPEG, as one sequence."""

import os
import re
from collections.abc import Iterable
from collections.abc import Sequence as Numbers
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.errors import DataError, check_frame_numbers
from data.io.color import RGB, Window, color_space_of
from data.io.container import read_failure
from data.sequences import Sequence

SUFFIXES = (".png", ".jpg", ".jpeg")
RATE = Fraction(25)  # frames per second, of pictures for which none is stated (ffmpeg's choice too)
ORIENTATION = 0x0112  # of EXIF; 5 to 8 are a quarter turn
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
EXACT_MODES = ("RGB", "L", "P", "1")  # of Pillow: become 8-bit RGB without loss


class ImageReader:
    """A `Reader` of a folder that directly holds the frames, named by one common text and a number,
    in that order.

    8-bit RGB, and what is RGB without loss: grey, palettes; turned as their EXIF orientation says.
    Pictures with 16 bits or transparency are refused. The matrix is a guess by the height, as
    for any RGB source. No file stays open.

    Args:
        sequence: the folder; `fps` is 25 unless it states another.

    Attributes:
        path, frames, fps, width, height, matrix: see `Reader`; the size is the first picture's.
        rate: frames per second, exact.

    Raises:
        DataError: the folder is missing or holds no pictures, their numbers have gaps or double; in
            `read`, a picture is damaged, of another size or of a kind that is refused.
    """

    def __init__(self, sequence: Sequence) -> None:
        self.path = sequence.path
        try:
            names = os.listdir(self.path)
        except OSError as error:
            raise DataError(
                f"{self.path}: no folder of pictures ({error.strerror}); check the path"
            ) from error
        self._names = numbered(self.path, names)
        self.frames = len(self._names)
        self.rate = sequence.fps or RATE
        self.fps = float(self.rate)
        with self._opened(0) as image:
            self.width, self.height = _upright_size(image)
        self.color_space = color_space_of(
            str(self.path), pixel_format="rgb24", matrix=RGB, color_range=0, height=self.height
        )
        self.matrix = self.color_space.matrix

    def read(self, indices: Numbers[int], window: Window | None = None) -> Tensor:
        """See `Reader`."""
        top, left, height, width = window or (0, 0, self.height, self.width)
        wanted = check_frame_numbers(indices, self.frames, self.path)
        rgb = np.empty((len(wanted), 3, height, width), np.uint8)
        for out, number in zip(rgb, wanted, strict=True):
            out[:] = self._picture(number)[top : top + height, left : left + width].transpose(
                2, 0, 1
            )
        return torch.from_numpy(rgb)

    def _picture(self, number: int) -> np.ndarray:
        """`(H, W, 3)` uint8."""
        name = self.path / self._names[number]
        with self._opened(number) as image:
            width, height = _upright_size(image)
            if (width, height) != (self.width, self.height):
                size = f"{width}x{height}, the first picture is {self.width}x{self.height}"
                raise DataError(f"{name}: {size}; put each size in a folder of its own")
            deep = any(
                ";16" in str(tile[3]) for tile in getattr(image, "tile", ())
            )  # Pillow would cut 16-bit RGB to 8 bits and say nothing
            if image.mode not in EXACT_MODES or deep or "transparency" in image.info:
                kind = "16-bit" if deep else image.mode
                raise DataError(
                    f"{name}: {kind} pixels; make them 8-bit RGB, not transparent (ffmpeg -i IN "
                    "-pix_fmt rgb24 OUT)"
                )
            try:
                turn = TURNS.get(_orientation(image))
                upright = image if turn is None else image.transpose(turn)
                return np.asarray(upright.convert("RGB"))
            except (OSError, ValueError, SyntaxError, MemoryError) as error:
                raise read_failure(name, "damaged", error) from error

    def _opened(self, number: int) -> Image.Image:
        name = self.path / self._names[number]
        try:
            return Image.open(name)
        except (OSError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
            raise read_failure(name, "no picture that can be opened", error) from error


def _orientation(image: Image.Image) -> int:
    """EXIF's, 1 where there is none; what stands before the pixels, as PNG's own method decodes."""
    return Image.Image.getexif(image).get(ORIENTATION, 1)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as EXIF's orientation turns the picture."""
    quarter = _orientation(image) >= 5
    return (image.height, image.width) if quarter else (image.width, image.height)


def numbered(folder: Path | str, names: Iterable[str]) -> list[str]:
    """The pictures among the files of a folder, by their numbers.

    Raises:
        DataError: there is none, one has no number, texts before the numbers differ, numbers are
            missing or double.
    """
    found = sorted(
        (text, number, name)
        for name in names
        if is_picture(name)
        for text, number in [_parts(name)]
    )
    if not found:
        raise DataError(
            f"{folder}: no pictures; give a folder that directly holds {' '.join(SUFFIXES)} files"
        )
    texts = sorted({text for text, _, _ in found})
    numbers = [number for _, number, _ in found]
    if len(texts) > 1 or numbers[0] < 0:
        named = f"{found[0][2]} and {found[-1][2]}"
        raise DataError(
            f"{folder}: {named} are no series of numbered pictures; keep one series, and it alone, "
            "in a folder"
        )
    for before, after in zip(numbers, numbers[1:], strict=False):
        if after != before + 1:
            what = (
                f"number {before} is there twice"
                if after == before
                else f"{before + 1}..{after - 1} are missing"
            )
            raise DataError(
                f"{folder}: of pictures {numbers[0]}..{numbers[-1]}, {what}; complete them, or "
                "divide the folder"
            )
    return [name for _, _, name in found]


def is_picture(name: str) -> bool:
    """Whether a file name is a picture's; hidden files are not."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _parts(name: str) -> tuple[str, int]:
    """The text around the last number of a name, and the number; -1 without one."""
    stem = name.rpartition(".")[0]
    match = re.fullmatch(r"(.*?)(\d+)(\D*)", stem)
    return (match[1] + "#" + match[3], int(match[2])) if match else (stem, -1)
