"""The .cvd file: a small header, a payload a frame, a checksum. See docs/bitstream.md."""

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import add
from pathlib import Path

from codec.errors import CodecError
from codec.precision import PRECISIONS
from codec.quality import MOST_OFFSETS, QualityPattern, check_quality

MAGIC = b"CVD3"
_READ = (b"CVD2", MAGIC)
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
        quality: 0..63, of the clip; those of its frames follow from it by `pattern`.
        intra_period: frames from one intra frame to the next; -1: only the first is intra.
        model: 16 hexadecimal digits, `model_hash` of the codec.
        exact: symbols follow from integers alone, so that every machine reads the same;
            pictures may differ by rounding.
        threads: where not exact, of the CPU arithmetic, which the decoder follows: sums in another
            order round differently; else 0.
        reconstruction: CRC-32 of the encoder's frames.
        precision: the encoder's arithmetic of the networks, of `codec.precision`, which gives its
            frames bit by bit.
        pattern: what is added to `quality` by a frame's position after its intra frame.
        own_qualities: 0..63, of each frame, where the encoder chose them itself; None: they follow
            from the pattern.
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
    pattern: QualityPattern = QualityPattern()
    own_qualities: tuple[int, ...] | None = None

    @property
    def exact(self) -> bool:
        return self.threads == 0

    @property
    def qualities(self) -> tuple[int, ...]:
        """The quality 0..63 of each frame."""
        if self.own_qualities is not None:
            return self.own_qualities
        return self.pattern.qualities(self.quality, self.frames, self.intra_period)


_PRECISIONS = tuple(PRECISIONS)


def write_stream(path: Path, header: StreamHeader, payloads: list[bytes]) -> int:
    """Write a .cvd file atomically and return its size in bytes.

    Raises:
        CodecError: `header.own_qualities` are not as many as the frames, or not all in 0..63.
    """
    check_frame_qualities(header.own_qualities, header.frames)
    content = bytearray(MAGIC)
    fields = [header.width, header.height, header.frames]
    fields += [header.fps.numerator, header.fps.denominator, header.quality]
    fields += [header.intra_period + 1, _PRECISIONS.index(header.precision), header.threads]
    own = header.own_qualities
    fields += [_zigzag(header.pattern.intra), 2 * len(header.pattern.predicted) + (own is not None)]
    fields += [_zigzag(offset) for offset in header.pattern.predicted]
    for value in fields:
        content += _varint(value)
    content += bytes.fromhex(header.model) + header.reconstruction.to_bytes(4, "little")
    expected = header.pattern.qualities(header.quality, header.frames, header.intra_period)
    for t, payload in enumerate(payloads):
        content += _varint(len(payload))
        if own is not None:
            content += _varint(_zigzag(own[t] - expected[t]))
        content += payload
    content += zlib.crc32(content).to_bytes(4, "little")
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)
    return path.stat().st_size


def check_frame_qualities(qualities: Sequence[int] | None, frames: int) -> None:
    """Raise CodecError where there are qualities, and not one in 0..63 for each of `frames`."""
    if qualities is None:
        return
    if len(qualities) != frames:
        given = f"{len(qualities)} given for {frames} frames"
        raise CodecError(f"qualities: {given}; give one for each, or none")
    for quality in qualities:
        check_quality(quality)


def read_stream(path: Path) -> tuple[StreamHeader, list[bytes]]:
    """Header and payloads of a .cvd file, of version 2 or 3.

    Raises:
        CodecError: the file is missing, empty, not a .cvd file, truncated, damaged, or of a newer
            version.
    """
    if not path.is_file():
        raise CodecError(f"{path}: no such file; give a .cvd file that `corvid compress` wrote")
    content = path.read_bytes()
    if content[:3] != MAGIC[:3]:
        raise CodecError(
            f"{path}: {'empty' if not content else 'not a .cvd file'}; give a file that `corvid "
            "compress` wrote"
        )
    if content[:4] not in _READ:
        known = " or ".join(repr(magic[3:4]) for magic in _READ)
        what = f"container version {content[3:4]!r}, {known} expected"
        raise CodecError(f"{path}: {what}; use the Corvid that wrote it")
    if zlib.crc32(content[:-4]).to_bytes(4, "little") != content[-4:]:
        raise CodecError(
            f"{path}: truncated or damaged (the checksum does not fit); copy or compress it again"
        )
    try:
        return _parse(content)
    except (IndexError, ValueError, ZeroDivisionError, CodecError) as error:
        raise CodecError(
            f"{path}: the header or a packet does not make sense ({error}); compress it again"
        ) from error


def _parse(content: bytes) -> tuple[StreamHeader, list[bytes]]:
    values, position = _read_varints(content, len(MAGIC), 9)
    width, height, frames, numerator, denominator, quality, period, precision, threads = values
    if not (0 < width * height <= MOST_PIXELS and frames and threads <= _MOST_THREADS):
        raise ValueError(f"width {width}, height {height}, frames {frames}, threads {threads}")
    check_quality(quality)
    pattern, own, position = _parse_pattern(content, position)
    model = content[position : position + _HASH_BYTES].hex()
    position += _HASH_BYTES
    reconstruction = int.from_bytes(content[position : position + 4], "little")
    payloads, differences, position = _parse_packets(content, position + 4, frames, own)
    if position != len(content) - 4:
        raise ValueError(f"packets end at byte {position}, the file at {len(content) - 4}")
    own_qualities = None
    if own:
        expected = pattern.qualities(quality, frames, period - 1)
        own_qualities = tuple(map(add, expected, differences))
        check_frame_qualities(own_qualities, frames)
    header = StreamHeader(
        width=width,
        height=height,
        frames=frames,
        fps=Fraction(numerator, denominator),
        quality=quality,
        intra_period=period - 1,
        model=model,
        threads=threads,
        reconstruction=reconstruction,
        precision=_PRECISIONS[precision],
        pattern=pattern,
        own_qualities=own_qualities,
    )
    return header, payloads


def _parse_pattern(content: bytes, position: int) -> tuple[QualityPattern, bool, int]:
    """The pattern, whether packets have qualities of their own, and where it ends."""
    if content[: len(MAGIC)] != MAGIC:
        return QualityPattern(), False, position
    (intra, length), position = _read_varints(content, position, 2)
    if length // 2 > MOST_OFFSETS:
        raise ValueError(f"a pattern of {length // 2} qualities")
    predicted, position = _read_varints(content, position, length // 2)
    pattern = QualityPattern(_signed(intra), tuple(map(_signed, predicted)))
    return pattern, bool(length % 2), position


def _parse_packets(
    content: bytes,
    position: int,
    frames: int,
    own: bool,
) -> tuple[list[bytes], list[int], int]:
    """Payloads, what their qualities differ by from the pattern's, and where they end."""
    payloads, differences = [], []
    for _ in range(frames):
        (length,), position = _read_varints(content, position, 1)
        if own:
            (difference,), position = _read_varints(content, position, 1)
            differences.append(_signed(difference))
        payloads.append(content[position : position + length])
        position += length
    return payloads, differences, position


def _zigzag(value: int) -> int:
    return 2 * value if value >= 0 else -2 * value - 1


def _signed(value: int) -> int:
    """The inverse of `_zigzag`."""
    return -(value + 1) // 2 if value % 2 else value // 2


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varints(content: bytes, position: int, count: int) -> tuple[list[int], int]:
    values = []
    for _ in range(count):
        value, position = _read_varint(content, position)
        values.append(value)
    return values, position


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
