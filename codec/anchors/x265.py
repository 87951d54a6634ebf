"""HEVC by x265 at fixed QP: the practical anchor."""

import functools
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codec.anchors import ffmpeg
from codec.anchors.coder import CodedResult
from codec.anchors.planes import Planes, from_bytes, pad_to_even, rgb_to_planes, to_bytes
from codec.errors import CodecError
from data.colour import planes_to_rgb
from data.source import SourceClip

LOW_DELAY = "bframes=0:rc-lookahead=0:scenecut=0:frame-threads=1"
LARGEST_QP = 51
RGB_SOURCE = "4:2:0 planes made from the RGB frames (the source has none)"
OWN_PLANES = "the source's own 4:2:0 planes"


@dataclass(frozen=True)
class X265:
    """x265 through ffmpeg, low-delay unless `parameters` say otherwise.

    Args:
        preset: of x265.
        intra_period: frames from one intra frame to the next; -1: only the first is intra, 1: all are.
        qualities: the QPs, 0..51 (of predicted frames; x265 codes intra frames 3 finer).
        tunes: a curve each; `"psnr"` is `-tune psnr`, `"default"` the preset's psycho-visual tuning.
        parameters: of x265, what comes before keyint, min-keyint, qp and info. One frame thread makes the bytes the
            same on every machine.
    """

    name: str = "x265_medium"
    preset: str = "medium"
    intra_period: int = -1
    qualities: Sequence[int] = (20, 24, 28, 32, 36, 40)
    tunes: Sequence[str] = ("psnr", "default")
    parameters: str = LOW_DELAY

    def __post_init__(self) -> None:
        wrong = [quality for quality in self.qualities if not 0 <= quality <= LARGEST_QP]
        if wrong or not self.qualities:
            raise CodecError(f"{self.name}: qualities {list(self.qualities)}; give QPs between 0 and {LARGEST_QP}")

    def settings(self) -> dict[str, Any]:
        """Versions and the command without its numbers."""
        return {
            "ffmpeg": ffmpeg.version(),
            "x265": version(),
            "command": shown(self.arguments("WIDTHxHEIGHT", "FPS", "QP", "TUNE")),
            "intra_period": self.intra_period,
            "tunes": list(self.tunes),
            "seconds": "wall time of the ffmpeg processes",
        }

    def code(self, source: SourceClip, quality: int, tune: str | None, folder: Path) -> CodedResult:
        """Encode to a raw `.hevc` file of planes padded to even sides, decode it, crop, and convert to RGB.

        The conversion to RGB is the one that made `source.rgb`, so a codec that changed nothing would have no error.

        Raises:
            CodecError: ffmpeg failed (with its stderr), or the file has another number of frames.
        """
        file = folder / f"{source.name}_{tune}_qp{quality}.hevc"
        planes = pad_to_even(source.planes or rgb_to_planes(source.rgb, source.colour))
        size = f"{planes[0].shape[2]}x{planes[0].shape[1]}"
        arguments = self.arguments(size, str(source.fps), str(quality), tune)
        started = time.perf_counter()
        ffmpeg.run(["-loglevel", "warning", *arguments, "-y", str(file)], stdin=to_bytes(planes))
        encoded = time.perf_counter()
        decoded = decode(file, source)
        ended = time.perf_counter()
        return CodedResult(
            file=file,
            bytes=file.stat().st_size,
            decoded=planes_to_rgb(*decoded, source.colour),
            encode_seconds=encoded - started,
            decode_seconds=ended - encoded,
            extra={"command": shown(arguments), "input": OWN_PLANES if source.planes else RGB_SOURCE},
        )

    def arguments(self, size: str, fps: str, quality: str, tune: str | None) -> list[str]:
        """What ffmpeg is told, from the raw planes on its standard input to the format of the file."""
        period = f"keyint={self.intra_period}:min-keyint={self.intra_period}"
        tuning = [] if tune in (None, "default") else ["-tune", tune]
        return [
            *("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", size, "-r", fps, "-i", "-"),
            *("-c:v", "libx265", "-preset", self.preset, *tuning),
            *("-x265-params", f"{self.parameters}:{period}:qp={quality}:info=0", "-f", "hevc"),
        ]


def decode(file: Path, source: SourceClip) -> Planes:
    """The planes in a raw `.hevc` file, in the size of `source`."""
    raw = ffmpeg.run(
        ["-loglevel", "warning", "-f", "hevc", "-i", str(file)]
        + ["-fps_mode", "passthrough", "-pix_fmt", "yuv420p", "-f", "rawvideo", "-"]
    ).stdout
    try:
        return from_bytes(raw, source.frames, source.height, source.width)
    except CodecError as error:
        raise CodecError(f"{file}: {error}") from error


def shown(arguments: Sequence[str]) -> str:
    """The command as a paper would quote it, with placeholders for the files."""
    return " ".join(["ffmpeg", *("CLIP.yuv" if word == "-" else word for word in arguments), "OUT.hevc"])


@functools.cache
def version() -> str:
    """The version of x265 inside ffmpeg, such as `4.3+49-020d7054`, as it says when it encodes."""
    picture = ["-f", "lavfi", "-i", "color=s=64x64", "-frames:v", "1"]
    said = ffmpeg.run([*picture, "-c:v", "libx265", "-f", "null", "-"]).stderr.decode(errors="replace")
    found = re.search(r"HEVC encoder version (\S+)", said)
    return found.group(1) if found else "unknown"
