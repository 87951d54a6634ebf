"""Writing frames: lossless mkv, mp4 to look at, numpy array, or a folder of PNGs."""

import os
import shutil
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from torch import Tensor

from data.errors import DataError

CHOICES = (
    ".mkv (FFV1, lossless RGB), .mp4 (x264, to look at), .npy ((T, H, W, 3) uint8), no suffix or "
    "a final / (PNGs)"
)


def write_video(frames: Tensor, fps: Fraction | float, path: Path | str) -> Path:
    """Write frames in the form that the suffix says; under another name first, so a file is whole
    or not there.

    Args:
        frames: uint8 `(T, 3, H, W)` RGB, T at least 1.
        fps: frames per second; .npy and PNGs do not keep it.
        path: `.mkv` FFV1 in RGB, lossless; `.mp4` x264 crf 12, 4:2:0, odd sizes padded by a
            repeated line; `.npy` `(T, H, W, 3)` uint8; no suffix or a final `/`: a folder of
            00000.png, 00001.png, ...

    Returns:
        What was written.

    Raises:
        DataError: another suffix, frames of another shape or type, a folder in the way, or ffmpeg
            failed.
    """
    kind = "" if str(path).endswith(("/", os.sep)) else Path(path).suffix.lower()
    path = Path(path)
    if kind not in ("", ".mkv", ".mp4", ".npy"):
        raise DataError(f"{path}: cannot write {kind}; choose one of {CHOICES}")
    if (
        frames.ndim != 4
        or frames.shape[1] != 3
        or not frames.numel()
        or str(frames.dtype) != "torch.uint8"
    ):
        raise DataError(
            f"{path}: frames are {frames.dtype} {tuple(frames.shape)}; give uint8 (T, 3, H, W)"
        )
    if path.is_dir() and (kind or any(path.iterdir())):
        raise DataError(f"{path}: a folder is there already; give another name or empty it")
    pictures = frames.detach().cpu().permute(0, 2, 3, 1).contiguous().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part{kind}")
    try:
        _write(pictures, fps=Fraction(fps).limit_denominator(1_000_000), part=part, kind=kind)
        if path.is_dir():
            path.rmdir()
        os.replace(part, path)
    finally:
        _remove(part)
    return path


def _write(pictures: np.ndarray, fps: Fraction, part: Path, kind: str) -> None:
    _remove(part)
    if kind == ".npy":
        np.save(part, pictures)
    elif kind == ".mkv":
        _ffmpeg(pictures, fps=fps, options=["-c:v", "ffv1", "-pix_fmt", "bgr0"], target=part)
    elif kind == ".mp4":
        odd_lines = pictures.shape[1] % 2
        odd_columns = pictures.shape[2] % 2
        even = np.pad(pictures, ((0, 0), (0, odd_lines), (0, odd_columns), (0, 0)), mode="edge")
        _ffmpeg(even, fps=fps, options=_for_viewing(even.shape[1]), target=part)
    else:
        part.mkdir()
        _ffmpeg(pictures, fps=fps, options=["-start_number", "0"], target=part / "%05d.png")


def _for_viewing(height: int) -> list[str]:
    """x264 with the matrix of the size (BT.709 from 720 lines up), converted and tagged alike."""
    matrix = "bt709" if height >= 720 else "smpte170m"
    flags = "bicubic+accurate_rnd+full_chroma_int"
    convert = f"scale=out_color_matrix={matrix}:out_range=tv:flags={flags},format=yuv420p"
    tags = [
        "-colorspace",
        matrix,
        "-color_primaries",
        matrix,
        "-color_trc",
        matrix,
        "-color_range",
        "tv",
    ]
    return [
        "-vf",
        convert,
        *tags,
        "-c:v",
        "libx264",
        "-crf",
        "12",
        "-preset",
        "medium",
        "-movflags",
        "+faststart",
    ]


def _ffmpeg(pictures: np.ndarray, fps: Fraction, options: list[str], target: Path) -> None:
    """Pipe RGB pictures `(T, H, W, 3)` through imageio-ffmpeg's executable."""
    size = f"{pictures.shape[2]}x{pictures.shape[1]}"
    rate = f"{fps.numerator}/{fps.denominator}"
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", rate, "-i", "-"]
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-loglevel",
        "error",
        "-y",
        *source,
        *options,
        str(target.absolute()),
    ]
    with tempfile.TemporaryFile() as messages:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=messages
        ) as process:
            assert process.stdin is not None
            try:
                for picture in pictures:
                    process.stdin.write(picture.data)
                process.stdin.close()
            except BrokenPipeError:
                pass  # ffmpeg ended early; its exit code says so below
        if process.returncode:
            messages.seek(0)
            said = messages.read().decode(errors="replace").strip().splitlines()[-1:] or [
                "no message"
            ]
            raise DataError(
                f"{target.parent}: ffmpeg could not write {target.name}: {said[0]}; check the disk"
            )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
