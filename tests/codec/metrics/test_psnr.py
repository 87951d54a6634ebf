"""PSNR against the formula in numpy and against ffmpeg's filter."""

import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from distorted import clip_and_distorted

from codec.errors import CodecError
from codec.metrics import psnr, psnr_611


def test_psnr_is_the_formula_frame_by_frame():
    """Catches a mean over frames before the logarithm, wrap-around of uint8 differences, and a peak
    other than 255.
    """
    reference = torch.zeros(2, 3, 4, 5, dtype=torch.uint8)
    decoded = reference.clone()
    decoded[0] = 255
    decoded[1, :, 0, 0] = 10
    expected = torch.tensor(
        [0.0, 10 * torch.log10(torch.tensor(255.0**2 / (100 / 20))).item()], dtype=torch.float64
    )
    torch.testing.assert_close(psnr(reference, decoded), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(psnr(decoded, reference), expected, atol=1e-5, rtol=0)


def test_psnr_of_pictures_is_that_of_numpy():
    """Catches a float32 sum that loses digits, and channels averaged in dB."""
    first, second = clip_and_distorted(2, 61, 47)
    errors = (
        ((first.numpy().astype(float) - second.numpy().astype(float)) ** 2)
        .reshape(2, -1)
        .mean(axis=1)
    )
    np.testing.assert_allclose(
        psnr(first, second).numpy(), 10 * np.log10(255**2 / errors), rtol=1e-12
    )


def test_psnr_of_planes_is_that_of_ffmpeg(tmp_path: Path):
    """Catches planes scored at another size than their own, odd sizes too, and U swapped with V."""
    frames, height, width = 2, 33, 45
    shapes = [(frames, height, width), *[(frames, (height + 1) // 2, (width + 1) // 2)] * 2]
    clips = [
        [torch.randint(0, 256, shape, dtype=torch.uint8) for shape in shapes] for _ in range(2)
    ]
    inputs = []
    for name, planes in zip(("a.yuv", "b.yuv"), clips, strict=True):
        frame_by_frame = [plane[t].numpy().tobytes() for t in range(frames) for plane in planes]
        (tmp_path / name).write_bytes(b"".join(frame_by_frame))
        inputs += [
            "-f",
            "rawvideo",
            "-pix_fmt",
            "yuv420p",
            "-s",
            f"{width}x{height}",
            "-i",
            str(tmp_path / name),
        ]
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-loglevel",
        "error",
        *inputs,
        "-lavfi",
        "psnr=stats_file=-",
        "-f",
        "null",
        "-",
    ]
    said = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    for name, first, second in zip("yuv", *clips, strict=True):
        theirs = [float(value) for value in re.findall(rf"psnr_{name}:([\d.]+)", said)]
        assert psnr(first, second).tolist() == pytest.approx(theirs, abs=0.0051)


def test_the_planes_are_weighted_6_to_1_to_1():
    """Catches weights of 4:4:4 or of samples (4 : 1 : 1)."""
    luma, u, v = (torch.tensor([value]) for value in (30.0, 40.0, 50.0))
    assert psnr_611(luma, u, v).tolist() == [(6 * 30 + 40 + 50) / 8]


def test_identical_frames_count_100_db():
    """Catches infinity in a mean, and a cap that touches frames with an error."""
    frames = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    decoded = frames.clone()
    decoded[1, 0, 0, 0] ^= 1
    values = psnr(frames, decoded)
    assert values[0] == 100
    assert values[1] == pytest.approx(
        10 * torch.log10(torch.tensor(255.0**2 * 192)).item(), abs=1e-4
    )


def test_nothing_scores_more_than_identical_frames():
    """Catches one sample of 1080p that is off by 1 and scores 111 dB, more than no error at all."""
    frame = torch.zeros(1, 1080, 1920, dtype=torch.uint8)
    nearly = frame.clone()
    nearly[0, 5, 7] = 1
    assert psnr(frame, nearly).tolist() == psnr(frame, frame).tolist() == [100]


@pytest.mark.parametrize(
    "decoded",
    [torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4, dtype=torch.uint8)],
    ids=["float", "frames"],
)
def test_psnr_refuses_other_types_and_shapes(decoded: torch.Tensor):
    """Catches broadcasting over frames, and floats in 0..1 scored with a peak of 255."""
    with pytest.raises(CodecError, match="uint8"):
        psnr(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), decoded)
