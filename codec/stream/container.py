"""The .cvd container, version 4: a header, a packet a frame, an end packet with the index.

A stream is written and read front to back, through a pipe too; what is cut off or damaged is
noticed at its packet, and the packets before it are good. docs/bitstream.md is the specification.
"""

from __future__ import annotations

import binascii
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Protocol

from codec.errors import CodecError
from codec.precision import PRECISIONS
from codec.quality import QUALITIES, check_quality
from common.files import new_version

MAGIC = b"CVD"
VERSION = 4
MATRICES = ("unknown", "bt601", "bt709", "bt2020")  # of the source's planes, for who shows it
MOST_PIXELS = 1 << 26  # of a frame: decoding needs some 60 bytes for each
MOST_FRAMES = 1 << 31
_MOST_SIDE = 1 << 20
_MOST_THREADS = 1024
_MOST_NAME = 64  # characters
_MOST_HEADER = 256  # bytes
_MOST_RATE = 1 << 31
_PAYLOAD_BASE = 1 << 16  # bytes that a payload may have beside those of its pixels
_PAYLOAD_PER_PIXEL = 16
_MODEL_BYTES = 8
_PRECISIONS = tuple(PRECISIONS)
_INTRA, _END = 0x80, 0x40  # bits of a packet's tag; the others are the quality
_TAIL_BYTES = 3


class StreamError(CodecError):
    """A .cvd stream that is damaged, cut off, or not one that this decoder can read.

    Attributes:
        frame: number of frames before the damage, all of which are good; None: the header is bad.
        byte: where in the stream it was noticed.
        cut: the stream ends too early, as one whose encoder was interrupted does.
    """

    def __init__(
        self, message: str, frame: int | None = None, byte: int = 0, cut: bool = False
    ) -> None:
        super().__init__(message)
        self.frame, self.byte, self.cut = frame, byte, cut


@dataclass(frozen=True)
class Limits:
    """What a header may ask for before it is refused.

    Attributes:
        max_pixels: of a frame.
        max_frames: of a stream.
    """

    max_pixels: int = MOST_PIXELS
    max_frames: int = MOST_FRAMES


@dataclass(frozen=True, kw_only=True)
class StreamHeader:
    """What a decoder must know before the first frame.

    Attributes:
        width, height: of the original, in pixels.
        fps: frames a second.
        model: 16 hexadecimal digits, `model_hash` of the codec.
        model_name: what people call it; up to 64 printable ASCII characters, or none.
        padding: coded frames have sides of whole multiples of it.
        matrix: of the source's planes, one of `MATRICES`; decoded frames are RGB all the same.
        full_range: likewise.
        precision: the encoder's arithmetic of the networks, of `codec.precision`, which gives its
            frames bit by bit.
        threads: where not exact, of the CPU arithmetic, which the decoder follows: sums in another
            order round differently; else 0.
        intra_period: frames from one intra frame to the next; -1: no fixed one. Packets say
            which frames are intra.
        reordered: packets have a display time of their own; else they come in the order of showing.
        version: of the container.
    """

    width: int
    height: int
    fps: Fraction
    model: str
    model_name: str = ""
    padding: int = 16
    matrix: str = "unknown"
    full_range: bool = False
    precision: str = "fp32"
    threads: int = 0
    intra_period: int = -1
    reordered: bool = False
    version: int = VERSION

    @property
    def exact(self) -> bool:
        """Symbols follow from integers alone, so that every machine reads the same; pictures may
        differ by rounding.
        """
        return self.threads == 0

    @property
    def coded_size(self) -> tuple[int, int]:
        """Width and height of the frames that are coded."""
        across, down = -(-self.width // self.padding), -(-self.height // self.padding)
        return across * self.padding, down * self.padding

    @property
    def most_payload(self) -> int:
        """Bytes that no frame's payload exceeds."""
        width, height = self.coded_size
        return _PAYLOAD_BASE + _PAYLOAD_PER_PIXEL * width * height


@dataclass(frozen=True, kw_only=True)
class Packet:
    """A coded frame.

    Attributes:
        payload: what the entropy coder wrote; empty where nothing was coded.
        quality: 0..63, of this frame.
        intra: it is decoded without a reference.
        time: when it is shown, in frames from 0.
    """

    payload: bytes
    quality: int
    intra: bool
    time: int


@dataclass(frozen=True)
class IndexEntry:
    """Where decoding can begin: the number of a packet of an intra frame, and its first byte."""

    frame: int
    byte: int


@dataclass(frozen=True)
class StreamEnd:
    """What follows the last frame.

    Attributes:
        frames: in the stream.
        reconstruction: CRC-32 of the encoder's frames: uint8, planar RGB, in order of packets.
        index: intra frames.
    """

    frames: int
    reconstruction: int
    index: tuple[IndexEntry, ...] = ()


class StreamWriter:
    """Writes a stream to anything that takes bytes, a packet at a time; nothing is kept.

    Args:
        file: open for writing; it need not be seekable, and stays open.
        header: of the stream.

    Attributes:
        bytes: written so far.
        frames: written so far.

    Raises:
        CodecError: the header has values that no reader would take.
    """

    def __init__(self, file: BinaryIO, header: StreamHeader) -> None:
        self.header, self._file = header, file
        self.bytes = self.frames = 0
        self._index: list[IndexEntry] = []
        self._put(header_bytes(header))

    def write(self, packet: Packet) -> None:
        """Append a frame."""
        if packet.intra:
            self._index.append(IndexEntry(self.frames, self.bytes))
        self._put(packet_bytes(packet, self.header, self.frames))
        self.frames += 1

    def finish(self, reconstruction: int) -> None:
        """Append the end packet; `reconstruction` is the CRC-32 of all frames."""
        self._put(end_bytes(StreamEnd(self.frames, reconstruction, tuple(self._index))))

    def _put(self, content: bytes) -> None:
        self._file.write(content)
        self._file.flush()
        self.bytes += len(content)


class StreamReader:
    """Reads a stream's header at once, and its packets one by one.

    Args:
        file: open for reading; it need not be seekable. Closed by whoever opened it.
        name: what errors call the stream.
        limits: of what the header may ask for.

    Attributes:
        header: of the stream.
        end: what follows the last frame; known once it was reached.

    Raises:
        StreamError: it is empty, no .cvd stream, of another version, its header is damaged or asks
            for more than `limits` allow.
    """

    def __init__(self, file: BinaryIO, name: str, limits: Limits | None = None) -> None:
        self.name, self.limits = name, limits or Limits()
        self.end: StreamEnd | None = None
        self.frame = 0  # number of the next packet
        self._source = _Source(file)
        self._old: list[Packet] | None = None
        start = self._source.read(len(MAGIC) + 1)
        if start[: len(MAGIC)] != MAGIC:
            what = "empty" if not start else "not a .cvd file"
            raise StreamError(f"{name}: {what}; give a file that `corvid compress` wrote")
        version = start[len(MAGIC) :]
        if version in (b"2", b"3"):
            from codec.stream.old_versions import parse_old

            self.header, self._old, self.end = parse_old(start + file.read(), name)
            _check_limits(self.header, self.limits, name)
        elif version == str(VERSION).encode():
            self.header = self._read_header(start)
        else:
            what = f"container version {version!r}, b'2', b'3' or b'{VERSION}' expected"
            raise StreamError(f"{name}: {what}; use the Corvid that wrote it")

    def __iter__(self) -> Iterator[Packet]:
        """The packets, to the end of the stream.

        Raises:
            StreamError: at the first packet that is damaged or missing.
        """
        while (packet := self.read()) is not None:
            yield packet

    def read(self) -> Packet | None:
        """The next packet; None after the last one.

        Raises:
            StreamError: it is damaged or missing.
        """
        if self._old is not None:
            packet = self._old[self.frame] if self.frame < len(self._old) else None
        else:
            packet = self._read_packet()
        if packet is not None:
            self.frame += 1
            if self.frame > self.limits.max_frames:
                what = f"more than {self.limits.max_frames} frames"
                raise self._error(f"{what}; allow more (--max-frames) if that is meant")
        return packet

    def index(self) -> tuple[IndexEntry, ...] | None:
        """Where decoding can begin, from the end of a seekable stream; the place does not move.

        None where the stream is not seekable, or is cut off before its end.
        """
        if self._old is not None:
            places = (number for number, packet in enumerate(self._old) if packet.intra)
            return tuple(IndexEntry(number, number) for number in places)
        end = self.read_end()
        return None if end is None else end.index

    def read_end(self) -> StreamEnd | None:
        """What the end packet says, found from the end of the file; None where there is none."""
        if self.end is not None or not self._source.seekable:
            return self.end
        here = self._source.position
        size = self._source.size()
        try:
            self._source.seek(max(0, size - _TAIL_BYTES))
            length = int.from_bytes(self._source.read(_TAIL_BYTES), "little")
            if not 0 < length <= size - _TAIL_BYTES:
                return None
            start = size - _TAIL_BYTES - length
            self._source.seek(start)
            content = self._source.read(length)
            if content[0] != _END or _crc16(content[:-2]) != content[-2:]:
                return None
            body = io.BytesIO(content[1:-2])
            end = _parse_end(body, start, self.limits)
            return None if body.read(1) else end
        except (ValueError, IndexError, EOFError):
            return None
        finally:
            self._source.seek(here)

    def seek(self, frame: int) -> int:
        """Go to the intra frame nearest before `frame`, or to it; its number comes back.

        Frames in between are then read and decoded; of a stream without an index, or that is no
        seekable file, all from here on.
        """
        places = [entry for entry in self.index() or () if entry.frame <= frame]
        if places and places[-1].frame > self.frame:
            if self._old is None:
                self._source.seek(places[-1].byte)
            self.frame = places[-1].frame
        return self.frame

    def _read_header(self, start: bytes) -> StreamHeader:
        try:
            length = _read_varint(self._source)
            if length > _MOST_HEADER:
                raise ValueError(f"a header of {length} bytes")
            body = self._source.read(length)
            check = self._source.read(2)
        except (ValueError, EOFError) as error:
            raise StreamError(
                f"{self.name}: the header is cut off or damaged ({_reason(error)}); copy or "
                "compress it again",
                byte=self._source.position,
            ) from error
        if len(body) < length or check != _crc16(start + _varint(length) + body):
            raise StreamError(
                f"{self.name}: the header is damaged or cut off (its checksum does not fit); copy "
                "or compress it again",
                byte=self._source.position,
                cut=len(check) < 2,
            )
        try:
            header = _parse_header(io.BytesIO(body))
        except (ValueError, EOFError, CodecError) as error:
            raise StreamError(
                f"{self.name}: the header does not make sense ({_reason(error)}); compress it again"
            ) from error
        _check_limits(header, self.limits, self.name)
        return header

    def _read_packet(self) -> Packet | None:
        if self.end is not None:
            return None
        start = self._source.position
        try:
            tag = self._source.take_one()
            if tag & _END:
                self._finish(tag, start)
                return None
            time, fields = self.frame, b""
            if self.header.reordered:
                difference = _read_varint(self._source)
                time += _unfold(difference)
                fields = _varint(difference)
            length = _read_varint(self._source)
            if length > self.header.most_payload:
                raise ValueError(f"a payload of {length} bytes")
            payload = self._source.take_all(length)
            check = self._source.take_all(2)
        except EOFError:
            raise self._error("the stream is cut off", cut=True) from None
        except ValueError as error:
            raise self._error(f"damaged ({error})", start) from error
        if check != _crc16(bytes([tag]) + fields + _varint(length) + payload):
            raise self._error("damaged (the packet's checksum does not fit)", start)
        if time < 0:
            raise self._error(f"damaged (a display time of {time})", start)
        intra = bool(tag & _INTRA)
        if not self.frame and not intra:
            raise self._error("damaged (the first frame needs another)", start)
        return Packet(payload=payload, quality=tag & (QUALITIES - 1), intra=intra, time=time)

    def _finish(self, tag: int, start: int) -> None:
        """Read the rest: the end packet, whose length stands at the very end."""
        if tag != _END:
            raise ValueError(f"a packet of kind {tag}")
        source = _Recorder(self._source, bytes([tag]))
        end = _parse_end(source, start, self.limits)
        content = source.content
        check = self._source.take_all(2)
        length = self._source.take_all(_TAIL_BYTES)
        if check != _crc16(content) or int.from_bytes(length, "little") != len(content) + 2:
            raise ValueError("the end packet's checksum or length does not fit")
        if end.frames != self.frame:
            raise ValueError(f"{end.frames} frames by the end packet, {self.frame} were there")
        if self._source.read(1):
            raise ValueError("something follows the end packet")
        self.end = end

    def _error(self, what: str, byte: int | None = None, cut: bool = False) -> StreamError:
        byte = self._source.position if byte is None else byte
        where = f"{self.name}: after {self.frame} whole frames, at byte {byte}"
        remedy = "" if "allow" in what else "; copy or compress it again"
        return StreamError(f"{where}: {what}{remedy}", self.frame, byte, cut)


@contextmanager
def open_stream(path: Path, limits: Limits | None = None) -> Iterator[StreamReader]:
    """A reader of a .cvd file.

    Raises:
        StreamError: there is no such file, or as `StreamReader`.
    """
    if not path.is_file():
        raise StreamError(f"{path}: no such file; give a .cvd file that `corvid compress` wrote")
    with path.open("rb") as file:
        yield StreamReader(file, str(path), limits)


def read_stream(path: Path, limits: Limits | None = None) -> tuple[StreamHeader, list[Packet]]:
    """Header and all packets of a .cvd file.

    Raises:
        StreamError: anywhere in it something is damaged or missing.
    """
    with open_stream(path, limits) as reader:
        return reader.header, list(reader)


def write_stream(
    path: Path, header: StreamHeader, packets: Iterable[Packet], reconstruction: int
) -> int:
    """Write a .cvd file that is whole or not there; its size in bytes.

    Raises:
        WriteError: the disk is full, or does not take it for another reason.
    """
    with new_version(path) as file:
        writer = StreamWriter(file, header)
        for packet in packets:
            writer.write(packet)
        writer.finish(reconstruction)
    return path.stat().st_size


def header_bytes(header: StreamHeader) -> bytes:
    """Magic, version, header and its checksum.

    Raises:
        CodecError: values that no reader takes.
    """
    name = header.model_name.encode("ascii", "replace")
    color = MATRICES.index(header.matrix) + len(MATRICES) * header.full_range
    fields = [header.width, header.height, header.padding]
    fields += [header.fps.numerator, header.fps.denominator, color]
    fields += [_PRECISIONS.index(header.precision), header.threads]
    fields += [2 * (header.intra_period + 1) + header.reordered]
    body = b"".join(map(_varint, fields)) + bytes.fromhex(header.model) + _varint(len(name)) + name
    try:
        _parse_header(io.BytesIO(body))
    except (ValueError, EOFError) as error:
        raise CodecError(f"stream header: {_reason(error)}; no .cvd file can say that") from error
    content = MAGIC + str(VERSION).encode() + _varint(len(body)) + body
    return content + _crc16(content)


def packet_bytes(packet: Packet, header: StreamHeader, number: int) -> bytes:
    """The packet of the frame that is coded as `number`."""
    content = bytes([check_quality(packet.quality) | (_INTRA if packet.intra else 0)])
    if header.reordered:
        content += _varint(_fold(packet.time - number))
    content += _varint(len(packet.payload)) + packet.payload
    return content + _crc16(content)


def end_bytes(end: StreamEnd) -> bytes:
    """The end packet, and its length."""
    content = bytes([_END]) + _varint(end.frames) + end.reconstruction.to_bytes(4, "little")
    content += _varint(len(end.index))
    frame = byte = 0
    for entry in end.index:
        content += _varint(entry.frame - frame) + _varint(entry.byte - byte)
        frame, byte = entry.frame, entry.byte
    content += _crc16(content)
    return content + len(content).to_bytes(_TAIL_BYTES, "little")


class _Readable(Protocol):
    """What gives up to so many bytes, fewer at its end."""

    def read(self, count: int, /) -> bytes: ...


class _Source:
    """A file that knows how far it was read; a pipe as well."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.position = file, 0
        self.seekable = file.seekable()
        self._start = file.tell() if self.seekable else 0

    def read(self, count: int) -> bytes:
        """Up to `count` bytes, fewer at the end."""
        content = bytearray()
        while len(content) < count and (more := self._file.read(count - len(content))):
            content += more
        self.position += len(content)
        return bytes(content)

    def take_all(self, count: int) -> bytes:
        """`count` bytes, or EOFError."""
        content = self.read(count)
        if len(content) < count:
            raise EOFError
        return content

    def take_one(self) -> int:
        return self.take_all(1)[0]

    def seek(self, position: int) -> None:
        self._file.seek(self._start + position)
        self.position = position

    def size(self) -> int:
        return self._file.seek(0, os.SEEK_END) - self._start


class _Recorder:
    """Keeps what is read."""

    def __init__(self, source: _Source, before: bytes) -> None:
        self._source, self.content = source, before

    def read(self, count: int) -> bytes:
        read = self._source.read(count)
        self.content += read
        return read


def _check_limits(header: StreamHeader, limits: Limits, name: str) -> None:
    if header.width * header.height > limits.max_pixels:
        what = f"frames of {header.width}×{header.height}"
        raise StreamError(
            f"{name}: the header asks for {what}, more than {limits.max_pixels} pixels; allow more "
            "(--max-pixels) if that is meant"
        )


def _parse_header(body: io.BytesIO) -> StreamHeader:
    width, height, padding, numerator, denominator, color, precision, threads, period = (
        _read_varint(body) for _ in range(9)
    )
    if not (0 < width <= _MOST_SIDE and 0 < height <= _MOST_SIDE):
        raise ValueError(f"width {width}, height {height}")
    if not 1 <= padding <= 1024:
        raise ValueError(f"sides in multiples of {padding}")
    if not (0 < numerator <= _MOST_RATE and 0 < denominator <= _MOST_RATE):
        raise ValueError(f"{numerator}/{denominator} frames a second")
    if color >= 2 * len(MATRICES) or precision >= len(_PRECISIONS) or threads > _MOST_THREADS:
        raise ValueError(f"color {color}, precision {precision}, threads {threads}")
    if period // 2 > MOST_FRAMES:
        raise ValueError(f"an intra period of {period // 2}")
    model = body.read(_MODEL_BYTES)
    length = _read_varint(body)
    name = body.read(length) if length <= _MOST_NAME else b""
    if len(model) < _MODEL_BYTES or len(name) != length or body.read(1):
        raise ValueError(f"a name of {length} bytes, or fields that are missing or too many")
    if not (name.isascii() and (text := name.decode("ascii")).isprintable()):
        raise ValueError("a model's name that is not printable")
    return StreamHeader(
        width=width,
        height=height,
        fps=Fraction(numerator, denominator),
        model=model.hex(),
        model_name=text,
        padding=padding,
        matrix=MATRICES[color % len(MATRICES)],
        full_range=color >= len(MATRICES),
        precision=_PRECISIONS[precision],
        threads=threads,
        intra_period=period // 2 - 1,
        reordered=bool(period % 2),
    )


def _parse_end(body: _Readable, start: int, limits: Limits) -> StreamEnd:
    """The end packet between tag and checksum; `start` is its first byte in the stream."""
    frames = _read_varint(body)
    reconstruction = body.read(4)
    if len(reconstruction) < 4:
        raise EOFError
    count = _read_varint(body)
    if count > frames or frames > limits.max_frames:
        raise ValueError(f"{frames} frames, {count} of them intra")
    entries: list[IndexEntry] = []
    frame = byte = 0
    for _ in range(count):
        frame += _read_varint(body)
        byte += _read_varint(body)
        if frame >= frames or byte >= start or (entries and frame <= entries[-1].frame):
            raise ValueError(f"an index entry of frame {frame} at byte {byte}")
        entries.append(IndexEntry(frame, byte))
    return StreamEnd(frames, int.from_bytes(reconstruction, "little"), tuple(entries))


def _crc16(content: bytes) -> bytes:
    """CRC-16/XMODEM (polynomial 0x1021, from 0), little-endian."""
    return binascii.crc_hqx(content, 0).to_bytes(2, "little")


def _reason(error: Exception) -> str:
    return str(error) or "it ends too early"


def _fold(value: int) -> int:
    return 2 * value if value >= 0 else -2 * value - 1


def _unfold(value: int) -> int:
    """The inverse of `_fold`."""
    return -(value + 1) // 2 if value % 2 else value // 2


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(source: _Readable) -> int:
    """A number; EOFError where the source ends, ValueError where it is longer than need be."""
    value = shift = 0
    while True:
        read = source.read(1)
        if not read:
            raise EOFError
        byte = read[0]
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            if not byte and shift > 7:
                raise ValueError("a number that is longer than it must be")
            return value
        if shift > 56:
            raise ValueError("a number that is too long")
