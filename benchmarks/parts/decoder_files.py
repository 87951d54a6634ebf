"""Small videos of every structure that random access can go wrong in, and larger ones to time."""

import subprocess
from pathlib import Path

import imageio_ffmpeg

from data.sources.sample_clips import sample_clip

PICTURES = [
    "-f",
    "lavfi",
    "-i",
    "testsrc2=size=128x64:rate=25:duration=4",
]  # 100 frames, each different
X264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "12", "-bf", "3"]
X265 = [
    "-c:v",
    "libx265",
    "-pix_fmt",
    "yuv420p",
    "-x265-params",
    "log-level=error:keyint=12:bframes=3:open-gop=",
]
CLOSED = {
    "h264.mp4": X264,
    "h264.mkv": X264,
    "hevc.mp4": [*X265[:-1], X265[-1] + "0"],
    "hevc.mkv": [*X265[:-1], X265[-1] + "0"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-g", "30"],
    "vfr.mp4": ["-vf", "select='not(mod(n\\,3))+not(mod(n\\,7))'", "-fps_mode", "vfr", *X264],
}
AWKWARD = {
    "av1.mp4": ["-c:v", "libsvtav1", "-g", "30"],
    "h264_open.mp4": [*X264, "-x264-params", "open-gop=1"],
    "hevc_open.mkv": [*X265[:-1], X265[-1] + "1"],
    "edited.mp4": None,
    "mpeg2.mpg": ["-c:v", "mpeg2video", "-q:v", "2", "-bf", "2", "-f", "mpeg"],
    "h264.ts": X264,
    "h264.avi": X264,
    "odd_height.mkv": ["-vf", "crop=128:63:0:0:exact=1", "-pix_fmt", "yuv420p", "-c:v", "ffv1"],
}
LARGE = {
    "h264": ["-c:v", "libx264", "-crf", "20", "-sc_threshold", "0", "-g", "250"],
    "hevc": [
        "-c:v",
        "libx265",
        "-preset",
        "fast",
        "-x265-params",
        "log-level=error:keyint=250:scenecut=0:open-gop=0",
    ],
    "vp9": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "6", "-g", "250"],
}


def make_cases(folder: Path) -> dict[str, Path]:
    """`CLOSED` files, which decord finds frames in by number, and `AWKWARD` ones, where
    it may not.
    """
    for name, options in (CLOSED | AWKWARD).items():
        source = PICTURES if options is not None else ["-ss", "0.7", "-i", str(folder / "h264.mp4")]
        ffmpeg(*source, *(options or ["-c", "copy"]), folder / name)
    return {name: folder / name for name in CLOSED | AWKWARD}


def make_cut(folder: Path) -> dict[str, Path]:
    """The first 60 % of the bytes of an mp4 with its index in front, of an mkv and of a transport
    stream; 100 frames promised.
    """
    files = {}
    for name, options in {
        "cut.mp4": ["-movflags", "+faststart"],
        "cut.mkv": [],
        "cut.ts": [],
    }.items():
        files[name] = folder / name
        ffmpeg(*PICTURES, *X264, *options, files[name])
        whole = files[name].read_bytes()
        files[name].write_bytes(whole[: len(whole) * 6 // 10])
    return files


def make_large(folder: Path, codec: str) -> Path:
    """500 frames of real pictures, 448x256, a keyframe every 250."""
    path = folder / f"large_{codec}.{'webm' if codec == 'vp9' else 'mp4'}"
    shape = ["-an", "-vf", "scale=448:256,format=yuv420p", "-frames:v", "500"]
    ffmpeg("-stream_loop", "-1", "-i", sample_clip("bigbuckbunny"), *shape, *LARGE[codec], path)
    return path


def make_720p(folder: Path) -> Path:
    """240 frames of real pictures, 1280x720, a keyframe every 48."""
    path = folder / "720p.mp4"
    coding = ["-c:v", "libx264", "-preset", "fast", "-crf", "20", "-g", "48"]
    ffmpeg(
        "-stream_loop",
        "-1",
        "-i",
        sample_clip("bigbuckbunny"),
        "-an",
        "-frames:v",
        "240",
        *coding,
        path,
    )
    return path


def ffmpeg(*arguments: str | Path) -> None:
    """Run imageio-ffmpeg's executable quietly."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
