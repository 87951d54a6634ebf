"""Videos to read from: real clips of the installation, encoded as a benchmark wants them."""

import subprocess
from pathlib import Path

import imageio_ffmpeg

from data.sources.sample_clips import sample_clip


def encode(
    path: Path,
    width: int,
    height: int,
    frames: int,
    options: list[str],
    source: str | Path | None = None,
    start: int = 0,
) -> Path:
    """H.264 by x264 medium of `frames` frames from a clip, played over and over, of the given size.

    Args:
        path: what to write.
        width, height: pixels.
        frames: how many.
        options: of x264, `["-g", "250"]` for instance.
        source: a video file; None is the sample clip bigbuckbunny.
        start: frames left out at the beginning, so that files of one source differ.
    """
    source = sample_clip("bigbuckbunny") if source is None else source
    shape = f"trim=start_frame={start},scale={width}:{height},format=yuv420p"
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-loglevel",
        "error",
        "-y",
        "-stream_loop",
        "-1",
        "-i",
        str(source),
        "-an",
    ]
    coding = ["-c:v", "libx264", "-preset", "medium", "-crf", "20", "-sc_threshold", "0", *options]
    subprocess.run(
        [*command, "-vf", shape, "-frames:v", str(frames), *coding, str(path)], check=True
    )
    return path
