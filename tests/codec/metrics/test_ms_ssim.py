"""MS-SSIM against the formula and against libvmaf."""

import json
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from distorted import clip_and_distorted
from scipy.signal import convolve2d

from codec.errors import CodecError
from codec.metrics import ms_ssim

WIDTH, HEIGHT = 192, 224  # multiples of 32


def formula(first: np.ndarray, second: np.ndarray) -> float:
    """Equation 7 of the paper for one channel of even sides, in float64."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    score = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        squares = (first * first, second * second, first * second)
        m, n, mm, nn, mn = (convolve2d(x, window, mode="valid") for x in (first, second, *squares))
        likeness = (2 * (mn - m * n) + 58.5225) / (mm - m * m + nn - n * n + 58.5225)
        if scale == 4:
            likeness = likeness * (2 * m * n + 6.5025) / (m * m + n * n + 6.5025)
        score *= likeness.mean() ** weight
        first, second = (
            (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4 for x in (first, second)
        )
    return score


def test_values_are_those_of_the_formula():
    """Catches a data range of 1 for samples up to 255, another window or other scales, and frames
    averaged together.
    """
    first, second = clip_and_distorted(2, WIDTH, HEIGHT)
    expected = [
        np.mean(
            [formula(*pair) for pair in zip(a.double().numpy(), b.double().numpy(), strict=True)]
        )
        for a, b in zip(first, second, strict=True)
    ]
    assert ms_ssim(first, second).tolist() == pytest.approx(expected, abs=1e-6)


def test_grey_frames_score_as_in_libvmaf(tmp_path: Path):
    """Catches a misreading that the formula shares: libvmaf's C code, whose low-pass between scales
    is a longer one.
    """
    grey = [clip[:, :1].contiguous() for clip in clip_and_distorted(2, WIDTH, HEIGHT)]
    inputs = []
    for name, clip in zip(("b.yuv", "a.yuv"), reversed(grey), strict=True):
        (tmp_path / name).write_bytes(clip.numpy().tobytes())
        inputs += [
            "-f",
            "rawvideo",
            "-pix_fmt",
            "gray",
            "-s",
            f"{WIDTH}x{HEIGHT}",
            "-i",
            str(tmp_path / name),
        ]
    graph = (
        "[0]format=yuv420p[p];[1]format=yuv420p[q];[p][q]libvmaf=feature=name=float_ms_ssim"
        ":log_fmt=json:log_path=/dev/stdout"
    )
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-loglevel",
        "error",
        *inputs,
        "-lavfi",
        graph,
        "-f",
        "null",
        "-",
    ]
    log = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    theirs = [frame["metrics"]["float_ms_ssim"] for frame in log["frames"]]
    ours = ms_ssim(*(clip.expand(-1, 3, -1, -1) for clip in grey)).tolist()
    assert ours == pytest.approx(theirs, abs=5e-3) and min(theirs) < 0.99


def test_equal_frames_score_1():
    """Catches rounding that leaves a distance between equal frames, and with it a place on the
    axis.
    """
    frames, _ = clip_and_distorted(1, 163, 161)
    assert ms_ssim(frames, frames).tolist() == [1]


def test_refused_inputs():
    """Catches the package's bare assertion on small frames, and floats in 0..1 scored as if up to
    255.
    """
    frames = torch.zeros(1, 3, 160, 200, dtype=torch.uint8)
    with pytest.raises(CodecError, match="161 pixels or more"):
        ms_ssim(frames, frames)
    with pytest.raises(CodecError, match="two uint8"):
        ms_ssim(frames.float(), frames.float())
