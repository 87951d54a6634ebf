"""Bad and unusual videos, made by imageio-ffmpeg's ffmpeg, the same bytes on every run."""

import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

DAMAGED = (
    "empty.mp4",
    "text.mp4",
    "header_only.mp4",
    "truncated_faststart.mp4",
    "truncated.mp4",
    "flipped.mp4",
    "flipped_hevc.mp4",
    "zero_frames.mp4",
    "audio_only.mp4",
    "over_reported.mp4",
    "one_frame.mp4",
)  # no clip of several frames can come from these, or no right one: somebody must say so
UNUSUAL = (
    "8k.mp4",
    "variable_rate.mp4",
    "rotated.mp4",
    "odd.webm",
)  # these may be read, if they are read rightly
FLIPPED, LOST = 300, 8  # bytes, frames
PICTURES = ["-f", "lavfi", "-i", "testsrc2=size=192x128:rate=25:duration=2"]
X264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "3", "-g", "24"]
X265 = [
    "-c:v",
    "libx265",
    "-pix_fmt",
    "yuv420p",
    "-preset",
    "ultrafast",
    "-x265-params",
    "log-level=error:keyint=24:open-gop=0",
]
FRONT = ["-movflags", "+faststart"]
FILLER, LENGTH_BYTES = (
    12,
    4,
)  # H.264's NAL unit type that decoders leave out; bytes of a NAL unit's length in mp4


def make_bad_files(folder: Path, seed: int = 0, large: int = 4) -> dict[str, Path]:
    """Make them in `folder`, and `good.mp4` that most were made from.

    Args:
        folder: it need not be there.
        seed: of the flipped bytes.
        large: frames of the one of 7680x4320.

    Returns:
        The path of each of `DAMAGED` and `UNUSUAL`, by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _cut(folder)
    _change(folder, seed)
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", folder / "audio_only.mp4")
    run_ffmpeg(
        "-i", folder / "good.mp4", "-c", "copy", "-frames:v", "0", folder / "zero_frames.mp4"
    )
    run_ffmpeg(*PICTURES, *X264, "-frames:v", "1", folder / "one_frame.mp4")
    _unusual(folder, large)
    return {name: folder / name for name in (*DAMAGED, *UNUSUAL)}


def run_ffmpeg(*arguments: str | Path) -> None:
    """Run ffmpeg quietly."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def _cut(folder: Path) -> None:
    """Files of which a part is missing; "good.mp4" has its index in front."""
    run_ffmpeg(*PICTURES, *X264, *FRONT, folder / "good.mp4")
    run_ffmpeg("-i", folder / "good.mp4", "-c", "copy", folder / "truncated.mp4")
    front, back = (folder / "good.mp4").read_bytes(), (folder / "truncated.mp4").read_bytes()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("This is a note, not a video.\n" * 100)
    (folder / "header_only.mp4").write_bytes(front[: front.index(b"mdat") + 4])
    (folder / "truncated_faststart.mp4").write_bytes(front[: len(front) * 6 // 10])
    (folder / "truncated.mp4").write_bytes(back[: len(back) * 6 // 10])


def _change(folder: Path, seed: int) -> None:
    """Files that keep their size and their index, while their pictures are changed."""
    noisy = [
        "-vf",
        "noise=alls=12:allf=t:all_seed=1",
    ]  # a large file, so that its pictures are damaged and yet decoded
    run_ffmpeg(*PICTURES, *noisy, *X264, "-crf", "4", *FRONT, folder / "flipped.mp4")
    run_ffmpeg(*PICTURES, *noisy, *X265, "-crf", "4", *FRONT, folder / "flipped_hevc.mp4")
    for path in (folder / "flipped.mp4", folder / "flipped_hevc.mp4"):
        whole, packets = _bytes(path), _packets(path)
        begin, end = min(at for at, _ in packets), max(at + size for at, size in packets)
        whole[
            np.random.default_rng(seed).choice(np.arange(begin, end), FLIPPED, replace=False)
        ] ^= 0xFF
        path.write_bytes(whole.tobytes())
    whole = _bytes(folder / "good.mp4")
    for at, size in _packets(folder / "good.mp4")[-LOST:]:
        filled = size - LENGTH_BYTES
        nal = (
            filled.to_bytes(LENGTH_BYTES, "big")
            + bytes([FILLER])
            + b"\xff" * (filled - 2)
            + b"\x80"
        )
        whole[at : at + size] = np.frombuffer(nal, np.uint8)
    (folder / "over_reported.mp4").write_bytes(whole.tobytes())


def _bytes(path: Path) -> np.ndarray:
    return np.frombuffer(path.read_bytes(), np.uint8).copy()


def _packets(path: Path) -> list[tuple[int, int]]:
    """Offset and size in bytes of each packet, in the order of the file."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


def _unusual(folder: Path, large: int) -> None:
    """Whole files of kinds that readers trip over."""
    source = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=7680x4320:rate=25",
        "-pix_fmt",
        "yuv420p",
        "-frames:v",
        str(large),
    ]
    run_ffmpeg(*source, "-c:v", "libx264", "-preset", "ultrafast", folder / "8k.mp4")
    uneven = ["-vf", "select='not(mod(n\\,3))+not(mod(n\\,7))'", "-fps_mode", "vfr"]
    run_ffmpeg(*PICTURES, *uneven, *X264, folder / "variable_rate.mp4")
    run_ffmpeg(
        "-display_rotation", "90", "-i", folder / "good.mp4", "-c", "copy", folder / "rotated.mp4"
    )
    odd = [
        "-vf",
        "scale=45:33",
        "-pix_fmt",
        "yuv420p",
        "-c:v",
        "libvpx-vp9",
        "-cpu-used",
        "8",
        "-crf",
        "4",
        "-b:v",
        "0",
    ]
    run_ffmpeg(*PICTURES, *odd, folder / "odd.webm")
