"""The .cvd file: a small header, a payload a frame, a checksum. See docs/bitstream.md."""

import os
import zlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from codec.errors import CodecError
from codec.precision import PRECISIONS
from codec.quality import QUALITIES

MAGIC = b"CVD2"
_HASH_BYTES = 8
MOST_PIXELS = 1 << 26  # of a frame: decoding needs some 60 bytes for each
_MOST_THREADS = 1024


@dataclass(frozen=True)
class StreamHeader:
    """What a decoder must know before the first frame.

    Attributes:
        width, height: of the original, in pixels.
        frames: number of them.
        fps: frames a second.
        quality: 0..63.
        intra_period: frames from one intra frame to the next; -1: only the first is intra.
        model: 16 hexadecimal digits, `model_hash` of the codec.
        exact: symbols follow from whole numbers alone, so that every machine reads the same; pictures may differ by rounding.
        threads: where not exact, of the CPU arithmetic, which the decoder follows: sums in another order round differently;
            else 0.
        reconstruction: CRC-32 of the encoder's frames.
        precision: the encoder's arithmetic of the networks, of `codec.precision`, which gives its frames bit by bit.
    """

    width: int
    height: int
    frames: int
    fps: Fraction
    quality: int
    intra_period: int
    model: str
    threads: int
    reconstruction: int
    precision: str = "fp32"

    @property
    def exact(self) -> bool:
        return self.threads == 0


_PRECISIONS = tuple(PRECISIONS)


def write_stream(path: Path, header: StreamHeader, payloads: list[bytes]) -> int:
    """Write a .cvd file atomically and return its size in bytes."""
    content = bytearray(MAGIC)
    fields = [header.width, header.height, header.frames, header.fps.numerator, header.fps.denominator]
    fields += [header.quality, header.intra_period + 1, _PRECISIONS.index(header.precision), header.threads]
    for value in fields:
        content += _varint(value)
    content += bytes.fromhex(header.model) + header.reconstruction.to_bytes(4, "little")
    for payload in payloads:
        content += _varint(len(payload)) + payload
    content += zlib.crc32(content).to_bytes(4, "little")
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)
    return path.stat().st_size


def read_stream(path: Path) -> tuple[StreamHeader, list[bytes]]:
    """Header and payloads of a .cvd file.

    Raises:
        CodecError: the file is missing, empty, not a .cvd file, truncated, damaged, or of a newer version.
    """
    if not path.is_file():
        raise CodecError(f"{path}: no such file; give a .cvd file that `corvid compress` wrote")
    content = path.read_bytes()
    if content[:3] != MAGIC[:3]:
        raise CodecError(f"{path}: {'empty' if not content else 'not a .cvd file'}; give a file that `corvid compress` wrote")
    if content[:4] != MAGIC:
        raise CodecError(f"{path}: container version {content[3:4]!r}, {MAGIC[3:4]!r} expected; use the Corvid that wrote it")
    if zlib.crc32(content[:-4]).to_bytes(4, "little") != content[-4:]:
        raise CodecError(f"{path}: truncated or damaged (the checksum does not fit); copy or compress it again")
    try:
        return _parse(content)
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise CodecError(f"{path}: the header or a packet does not make sense ({error}); compress it again") from error


def _parse(content: bytes) -> tuple[StreamHeader, list[bytes]]:
    position, values = len(MAGIC), []
    for _ in range(9):
        value, position = _read_varint(content, position)
        values.append(value)
    width, height, frames, numerator, denominator, quality, period, precision, threads = values
    if not (0 < width * height <= MOST_PIXELS and quality < QUALITIES and frames and threads <= _MOST_THREADS):
        raise ValueError(f"width {width}, height {height}, frames {frames}, quality {quality}, threads {threads}")
    model = content[position : position + _HASH_BYTES].hex()
    position += _HASH_BYTES
    reconstruction = int.from_bytes(content[position : position + 4], "little")
    position += 4
    payloads = []
    for _ in range(frames):
        length, position = _read_varint(content, position)
        payloads.append(content[position : position + length])
        position += length
    if position != len(content) - 4:
        raise ValueError(f"packets end at byte {position}, the file at {len(content) - 4}")
    fps = Fraction(numerator, denominator)
    rest = (model, threads, reconstruction, _PRECISIONS[precision])
    return StreamHeader(width, height, frames, fps, quality, period - 1, *rest), payloads


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(content: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
        if shift > 56:
            raise ValueError(f"a number at byte {position} is too long")
