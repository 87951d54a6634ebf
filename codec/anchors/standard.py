"""Standard codecs: what all of them have in common, from a clip's planes to a file, and back."""

import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import av
from av.error import FFmpegError

from codec.anchors import ffmpeg, process
from codec.anchors.coder import CodedResult, Decoded, check_intra_period
from codec.anchors.planes import Planes, pad_to_even, rgb_to_planes, to_bytes
from codec.errors import CodecError
from data.io.color import planes_to_rgb
from data.io.container import decoder_errors, opened
from data.io.source_clip import SourceClip
from data.io.video import STRICT, frames_to_planes

FORMATS = {".hevc": "hevc", ".h264": "h264", ".obu": "obu", ".vvc": "vvc"}
TYPES = {1: "I", 2: "P", 3: "B"}
RGB_SOURCE = "4:2:0 planes made from the RGB frames (the source has none)"
OWN_PLANES = "the source's own 4:2:0 planes"
DEFAULT = "default"  # tuning: as the encoder comes
REPEATS = 5
LONG = 10.0  # seconds
QUIET = ("-hide_banner", "-nostats", "-loglevel", "warning", "-y")


@dataclass(frozen=True)
class DecodedFile:
    """What a file holds.

    Attributes:
        planes: 8 bits: of a stream of 10 bits rounded, as reference decoders do it.
        frame_bytes: of each picture in the order of showing, headers before it included; their sum
            is the file's size.
        frame_types: a letter a picture, in the order of showing: I, P or B.
    """

    planes: Planes
    frame_bytes: list[int]
    frame_types: str


def read_file(file: Path, frames: int, width: int, height: int) -> DecodedFile:
    """Decode a raw stream of HEVC, H.264, AV1 or VVC with PyAV.

    Args:
        file: ends in one of `FORMATS`.
        frames: how many were encoded.
        width, height: of the original; the padding behind them is cropped.

    Raises:
        CodecError: the file is damaged, of another format, or holds other frames than were encoded.
    """
    try:
        pictures, order, sizes = _decoded(file)
    except (FFmpegError, OSError) as error:
        raise CodecError(f"{file}: cannot be decoded ({error}); code it again") from error
    shown = {(picture.width, picture.height) for picture in pictures}
    if len(pictures) != frames or shown != {(width + width % 2, height + height % 2)}:
        size = " and ".join(f"{wide}x{tall}" for wide, tall in sorted(shown))
        raise CodecError(
            f"{file}: decoded {len(pictures)} frames of {size}, {frames} were encoded of "
            f"{width}x{height}"
        )
    if sorted(order) != list(range(frames)):
        raise CodecError(
            f"{file}: {len(sizes)} coded pictures for {frames} frames, or some shown twice; it "
            "cannot be scored"
        )
    types = "".join(TYPES.get(int(picture.pict_type), "?") for picture in pictures)
    return DecodedFile(_planes(pictures, width, height), [sizes[number] for number in order], types)


def _decoded(file: Path) -> tuple[list[av.VideoFrame], list[int], list[int]]:
    """The pictures as they are shown, for each the number of its packet, and the bytes of every
    packet.
    """
    pictures: list[av.VideoFrame] = []
    sizes: list[int] = []
    with (
        decoder_errors() as errors,
        opened(file, container_format=FORMATS[file.suffix]) as container,
    ):
        stream = container.streams.video[0]
        context = stream.codec_context
        context.thread_count, context.options = 1, STRICT
        for packet in container.demux(stream):
            if packet.size:
                packet.pts = packet.dts = len(
                    sizes
                )  # a raw stream has no times: pictures carry the number of their packet
                sizes.append(packet.size)
            pictures += context.decode(packet if packet.size else None)
        if errors:
            raise CodecError(f"{file}: damaged ({errors[0][2].strip()}); code it again")
    # only a damaged file has a picture without a packet: -1 is none of theirs
    order = [-1 if picture.pts is None else picture.pts for picture in pictures]
    return pictures, order, sizes


def _planes(pictures: list[av.VideoFrame], width: int, height: int) -> Planes:
    """Cropped and rounded to 8 bits."""
    planes = frames_to_planes(pictures)
    if planes is None:
        raise CodecError(
            f"decoded pictures are {pictures[0].format.name}; 4:2:0 of 8 or 10 bits expected"
        )
    half = (slice(None), slice((height + 1) // 2), slice((width + 1) // 2))
    y, u, v = planes
    return y[:, :height, :width].contiguous(), u[half].contiguous(), v[half].contiguous()


@dataclass(frozen=True)
class Shot:
    """What is encoded: a file of raw planes, as numbers or, in a command to quote, as words."""

    file: str
    size: str
    fps: str
    frames: str


@dataclass(frozen=True)
class StandardCodec(ABC):
    """An encoder at fixed QP, run as another program. A family says how it is called.

    Args:
        name: what tables call it.
        intra_period: frames from one intra frame to the next; -1: only the first is intra, 1: all
            are.
        qualities: QPs in the encoder's scale.
        tunes: a curve each: "psnr", scored in PSNR and MS-SSIM, or "default", the encoder's own
            psycho-visual tuning.
        legacy: where old lines are measured, why nobody should take them for today's anchor; empty
            otherwise.
    """

    name: str
    intra_period: int = -1
    qualities: Sequence[int] = (20, 24, 28, 32, 36, 40)
    tunes: Sequence[str | None] = ("psnr", DEFAULT)
    legacy: str = ""

    suffix: ClassVar[str]
    bits: ClassVar[int] = 8  # of the raw planes it is fed
    coarsest: ClassVar[int]
    finest: ClassVar[int] = 0
    measured_frames: ClassVar[int] = 33

    def __post_init__(self) -> None:
        within = range(self.finest, self.coarsest + 1)
        if not self.qualities or not all(
            type(quality) is int and quality in within for quality in self.qualities
        ):
            between = f"between {self.finest} and {self.coarsest}"
            raise CodecError(
                f"{self.name}: qualities {list(self.qualities)}; give QPs, whole numbers {between}"
            )
        object.__setattr__(self, "qualities", tuple(dict.fromkeys(self.qualities)))
        check_intra_period(self.name, self.intra_period)

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Of the encoder and what runs it."""

    @abstractmethod
    def command(self, shot: Shot, quality: str, tune: str | None, output: str) -> list[str]:
        """The whole command, executable first."""

    def settings(self) -> dict[str, Any]:
        """Versions and the command without its numbers."""
        shot = Shot("CLIP.yuv", "WIDTHxHEIGHT", "FPS", "FRAMES")
        return {
            **self.versions(),
            "command": shown(self.command(shot, "QP", "TUNE", f"OUT{self.suffix}")),
            "intra_period": self.intra_period,
            "tunes": list(self.tunes),
            "seconds": "wall time of the encoder's process, and of decoding with PyAV",
            **({"legacy": self.legacy} if self.legacy else {}),
        }

    def code(self, source: SourceClip, quality: int, tune: str | None, folder: Path) -> CodedResult:
        """Encode to a raw stream of planes padded to even sides, decode it, crop, and convert to
        RGB.

        The conversion to RGB is the one that made `source.rgb`, so a codec that changed nothing
        would have no error.

        Raises:
            CodecError: the encoder failed (with its stderr), or the file holds other frames.
        """
        file = folder / f"{source.name}_{tune}_qp{quality}{self.suffix}"
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            shot = raw_file(source, Path(scratch), self.bits)
            started = time.perf_counter()
            process.run(
                self.command(shot, str(quality), tune, str(file.absolute())), folder=Path(scratch)
            )
            encoded = time.perf_counter()
        quoted = Shot("CLIP.yuv", shot.size, shot.fps, shot.frames)
        reading = time.perf_counter()
        found = self.read(file, source)
        ended = time.perf_counter()
        return CodedResult(
            file=file,
            bytes=file.stat().st_size,
            decoded=planes_to_rgb(*found.planes, source.color_space),
            encode_seconds=encoded - started,
            decode_seconds=ended - reading,
            extra={
                "command": shown(self.command(quoted, str(quality), tune, f"OUT{self.suffix}")),
                "input": OWN_PLANES if source.planes else RGB_SOURCE,
                "frame_types": found.frame_types,
            },
            planes=found.planes,
            frame_bytes=found.frame_bytes,
        )

    def read(self, file: Path, source: SourceClip) -> DecodedFile:
        """What `file`, made of `source`, holds."""
        return read_file(file, source.frames, source.width, source.height)

    def decode(self, file: Path, source: SourceClip) -> Decoded:
        """The frames of a file that was made of `source`."""
        planes = self.read(file, source).planes
        return Decoded(planes_to_rgb(*planes, source.color_space), planes)

    def complexity(self, source: SourceClip) -> dict[str, Any]:
        """Speed and memory of the encoder and of ffmpeg's decoder, alone, one thread each.

        Frames a second are of all frames but the first: its time, and that of starting, is taken
            off.
        """
        quality, tune = sorted(self.qualities)[len(self.qualities) // 2], self.tunes[0]
        frames = min(source.frames, self.measured_frames)
        encoded: dict[int, process.Taken] = {}
        decoded: dict[int, process.Taken] = {}
        with tempfile.TemporaryDirectory() as scratch:
            for count in sorted({1, frames}):
                shot = raw_file(source, Path(scratch), self.bits, count)
                file = str(Path(scratch) / f"out{self.suffix}")
                encoded[count] = repeated(
                    self.command(shot, str(quality), tune, file), Path(scratch)
                )
                reading = [
                    "-threads",
                    "1",
                    "-f",
                    FORMATS[self.suffix],
                    "-i",
                    file,
                    "-f",
                    "null",
                    "-",
                ]
                decoded[count] = repeated(ffmpeg.command(reading), Path(scratch))
        return {
            **dict.fromkeys(("parameters", "encode_kmac", "decode_kmac")),
            **{"encode_fps": speed_of(encoded), "decode_fps": speed_of(decoded)},
            **{
                "encode_memory_mb": round(encoded[frames].memory_mb, 1),
                "decode_memory_mb": round(decoded[frames].memory_mb, 1),
            },
            **{
                "threads": 1,
                "size": f"{source.width}x{source.height}",
                "frames": frames,
                "quality": quality,
            },
        }


def raw_file(source: SourceClip, folder: Path, bits: int, frames: int | None = None) -> Shot:
    """Write the planes of `source`, padded to even sides, or of its first `frames`."""
    count = frames or source.frames
    planes = source.planes or rgb_to_planes(source.rgb[:count], source.color_space)
    padded = pad_to_even((planes[0][:count], planes[1][:count], planes[2][:count]))
    file = folder.absolute() / "planes.yuv"
    file.write_bytes(to_bytes(padded, bits))
    return Shot(
        str(file), f"{padded[0].shape[2]}x{padded[0].shape[1]}", str(source.fps), str(count)
    )


def repeated(command: Sequence[str], folder: Path) -> process.Taken:
    """The median of `REPEATS` runs, of fewer where they take long."""
    taken: list[process.Taken] = []
    while len(taken) < REPEATS and sum(run.seconds for run in taken) < LONG:
        taken.append(process.measure(command, folder))
    return sorted(taken, key=lambda run: run.seconds)[len(taken) // 2]


def speed_of(taken: dict[int, process.Taken]) -> float:
    """Frames a second from runs over one frame and over more of them."""
    frames = max(taken)
    seconds = taken[frames].seconds - (taken[1].seconds if frames > 1 else 0)
    return float(f"{max(1, frames - 1) / max(seconds, 1e-3):.3g}")


def shown(command: Sequence[str]) -> str:
    """The command as a paper would quote it: executable and files by their names, without what
    keeps ffmpeg quiet.
    """
    name = Path(command[0]).name
    words = [word for word in command[1:] if word not in QUIET]
    return " ".join(["ffmpeg" if name.startswith("ffmpeg") else name, *words])
