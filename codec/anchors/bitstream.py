"""A file of a standard codec read as ffprobe would: its pictures, what each of them took, and of
which type it is.
"""

from dataclasses import dataclass
from pathlib import Path

import av
from av.error import FFmpegError

from codec.anchors.planes import Planes
from codec.errors import CodecError
from data.io.container import decoder_errors, opened
from data.io.video import STRICT, frames_to_planes

FORMATS = {".hevc": "hevc", ".h264": "h264", ".obu": "obu", ".vvc": "vvc"}
TYPES = {1: "I", 2: "P", 3: "B"}


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
