import binascii
import io
import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from codec.errors import CodecError
from codec.quality import QualityPattern
from codec.stream.container import (
    Limits,
    Packet,
    StreamEnd,
    StreamError,
    StreamHeader,
    StreamReader,
    StreamWriter,
    end_bytes,
    header_bytes,
    open_stream,
    packet_bytes,
    read_stream,
    write_stream,
)

HEADER = StreamHeader(
    width=3840,
    height=2160,
    fps=Fraction(30000, 1001),
    model="0123456789abcdef",
    model_name="corvid_s",
    matrix="bt709",
    full_range=True,
    precision="bf16",
    threads=2,
    intra_period=250,
)
PACKETS = [
    Packet(payload=b"a" * 300, quality=63, intra=True, time=0),
    Packet(payload=b"", quality=0, intra=False, time=1),
    Packet(payload=b"c", quality=17, intra=False, time=2),
    Packet(payload=b"d" * 70_000, quality=40, intra=True, time=3),
    Packet(payload=b"e" * 5, quality=41, intra=False, time=4),
]
RECONSTRUCTION = 0xDEADBEEF
# By tests/small_codec.py at commit 08e358f:
# compress(build("codec.precision=fp32"), moving_clip(3, 16, 16), FPS, 0, path, intra_period=2)
VERSION_2 = bytes.fromhex(
    "43564432101003b0ea01e90700030000aa3885bc54292be851cd397e102f25ba4d15aec4925e83ffff11d4192a16"
    "0300ee092b373925e1aab6ccb988cca589fff768e8301665040643bf780b4d4756ffff307bffff11bfe0f8fd"
    "ffe1815d92"
)
# By write_stream at commit 417b79e of StreamHeader(176, 144, 3, FPS, 63, -1, "0123456789abcdef", 2,
# 0xDEADBEEF, pattern=QualityPattern(-4, (-3, 2, -63, 63)), own_qualities=(63, 0, 17)) and payloads
# b"aaa", b"", b"c"
VERSION_3 = bytes.fromhex(
    "43564433b001900103b0ea01e9073f000002070905047d7e0123456789abcdefefbeadde03086161610077015b63"
)


class Pipe(io.RawIOBase):
    """What cannot be sought in, and gives a few bytes at a time."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, count: int = -1) -> bytes:
        return self._content.read(min(count, 7) if count >= 0 else 7)


def with_checksum(content: bytes) -> bytes:
    """What comes before a CRC-16, and it."""
    return content + binascii.crc_hqx(content, 0).to_bytes(2, "little")


def whole(header: StreamHeader = HEADER, packets: list[Packet] = PACKETS) -> bytes:
    """A stream."""
    file = io.BytesIO()
    writer = StreamWriter(file, header)
    for packet in packets:
        writer.write(packet)
    writer.finish(RECONSTRUCTION)
    assert writer.bytes == len(file.getvalue()) and writer.frames == len(packets)
    return file.getvalue()


def read(content: bytes) -> tuple[list[Packet], StreamError | None]:
    """The packets of a stream up to an error; any other exception fails the test."""
    packets = []
    try:
        for packet in StreamReader(io.BytesIO(content), "a.cvd"):
            packets.append(packet)
    except StreamError as error:
        return packets, error
    return packets, None


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """A small valid file."""
    write_stream(tmp_path / "a.cvd", HEADER, PACKETS, RECONSTRUCTION)
    return tmp_path / "a.cvd"


def test_header_and_packets_come_back(stream: Path):
    """Catches a field lost or swapped, and lengths of several bytes or none."""
    assert read_stream(stream) == (HEADER, PACKETS)
    with open_stream(stream) as reader:
        assert list(reader) == PACKETS and reader.end == reader.read_end()
        assert (reader.end.frames, reader.end.reconstruction) == (5, RECONSTRUCTION)
        assert [entry.frame for entry in reader.end.index] == [0, 3]


def test_a_pipe_gives_the_same():
    """Catches a reader that seeks, or takes a short read for the end."""
    reader = StreamReader(Pipe(whole()), "-")
    assert reader.header == HEADER and list(reader) == PACKETS and reader.end.frames == 5
    assert StreamReader(Pipe(whole()), "-").index() is None


def test_it_is_small():
    """Catches a container that matters at low rates: 48 bytes a stream besides the name, 8 a frame,
    4 more an intra frame.
    """
    plain = replace(HEADER, model_name="")
    assert len(header_bytes(plain)) + len(end_bytes(StreamEnd(100_000, 0))) <= 48
    for size in (0, 100, 20_000, 2_000_000):
        packets = [
            Packet(payload=b"a" * size, quality=63, intra=t % 30 == 0, time=t) for t in range(90)
        ]
        short = plain if size < 1000 else replace(plain, intra_period=-1)
        beside = len(whole(short, packets)) - 90 * size
        assert beside <= 48 + 8 * 90 + 4 * 3
        swapped = [replace(packet, time=packet.time ^ 1) for packet in packets]
        beside = len(whole(replace(short, reordered=True), swapped)) - 90 * size
        assert beside <= 48 + 8 * 90 + 4 * 3


def test_display_times_come_back():
    """Catches an order of showing that is lost where frames are coded in another one."""
    times = (0, 4, 2, 1, 3)
    packets = [replace(packet, time=time) for packet, time in zip(PACKETS, times, strict=True)]
    content = whole(replace(HEADER, reordered=True), packets)
    assert read(content) == (packets, None)


@pytest.mark.parametrize("step", [1, 613])
def test_damage_is_noticed_where_it_is(step: int):
    """Catches a flipped bit that goes through, good packets before it that are lost, another
    exception.
    """
    packets = PACKETS[:3] + [replace(PACKETS[3], payload=b"d" * 40), PACKETS[4]]
    content = whole(packets=packets if step == 1 else PACKETS)
    starts, place = [], len(header_bytes(HEADER))
    for number, packet in enumerate(packets if step == 1 else PACKETS):
        starts.append(place)
        place += len(packet_bytes(packet, HEADER, number))
    for position in range(0, len(content), step):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        got, error = read(bytes(damaged))
        before = sum(start <= position for start in starts) - 1 if position < place else 5
        assert error is not None and "a.cvd" in str(error)
        assert got == (packets if step == 1 else PACKETS)[: max(0, before)], position
        assert error.frame == (None if before < 0 else before)


def test_a_stream_that_is_cut_off_gives_its_whole_packets():
    """Catches an interrupted encoder whose work is lost."""
    packets = [replace(packet, payload=packet.payload[:60]) for packet in PACKETS]
    content = whole(packets=packets)
    for length in range(len(content)):
        got, error = read(content[:length])
        assert got == packets[: len(got)] and error is not None
        if length >= len(header_bytes(HEADER)):
            assert error.cut and f"after {len(got)} whole frames" in str(error)
            assert error.frame == len(got) and error.byte <= length
    ends = len(content) - len(end_bytes(StreamReader(io.BytesIO(content), "").read_end()))
    assert len(read(content[:ends])[0]) == 5
    got, error = read(content + b"x")
    assert got == packets and "something follows" in str(error)


def test_decoding_begins_at_the_nearest_intra_frame(stream: Path):
    """Catches an index of wrong places, and one that is needed to read at all."""
    for wanted, first in ((0, 0), (2, 0), (3, 3), (4, 3), (99, 3)):
        with open_stream(stream) as reader:
            assert reader.seek(wanted) == first and list(reader) == PACKETS[first:]
    stream.write_bytes(stream.read_bytes()[:-1])
    with open_stream(stream) as reader:
        assert reader.index() is None and reader.seek(4) == 0
        assert reader.read() == PACKETS[0]


def test_a_crafted_index_leads_nowhere():
    """Catches places outside of the stream, a count that takes the memory, entries backwards."""
    start = len(whole()) - len(end_bytes(StreamEnd(5, RECONSTRUCTION)))
    head = whole()[: start - 5]  # of a stream with two entries: before its end packet
    assert read(head)[0] == PACKETS
    for index in (b"\x7f", b"\x01\x05\x00", b"\x02\x03\x20\x00\x01", b"\x01\x00\xff\xff\x7f", b""):
        end = with_checksum(b"\x40\x05" + RECONSTRUCTION.to_bytes(4, "little") + index)
        reader = StreamReader(io.BytesIO(head + end + len(end).to_bytes(3, "little")), "a.cvd")
        assert reader.index() is None
        with pytest.raises(StreamError, match="after 5 whole frames"):
            list(reader)


def test_missing_empty_and_foreign_files_are_named(tmp_path: Path):
    """Catches errors that do not say what is wrong with the file."""
    (tmp_path / "empty.cvd").touch()
    (tmp_path / "text.cvd").write_text("not a stream, but long enough to be one")
    with pytest.raises(CodecError, match="no such file"):
        read_stream(tmp_path / "none.cvd")
    with pytest.raises(CodecError, match="empty"):
        read_stream(tmp_path / "empty.cvd")
    with pytest.raises(CodecError, match="not a .cvd file"):
        read_stream(tmp_path / "text.cvd")
    (tmp_path / "old.cvd").write_bytes(b"CVD1 and what that version held")
    with pytest.raises(CodecError, match="container version b'1', b'2', b'3' or b'4' expected"):
        read_stream(tmp_path / "old.cvd")


@pytest.mark.parametrize(
    "body, said",
    [
        (b"\x00\x10\x10\x19\x01\x00\x00\x00\x00" + bytes(9), "width 0"),
        (b"\xff\xff\xff\x7f\x10\x10\x19\x01\x00\x00\x00\x00" + bytes(9), "width 268435455"),
        (b"\x10\x10\x00\x19\x01\x00\x00\x00\x00" + bytes(9), "multiples of 0"),
        (b"\x10\x10\x10\x19\x00\x00\x00\x00\x00" + bytes(9), "25/0 frames"),
        (b"\x10\x10\x10\x19\x01\x08\x00\x00\x00" + bytes(9), "color 8"),
        (b"\x10\x10\x10\x19\x01\x00\x03\x00\x00" + bytes(9), "precision 3"),
        (b"\x10\x10\x10\x19\x01\x00\x00\x81\x08\x00" + bytes(9), "threads 1025"),
        (b"\x10\x10\x10\x19\x01\x00\x00\x00\xff\xff\xff\xff\xff\x01" + bytes(9), "intra period"),
        (b"\x10\x10\x10\x19\x01\x00\x00\x00\x00" + bytes(8) + b"\x41" + b"a" * 65, "name"),
        (b"\x10\x10\x10\x19\x01\x00\x00\x00\x00" + bytes(8) + b"\x02\x1b[", "not printable"),
        (b"\x10\x10\x10\x19\x01\x00\x00\x00\x00" + bytes(10), "too many"),
        (b"\x10\x10\x10\x19\x01\x00\x00\x00", "too early"),
        (b"\x90\x00\x10\x10\x19\x01\x00\x00\x00\x00" + bytes(9), "longer than it must be"),
        (b"\xff" * 12, "too long"),
    ],
)
def test_a_header_of_nonsense_is_one_clear_error(body: bytes, said: str):
    """Catches numbers that are believed, though the checksum is right."""
    content = with_checksum(b"CVD4" + bytes([len(body)]) + body)
    with pytest.raises(StreamError, match=f"a.cvd: the header does not make sense.*{said}"):
        StreamReader(io.BytesIO(content), "a.cvd")


def test_a_packet_cannot_ask_for_the_memory():
    """Catches a length that is believed before the bytes are there, and one beyond any frame."""
    head = header_bytes(replace(HEADER, width=16, height=16))
    for length in (b"\xff\xff\xff\xff\xff\xff\x7f", b"\x81\xa0\x04"):
        packets, error = read(head + b"\x80" + length + b"abc")
        assert not packets and "a payload of" in str(error)
    packets, error = read(head + b"\x80\x80\xa0\x04" + b"abc")
    assert not packets and error.cut


@pytest.mark.parametrize("frames", [0, 4])
def test_more_frames_than_allowed_are_refused(stream: Path, frames: int):
    """Catches a limit that is not kept."""
    with pytest.raises(StreamError, match=f"after {frames + 1} whole frames.*--max-frames"):
        read_stream(stream, Limits(max_frames=frames))


def test_a_writer_refuses_what_no_reader_takes(tmp_path: Path):
    """Catches a file that cannot be read again."""
    for fields in ({"width": 0}, {"threads": 5000}, {"model_name": "a" * 65}, {"padding": 0}):
        with pytest.raises(CodecError, match="no .cvd file can say that"):
            write_stream(tmp_path / "a.cvd", replace(HEADER, **fields), PACKETS, RECONSTRUCTION)
    with pytest.raises(CodecError, match="64 given"):
        write_stream(tmp_path / "a.cvd", HEADER, [replace(PACKETS[0], quality=64)], RECONSTRUCTION)
    assert not list(tmp_path.iterdir())


def test_files_of_version_2_are_read(tmp_path: Path):
    """Catches a reader that looks for a pattern where none was written."""
    (tmp_path / "a.cvd").write_bytes(VERSION_2)
    header, packets = read_stream(tmp_path / "a.cvd")
    assert header == StreamHeader(
        width=16,
        height=16,
        fps=Fraction(30000, 1001),
        model="aa3885bc54292be8",
        intra_period=2,
        version=2,
    )
    assert [(len(p.payload), p.quality, p.intra, p.time) for p in packets] == [
        (16, 0, True, 0),
        (22, 0, False, 1),
        (22, 0, True, 2),
    ]
    with open_stream(tmp_path / "a.cvd") as reader:
        assert reader.read_end().reconstruction == 2117717329
        assert reader.seek(2) == 2 and list(reader) == packets[2:]


def test_files_of_version_3_are_read(tmp_path: Path):
    """Catches qualities of frames that are read off by one, or against another pattern."""
    content = VERSION_3 + zlib.crc32(VERSION_3).to_bytes(4, "little")
    (tmp_path / "a.cvd").write_bytes(content)
    header, packets = read_stream(tmp_path / "a.cvd")
    assert (header.width, header.height, header.threads, header.version) == (176, 144, 2, 3)
    assert [(p.payload, p.quality) for p in packets] == [(b"aaa", 63), (b"", 0), (b"c", 17)]
    assert QualityPattern(-4, (-3, 2, -63, 63)).qualities(63, 3, -1) == (59, 60, 63)
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        for bad in (bytes(damaged), content[:position]):
            assert read(bad)[1] is not None
