"""RawReader: frames of headerless YUV (.yuv) and of YUV4MPEG2 (.y4m) files."""

from collections.abc import Iterator
from collections.abc import Sequence as Numbers
from dataclasses import dataclass
from fractions import Fraction
from io import BufferedReader
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.errors import INTERLACED, REPAIR, DataError, check_file, check_frame_numbers, remark
from data.io.color import FULL_RANGE, SAMPLES, UNSPECIFIED, Window, color_space_of, frame_to_rgb
from data.io.yuv_names import exact_rate, read_name
from data.sequences import PIXEL_FORMATS, RawFormat, Sequence

MAGIC = b"YUV4MPEG2 "
FRAME = b"FRAME\n"
LONGEST_HEADER = 4096  # bytes
Y4M_FORMATS = {
    **dict.fromkeys(("420", "420jpeg", "420mpeg2", "420paldv"), "yuv420p"),
    "420p10": "yuv420p10le",
    "444": "yuv444p",
    "444p10": "yuv444p10le",
}
STATE = (
    "name it like NAME_1920x1080_50fps_420_8bit.yuv, list it in a manifest (CSV with "
    "path,width,height,fps,pixel_format), "
    "or name its test set (uvg:FOLDER, mcl-jcv:FOLDER, hevc-b:FOLDER, ...)"
)


@dataclass(frozen=True)
class _Layout:
    """Format, rate and range of a file; bytes before the first frame, and before every frame (its
    marker).
    """

    format: RawFormat
    fps: Fraction
    full_range: bool
    header: int
    marker: int


class RawReader:
    """A `Reader` of raw video. The file is open only during a read, so nothing is kept across a
    fork.

    Frames are read, not mapped: a file cut short during training is then an error, not a dead
    process. Color is as `color_space_of` says of an untagged stream; Y4M's `XCOLORRANGE=FULL` is
    heeded. All 4:2:0 counts as sited like MPEG-2's.

    Args:
        sequence: the source; of a .yuv file, what it does not state is read from the file's name
            (`read_name`).

    Attributes:
        path, frames, fps, width, height, matrix: see `Reader`; of the whole file.
        rate: frames per second, exact.
        pixel_format: one of `PIXEL_FORMATS`.
        color_space: matrix and range of the planes.

    Raises:
        DataError: the file is missing or empty, its format is not known or not supported, or it is
            no whole number of frames.
    """

    def __init__(self, sequence: Sequence) -> None:
        self.path = sequence.path
        stat = check_file(
            self.path,
            None if sequence.byte_range is None else sum(sequence.byte_range),
            exact=False,
        )
        self._start, size = sequence.byte_range or (0, stat.st_size)
        with open(self.path, "rb") as file:
            file.seek(self._start)
            head = file.read(LONGEST_HEADER)
        if head.startswith(MAGIC):
            layout = _read_header(self.path, head, sequence.fps)
        elif self.path.suffix.lower() == ".y4m":
            raise DataError(
                f"{self.path}: does not start with {MAGIC.decode().strip()}, no Y4M file; {REPAIR}"
            )
        else:
            layout = _Layout(*stated_format(sequence), False, 0, 0)
        self._layout = layout
        form = layout.format
        self.rate = layout.fps
        self.fps = float(layout.fps)
        self.pixel_format = form.pixel_format
        self.width = form.width
        self.height = form.height
        full = FULL_RANGE if layout.full_range else 0
        self.color_space = color_space_of(
            str(self.path),
            pixel_format=form.pixel_format,
            matrix=UNSPECIFIED,
            color_range=full,
            height=form.height,
        )
        self.matrix = self.color_space.matrix
        self.frames = self._count(size)
        if depth(self.pixel_format) > 8:
            remark(self.path, "depth", "10 bits a sample, rounded to 8")

    def read(self, indices: Numbers[int], window: Window | None = None) -> Tensor:
        """See `Reader`."""
        window = window or (0, 0, self.height, self.width)
        half = _half(self._layout.format)
        wanted = check_frame_numbers(indices, self.frames, self.path)
        rgb = np.empty((len(wanted), 3, *window[2:]), np.uint8)
        for out, planes in zip(rgb, self._pictures(wanted), strict=True):
            frame_to_rgb(
                planes,
                half=half,
                color_space=self.color_space,
                bits=depth(self.pixel_format),
                window=window,
                out=out,
            )
        return torch.from_numpy(rgb)

    def planes(self, indices: Numbers[int]) -> tuple[Tensor, Tensor, Tensor]:
        """The file's own samples of frames `indices`: Y, U, V `(T, lines, columns)`, uint8, or
        uint16 for 10 bits.
        """
        pictures = list(self._pictures(check_frame_numbers(indices, self.frames, self.path)))
        y, u, v = (torch.from_numpy(np.stack(planes)) for planes in zip(*pictures, strict=True))
        return y, u, v

    def _count(self, size: int) -> int:
        step = self._layout.marker + frame_bytes(self._layout.format)
        frames, rest = divmod(size - self._layout.header, step)
        if rest or not frames:
            what = f"{self.width}x{self.height} {self.pixel_format}"
            raise DataError(
                f"{self.path}: {size} bytes are {(size - self._layout.header) / step:.2f} frames "
                f"of {what} ({step} bytes each), "
                "not a whole number; correct the size or pixel format that is stated or named, or "
                f"{REPAIR}"
            )
        return frames

    def _pictures(self, numbers: list[int]) -> Iterator[list[np.ndarray]]:
        """Y, U, V of each frame."""
        try:
            with open(self.path, "rb") as file:
                for number in numbers:
                    yield self._picture(file, number)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error}); {REPAIR}") from error

    def _picture(self, file: BufferedReader, number: int) -> list[np.ndarray]:
        marker = self._layout.marker
        count = frame_bytes(self._layout.format)
        file.seek(self._start + self._layout.header + number * (marker + count))
        data = bytearray(marker + count)
        if file.readinto(data) < len(data):
            raise DataError(
                f"{self.path}: ends within frame {number}, it was longer when opened; {REPAIR}"
            )
        if marker and not data.startswith(FRAME):
            raise DataError(
                f"{self.path}: frame {number} does not start with FRAME alone; rewrite it by "
                "ffmpeg -i IN OUT.y4m"
            )
        bits = depth(self.pixel_format)
        samples = np.frombuffer(data, np.dtype(SAMPLES[bits]).newbyteorder("<"), offset=marker)
        if bits > 8 and samples.max() >= 1 << bits:
            raise DataError(
                f"{self.path}: frame {number} holds a sample of {samples.max()}, no {bits} bits; "
                "correct the format"
            )
        half = _half(self._layout.format)
        sizes = [(self.height, self.width), *[half or (self.height, self.width)] * 2]
        ends = np.cumsum([tall * wide for tall, wide in sizes])[:-1]
        return [
            plane.reshape(size) for plane, size in zip(np.split(samples, ends), sizes, strict=True)
        ]


def stated_format(sequence: Sequence) -> tuple[RawFormat, Fraction]:
    """Format and frame rate of a headerless file, as its sequence states them or else its name.

    Raises:
        DataError: neither says them, or the pixel format is not supported.
    """
    named = read_name(sequence.path.stem)
    form = sequence.raw
    if form is None and named.width and named.height:
        form = RawFormat(named.width, named.height, named.pixel_format or "")
    fps = sequence.fps or named.fps
    lacking = [what for what, known in (("size", form), ("frame rate", fps)) if known is None]
    if form is None or fps is None:
        raise DataError(
            f"{sequence.path}: headerless YUV, and nothing says its {' and '.join(lacking)}; "
            f"{STATE}"
        )
    if form.pixel_format not in PIXEL_FORMATS or min(form.width, form.height) < 1:
        what = f"{form.width}x{form.height} {form.pixel_format or 'of contradicting names'}"
        raise DataError(
            f"{sequence.path}: cannot read {what}; pixel formats are {', '.join(PIXEL_FORMATS)}; "
            f"{STATE}"
        )
    return form, fps


def frame_bytes(form: RawFormat) -> int:
    """Bytes of a frame; chroma of odd sizes is rounded up."""
    tall, wide = _half(form) or (form.height, form.width)
    return (form.width * form.height + 2 * tall * wide) * (
        1 if depth(form.pixel_format) == 8 else 2
    )


def depth(pixel_format: str) -> int:
    """Bits of a sample of one of `PIXEL_FORMATS`."""
    return 10 if pixel_format.endswith("10le") else 8


def _half(form: RawFormat) -> tuple[int, int] | None:
    """Lines and columns of 4:2:0 chroma, None for 4:4:4."""
    return (
        (-(-form.height // 2), -(-form.width // 2))
        if form.pixel_format.startswith("yuv420")
        else None
    )


def _read_header(path: Path, head: bytes, fps: Fraction | None) -> _Layout:
    """Y4M's header, a line of words that begin with a letter; the rate is `fps` where it says
    none.
    """
    line, end, rest = head.partition(b"\n")
    words = line[len(MAGIC) :].decode("ascii", "replace").split()
    fields = {word[0]: word[1:] for word in words if word[0] != "X"}
    chroma = fields.get("C", "420")
    try:
        size = int(fields["W"]), int(fields["H"])
        rate = fps if fields.get("F", "0:0") == "0:0" else exact_rate(fields["F"])
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{path}: its Y4M header says no good width, height or rate ({' '.join(words)}); "
            f"{REPAIR}"
        ) from error
    if not end or min(size) < 1 or chroma not in Y4M_FORMATS:
        known = ", ".join(Y4M_FORMATS)
        raise DataError(
            f"{path}: cannot read Y4M of {' '.join(words)}; C may be {known}: ffmpeg -i IN "
            "-pix_fmt yuv420p OUT.y4m"
        )
    if rate is None:
        raise DataError(
            f"{path}: its Y4M header says no frame rate; state fps in a manifest, or ffmpeg -r "
            "RATE -i IN OUT.y4m"
        )
    if fields.get("I", "p")[:1] in ("t", "b", "m"):
        remark(path, "interlaced", INTERLACED)
    if fields.get("A", "1:1") not in ("0:0", "1:1"):
        remark(path, "aspect", f"its pixels are {fields['A']}, not square; read as stored")
    if rest and not rest.startswith(FRAME):
        raise DataError(
            f"{path}: its frames do not start with FRAME alone; rewrite it by ffmpeg -i IN OUT.y4m"
        )
    return _Layout(
        RawFormat(*size, Y4M_FORMATS[chroma]),
        fps=rate,
        full_range="XCOLORRANGE=FULL" in words,
        header=len(line) + 1,
        marker=len(FRAME),
    )
