"""Tiny videos, good and bad, made once by imageio-ffmpeg's ffmpeg."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import pytest

PICTURES = [
    "-f",
    "lavfi",
    "-i",
    "testsrc2=size=96x64:rate=25:duration=1.6",
]  # 40 frames, each different
SOUND = ["-f", "lavfi", "-i", "sine=duration=1"]
X264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "3"]
X265 = [
    "-c:v",
    "libx265",
    "-pix_fmt",
    "yuv420p",
    "-x265-params",
    "log-level=error:keyint=12:bframes=3:open-gop=",
]


def run_ffmpeg(*arguments: str | Path) -> bytes:
    """Run ffmpeg quietly and give its standard output."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


@pytest.fixture(scope="session")
def ffmpeg() -> Callable[..., bytes]:
    """`ffmpeg(*arguments)` runs it and returns its standard output."""
    return run_ffmpeg


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good videos of 40 frames 96x64 (but for odd.mkv and the one that an edit list
    cuts).
    """
    folder = tmp_path_factory.mktemp("videos")
    run_ffmpeg(*PICTURES, *X264, "-g", "12", "-movflags", "+faststart", folder / "h264.mp4")
    run_ffmpeg(*PICTURES, *X264, "-g", "12", "-x264-params", "open-gop=1", folder / "h264_open.mkv")
    run_ffmpeg(*PICTURES, *X265[:-1], X265[-1] + "0", folder / "hevc.mp4")
    run_ffmpeg(*PICTURES, *X265[:-1], X265[-1] + "1", folder / "hevc_open.mp4")
    run_ffmpeg(
        *PICTURES, "-c:v", "mpeg2video", "-q:v", "2", "-bf", "2", "-f", "mpeg", folder / "mpeg2.mpg"
    )
    run_ffmpeg(*PICTURES, *X264, "-g", "12", folder / "b_frames.avi")
    run_ffmpeg(
        *PICTURES,
        "-c:v",
        "libsvtav1",
        "-preset",
        "12",
        "-g",
        "12",
        "-pix_fmt",
        "yuv420p",
        folder / "av1.mkv",
    )
    run_ffmpeg("-ss", "0.7", "-i", folder / "h264.mp4", "-c", "copy", folder / "edited.mp4")
    odd = ["-vf", "crop=45:33:3:5:exact=1", "-pix_fmt", "yuv420p", "-c:v", "ffv1"]
    run_ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=96x64:rate=30000/1001:duration=0.3",
        *odd,
        folder / "odd.mkv",
    )
    return folder


@pytest.fixture(scope="session")
def long_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of h264.mp4 and hevc.mp4: 120 frames 96x64 that move, with B-frames that others
    refer to, keyframes 60 apart.
    """
    folder = tmp_path_factory.mktemp("long")
    pictures = [
        "-f",
        "lavfi",
        "-i",
        "mandelbrot=size=96x64:rate=25",
        "-frames:v",
        "120",
        "-pix_fmt",
        "yuv420p",
        "-g",
        "60",
    ]
    run_ffmpeg(
        *pictures,
        "-c:v",
        "libx264",
        "-bf",
        "3",
        "-b-pyramid",
        "normal",
        "-refs",
        "4",
        folder / "h264.mp4",
    )
    options = "log-level=error:keyint=60:bframes=4:b-pyramid=1:open-gop=0"
    run_ffmpeg(*pictures, "-c:v", "libx265", "-x265-params", options, folder / "hevc.mp4")
    return folder


@pytest.fixture(scope="session")
def bad_videos(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Path:
    """A folder of files that are no good, named after what is wrong; `missing.mp4` is not there."""
    folder = tmp_path_factory.mktemp("bad")
    whole = (videos / "h264.mp4").read_bytes()
    matroska = (videos / "h264_open.mkv").read_bytes()
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is no video\n" * 50)
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "header_only.mp4").write_bytes(whole[: whole.index(b"mdat") + 8])
    (folder / "truncated.mkv").write_bytes(matroska[: len(matroska) // 3])
    run_ffmpeg("-i", videos / "h264.mp4", "-c", "copy", folder / "no_index.mp4")
    plain = (folder / "no_index.mp4").read_bytes()
    (folder / "no_index.mp4").write_bytes(plain[: plain.index(b"moov") - 4])
    run_ffmpeg(*SOUND, folder / "audio_only.mp4")
    return folder
