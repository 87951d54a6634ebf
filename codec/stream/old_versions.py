"""Streams of container versions 2 and 3, which are read and no longer written."""

from __future__ import annotations

import zlib
from fractions import Fraction

from codec.errors import CodecError
from codec.precision import PRECISIONS
from codec.quality import MOST_OFFSETS, QualityPattern, check_quality
from codec.stream.container import (
    MOST_PIXELS,
    Packet,
    StreamEnd,
    StreamError,
    StreamHeader,
)

_MAGIC_BYTES = 4
_HASH_BYTES = 8
_MOST_THREADS = 1024
_PRECISIONS = tuple(PRECISIONS)


def parse_old(content: bytes, name: str) -> tuple[StreamHeader, list[Packet], StreamEnd]:
    """Header, packets and end of a whole file of version 2 or 3.

    Raises:
        StreamError: it is truncated or damaged; these versions have one checksum for all.
    """
    if zlib.crc32(content[:-4]).to_bytes(4, "little") != content[-4:]:
        raise StreamError(
            f"{name}: truncated or damaged (the checksum does not fit); copy or compress it again"
        )
    try:
        return _parse(content)
    except (IndexError, ValueError, ZeroDivisionError, CodecError) as error:
        raise StreamError(
            f"{name}: the header or a packet does not make sense ({error}); compress it again"
        ) from error


def _parse(content: bytes) -> tuple[StreamHeader, list[Packet], StreamEnd]:
    values, position = _read_varints(content, _MAGIC_BYTES, 9)
    width, height, frames, numerator, denominator, quality, period, precision, threads = values
    if not (0 < width * height <= MOST_PIXELS and frames and threads <= _MOST_THREADS):
        raise ValueError(f"width {width}, height {height}, frames {frames}, threads {threads}")
    check_quality(quality)
    version = int(content[3:4])
    pattern, own = QualityPattern(), False
    if version == 3:
        pattern, own, position = _parse_pattern(content, position)
    model = content[position : position + _HASH_BYTES].hex()
    position += _HASH_BYTES
    reconstruction = int.from_bytes(content[position : position + 4], "little")
    intra_period = period - 1
    header = StreamHeader(
        width=width,
        height=height,
        fps=Fraction(numerator, denominator),
        model=model,
        precision=_PRECISIONS[precision],
        threads=threads,
        intra_period=intra_period,
        version=version,
    )
    packets = []
    position += 4
    for t in range(frames):
        (length,), position = _read_varints(content, position, 1)
        place = t % intra_period if intra_period > 0 else t
        quality_of_frame = pattern.quality_at(quality, place)
        if own:
            (difference,), position = _read_varints(content, position, 1)
            quality_of_frame = check_quality(quality_of_frame + _signed(difference))
        payload = content[position : position + length]
        position += length
        packets.append(Packet(payload=payload, quality=quality_of_frame, intra=not place, time=t))
    if position != len(content) - 4:
        raise ValueError(f"packets end at byte {position}, the file at {len(content) - 4}")
    return header, packets, StreamEnd(frames, reconstruction)


def _parse_pattern(content: bytes, position: int) -> tuple[QualityPattern, bool, int]:
    """The pattern, whether packets have qualities of their own, and where it ends."""
    (intra, length), position = _read_varints(content, position, 2)
    if length // 2 > MOST_OFFSETS:
        raise ValueError(f"a pattern of {length // 2} qualities")
    predicted, position = _read_varints(content, position, length // 2)
    pattern = QualityPattern(_signed(intra), tuple(map(_signed, predicted)))
    return pattern, bool(length % 2), position


def _signed(value: int) -> int:
    return -(value + 1) // 2 if value % 2 else value // 2


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
