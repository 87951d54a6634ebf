"""Writing frames one by one: videos, raw planes, a numpy array, a folder of PNGs, a pipe."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

import cv2
import imageio_ffmpeg
import numpy as np
from numpy.lib import format as npy_format
from torch import Tensor

from data.errors import DataError
from data.io.color import ColorSpace

PIPE = "-"
CHOICES = (
    ".mkv (FFV1, lossless RGB), .mp4 (x264), .y4m, .yuv, .npy ((T, H, W, 3) uint8), no suffix or a "
    "final / (PNGs), - (Y4M to standard output)"
)
_KINDS = ("", ".mkv", ".mp4", ".y4m", ".yuv", ".npy")
_MATRICES = {"bt601": "smpte170m", "bt709": "bt709"}  # as ffmpeg calls them
DEFAULT_CRF = 12


class VideoWriter:
    """Writes frames under another name, and gives them theirs when all are there: a file is whole
    or not there.

        with VideoWriter("out.mkv", width=352, height=288, fps=25) as writer:
            writer.write(frame)

    Args:
        path: `.mkv` FFV1 in RGB, lossless; `.mp4` x264, 4:2:0, odd sizes padded by a repeated line;
            `.y4m`, `.yuv` 4:2:0 planes; `.npy` `(T, H, W, 3)` uint8; no suffix or a final `/`: a
            folder of 00000.png, 00001.png, ...; `-`: Y4M to standard output.
        width, height: of the frames.
        fps: frames per second; .npy, .yuv and PNGs do not keep it.
        color_space: of what is written as planes, and its tags; None: BT.709 from 720 lines up,
            else BT.601, limited range.
        crf: of x264, 0 (lossless RGB, 4:4:4) to 51.
        audio: a file whose sound is put beside the pictures, in .mkv and .mp4.

    Raises:
        DataError: another suffix, a folder in the way, a folder that cannot be written; later: a
            frame of another shape or type, or ffmpeg failed.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        width: int,
        height: int,
        fps: Fraction | float,
        color_space: ColorSpace | None = None,
        crf: int = DEFAULT_CRF,
        audio: Path | None = None,
    ) -> None:
        self.path, self._pipe = Path(path), str(path) == PIPE
        self._kind = kind_of(path)
        self._size = (height, width)
        self.frames = 0
        if not self._pipe:
            check_target(path)
        folder = None if self._pipe else self.path.absolute().parent
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._color = color_space or ColorSpace("bt709" if height >= 720 else "bt601", False, "")
        self._part: Path | None = None
        self._sink: _Sink = _Nothing()
        try:
            if folder is not None:
                self._part = (
                    Path(tempfile.mkdtemp(prefix=".corvid-", dir=folder)) / f"part{self._kind}"
                )
            rate = Fraction(fps).limit_denominator(1_000_000)
            self._sink = self._open_sink(rate, crf, audio)
        except OSError as error:
            self._clean()
            raise self._failed(error) from error
        except DataError:
            self._clean()
            raise

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, frame: Tensor) -> None:
        """Append a frame, uint8 `(3, H, W)` RGB."""
        if str(frame.dtype) != "torch.uint8" or tuple(frame.shape) != (3, *self._size):
            expected = f"give uint8 (3, {self._size[0]}, {self._size[1]})"
            raise DataError(
                f"{self.path}: a frame is {frame.dtype} {tuple(frame.shape)}; {expected}"
            )
        picture = frame.detach().cpu().permute(1, 2, 0).contiguous().numpy()
        try:
            self._sink.write(picture)
        except OSError as error:
            raise self._failed(error) from error
        self.frames += 1

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises:
            DataError: no frame was written, or the disk is full.
        """
        if not self.frames:
            self.abort()
            raise DataError(f"{self.path}: no frame to write; give one at least")
        try:
            self._sink.close()
            if self._part is not None:
                if self.path.is_dir():
                    self.path.rmdir()
                os.replace(self._part, self.path)
        except OSError as error:
            raise self._failed(error) from error
        finally:
            self._clean()

    def abort(self) -> None:
        """Leave nothing."""
        with contextlib.suppress(OSError, DataError):
            self._sink.close()
        self._clean()

    def _open_sink(self, fps: Fraction, crf: int, audio: Path | None) -> _Sink:
        if self._part is None:
            return _Ffmpeg(self._size, fps, _as_planes(self._color, "yuv4mpegpipe"), "pipe:1", [])
        if self._kind == ".npy":
            return _Array(self._part, self._size)
        if not self._kind:
            return _Pictures(self._part)
        options = {
            ".mkv": ["-c:v", "ffv1", "-pix_fmt", "bgr0"],
            ".mp4": _for_viewing(self._color, crf),
            ".y4m": _as_planes(self._color, "yuv4mpegpipe"),
            ".yuv": _as_planes(self._color, "rawvideo"),
        }[self._kind]
        size = self._size
        if self._kind == ".mp4" and crf:
            size = size[0] + size[0] % 2, size[1] + size[1] % 2
        sound = ["-i", _literal(audio)] if audio and self._kind in (".mkv", ".mp4") else []
        return _Ffmpeg(size, fps, options, _literal(self._part), sound)

    def _failed(self, error: OSError) -> DataError:
        if isinstance(error, BrokenPipeError):
            return DataError(f"{self.path}: whoever reads the pipe has closed it")
        remedy = {28: "free space", 122: "free space"}.get(error.errno or 0, "check the disk")
        what = error.strerror or str(error)
        return DataError(f"{self.path}: cannot be written ({what}); {remedy}")

    def _clean(self) -> None:
        if self._part is not None:
            shutil.rmtree(self._part.parent, ignore_errors=True)


def kind_of(path: Path | str) -> str:
    """The suffix that says how `path` is written; empty for a folder and a pipe.

    Raises:
        DataError: frames cannot be written that way.
    """
    kind = "" if str(path).endswith(("/", os.sep)) else Path(path).suffix.lower()
    if str(path) != PIPE and kind not in _KINDS:
        raise DataError(f"{path}: cannot write {kind}; choose one of {CHOICES}")
    return kind


def check_target(path: Path | str) -> None:
    """Refuse, before the work, what could not be written after it.

    Raises:
        DataError: another suffix, a folder in the way, or a folder that cannot be written.
    """
    kind, target = kind_of(path), Path(path)
    try:
        if target.is_dir() and (kind or any(target.iterdir())):
            raise DataError(f"{path}: a folder is there already; give another name or empty it")
        if not target.is_dir() and target.exists() and not kind:
            raise DataError(f"{path}: a file is there, and a folder of PNGs wanted; give a suffix")
    except OSError as error:
        what = error.strerror or str(error)
        raise DataError(f"{path}: cannot be written ({what}); give another name") from error
    folder = target.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"{path}: {folder} cannot be written to; give another folder")


def write_video(frames: Tensor, fps: Fraction | float, path: Path | str) -> Path:
    """Write the frames of a clip in the form that the suffix says.

    Args:
        frames: uint8 `(T, 3, H, W)` RGB, T at least 1.
        fps, path: as `VideoWriter`.

    Returns:
        What was written.

    Raises:
        DataError: as `VideoWriter`.
    """
    shape, kind = tuple(frames.shape), str(frames.dtype)
    if len(shape) != 4 or shape[1] != 3 or not frames.numel() or kind != "torch.uint8":
        kind_of(path)
        raise DataError(f"{path}: frames are {kind} {shape}; give uint8 (T, 3, H, W)")
    with VideoWriter(path, width=shape[3], height=shape[2], fps=fps) as writer:
        for frame in frames:
            writer.write(frame)
    return Path(path)


class _Sink(Protocol):
    """Takes pictures `(H, W, 3)` uint8 RGB."""

    def write(self, picture: np.ndarray) -> None: ...

    def close(self) -> None: ...


class _Nothing:
    """Before anything is open."""

    def write(self, picture: np.ndarray) -> None: ...

    def close(self) -> None: ...


class _Array:
    """A .npy file that grows."""

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self._file: BinaryIO = path.open("wb")
        self._size, self._frames = size, 0
        self._write_header()

    def write(self, picture: np.ndarray) -> None:
        self._file.write(picture.data)
        self._frames += 1

    def close(self) -> None:
        with self._file:
            self._file.seek(0)
            self._write_header()

    def _write_header(self) -> None:
        """numpy leaves room in it for a first axis that grows."""
        shape = (self._frames, *self._size, 3)
        fields: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": shape}
        npy_format.write_array_header_1_0(self._file, fields)


class _Pictures:
    """A folder of PNGs."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder, self._frames = folder, 0

    def write(self, picture: np.ndarray) -> None:
        _, content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        (self._folder / f"{self._frames:05}.png").write_bytes(content.tobytes())
        self._frames += 1

    def close(self) -> None:
        pass


class _Ffmpeg:
    """A pipe into imageio-ffmpeg's executable; the last line and column are repeated up to
    `size`.
    """

    def __init__(
        self,
        size: tuple[int, int],
        fps: Fraction,
        options: list[str],
        target: str,
        sound: list[str],
    ) -> None:
        self._size = size
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        to_pipe = target.startswith("pipe:")
        program = imageio_ffmpeg.get_ffmpeg_exe()
        if not Path(program).is_file():
            raise DataError(f"{program}: ffmpeg is not there; install imageio-ffmpeg again")
        self._process = subprocess.Popen(
            [
                program,
                *("-loglevel", "error", "-nostdin", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"),
                *("-s", f"{size[1]}x{size[0]}", "-r", f"{fps.numerator}/{fps.denominator}"),
                *("-i", "pipe:0", *sound),
                *(("-map", "0:v", "-map", "1:a?", "-c:a", "copy") if sound else ()),
                *options,
                target,
            ],
            stdin=subprocess.PIPE,
            stdout=sys.stdout.fileno() if to_pipe else subprocess.DEVNULL,
            stderr=self._messages,
        )
        assert self._process.stdin is not None
        self._input = self._process.stdin

    def write(self, picture: np.ndarray) -> None:
        more = [(0, side - own) for side, own in zip(self._size, picture.shape, strict=False)]
        if any(after for _, after in more):
            picture = np.pad(picture, (*more, (0, 0)), mode="edge")
        try:
            self._input.write(picture.data)
        except BrokenPipeError:
            self._finish()  # ffmpeg ended early and says why
            raise

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._input.close()
        self._finish()

    def _finish(self) -> None:
        code = self._process.wait()
        if self._messages.closed:
            return
        with self._messages as messages:
            messages.seek(0)
            lines = messages.read().decode(errors="replace").strip().splitlines()
        if code:
            if any("Broken pipe" in line for line in lines):
                raise BrokenPipeError(32, "Broken pipe")
            full = any("No space left" in line for line in lines)
            said = "No space left on device" if full else (lines or ["no message"])[0]
            raise OSError(28 if full else 5, f"ffmpeg: {said}" if not full else said)


def _literal(path: Path) -> str:
    """A file's name that ffmpeg takes for no address, option or pattern."""
    return f"file:{path.absolute()}"


def _as_planes(color: ColorSpace, form: str) -> list[str]:
    """4:2:0 planes of the color space."""
    return ["-vf", f"{_conversion(color)},format=yuv420p", "-f", form]


def _conversion(color: ColorSpace) -> str:
    full = "pc" if color.full_range else "tv"
    flags = "bicubic+accurate_rnd+full_chroma_int"
    return f"scale=out_color_matrix={_MATRICES[color.matrix]}:out_range={full}:flags={flags}"


def _for_viewing(color: ColorSpace, crf: int) -> list[str]:
    """x264, converted and tagged alike; crf 0 is lossless, in RGB."""
    quality = ["-crf", str(crf), "-preset", "medium", "-movflags", "+faststart"]
    if not crf:
        return ["-c:v", "libx264rgb", "-pix_fmt", "rgb24", *quality]
    matrix = _MATRICES[color.matrix]
    tags = ["-colorspace", matrix, "-color_primaries", matrix, "-color_trc", matrix]
    tags += ["-color_range", "pc" if color.full_range else "tv"]
    return ["-vf", f"{_conversion(color)},format=yuv420p", *tags, "-c:v", "libx264", *quality]
