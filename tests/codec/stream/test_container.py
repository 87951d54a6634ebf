import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from codec.errors import CodecError
from codec.quality import QualityPattern
from codec.stream.container import StreamHeader, read_stream, write_stream

HEADER = StreamHeader(176, 144, 3, Fraction(30000, 1001), 63, -1, "0123456789abcdef", 2, 0xDEADBEEF)
PAYLOADS = [b"a" * 300, b"", b"c"]
PATTERN = QualityPattern(-4, (-3, 2, -63, 63))
# By tests/small_codec.py at commit 08e358f:
# compress(build("codec.precision=fp32"), moving_clip(3, 16, 16), FPS, 0, path, intra_period=2)
VERSION_2 = bytes.fromhex(
    "43564432101003b0ea01e90700030000aa3885bc54292be851cd397e102f25ba4d15aec4925e83ffff11d4192a16"
    "0300ee092b373925e1aab6ccb988cca589fff768e8301665040643bf780b4d4756ffff307bffff11bfe0f8fd"
    "ffe1815d92"
)


def with_checksum(content: bytes) -> bytes:
    """A file of what comes before the checksum."""
    return content + zlib.crc32(content).to_bytes(4, "little")


def pattern_at(content: bytes) -> int:
    """Where the intra offset of HEADER lies: what comes before is of fixed length."""
    return content.index(bytes.fromhex(HEADER.model)) - 3


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """A small valid file."""
    write_stream(tmp_path / "a.cvd", HEADER, PAYLOADS)
    return tmp_path / "a.cvd"


def test_header_and_payloads_come_back(stream: Path):
    """Catches a field lost or swapped, and lengths of several bytes or none."""
    assert read_stream(stream) == (HEADER, PAYLOADS)


def test_the_header_is_small(stream: Path):
    """Catches a header that matters at low rates."""
    assert stream.stat().st_size - sum(map(len, PAYLOADS)) < 50


def test_every_damage_is_one_clear_error(stream: Path):
    """Catches a truncated, flipped or extended file that is decoded into something."""
    content = stream.read_bytes()
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        for bad in (bytes(damaged), content[:position]):
            stream.write_bytes(bad)
            with pytest.raises(CodecError, match="a.cvd"):
                read_stream(stream)
    stream.write_bytes(content + b"x")
    with pytest.raises(CodecError, match="truncated or damaged"):
        read_stream(stream)


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
    with pytest.raises(CodecError, match="container version b'1', b'2' or b'3' expected"):
        read_stream(tmp_path / "old.cvd")


@pytest.mark.parametrize("own", [None, (63, 0, 17)])
def test_qualities_come_back(tmp_path: Path, own: tuple[int, ...] | None):
    """Catches signs lost, a pattern off by one, and differences against the wrong frame."""
    header = replace(HEADER, pattern=PATTERN, own_qualities=own)
    write_stream(tmp_path / "a.cvd", header, PAYLOADS)
    assert read_stream(tmp_path / "a.cvd") == (header, PAYLOADS)
    assert header.qualities == (own or (59, 60, 63))


def test_qualities_cost_nothing_where_they_follow_the_pattern(stream: Path, tmp_path: Path):
    """Catches a byte a frame in every stream."""
    pattern = QualityPattern(-4, (-3, 2, -7, 4))
    sizes = [
        write_stream(tmp_path / "b.cvd", replace(HEADER, **fields), PAYLOADS)
        for fields in ({}, {"pattern": pattern}, {"own_qualities": (63, 62, 60)})
    ]
    assert [size - stream.stat().st_size for size in sizes] == [0, 3, 3]


@pytest.mark.parametrize(
    "own, said",
    [((1, 2), "2 given for 3 frames"), ((1, 2, 64), "64 given"), ((-1, 2, 3), "-1 given")],
)
def test_a_writer_refuses_qualities_that_are_none(tmp_path: Path, own: tuple[int, ...], said: str):
    """Catches a file that no reader takes."""
    with pytest.raises(CodecError, match=said):
        write_stream(tmp_path / "a.cvd", replace(HEADER, own_qualities=own), PAYLOADS)
    assert not (tmp_path / "a.cvd").exists()


@pytest.mark.parametrize(
    "fields, said",
    [
        (b"\x80\x01\x02\x00", "intra 64"),
        (b"\x00\x00", "predicted \\[\\]"),
        (b"\x00\x02\x7f", "predicted \\[-64\\]"),
        (b"\x00\x82\x01" + bytes(65), "a pattern of 65 qualities"),
        (b"\x00" + b"\xff" * 7 + b"\x01", "a pattern of [0-9]{10,} qualities"),
        (b"\x00" + b"\xff" * 12, "too long"),
    ],
)
def test_a_pattern_that_is_none_is_one_clear_error(stream: Path, fields: bytes, said: str):
    """Catches offsets that no writer makes, and a reader that allocates what a file says."""
    content = stream.read_bytes()[:-4]
    start = pattern_at(content)
    assert content[start : start + 3] == b"\x00\x02\x00"
    stream.write_bytes(with_checksum(content[:start] + fields + content[start + 3 :]))
    with pytest.raises(CodecError, match=f"a.cvd: the header or a packet .*{said}"):
        read_stream(stream)


@pytest.mark.parametrize("folded, quality", [(2, 64), (127, -1)])
def test_a_quality_outside_its_range_is_one_clear_error(tmp_path: Path, folded: int, quality: int):
    """Catches tables that are read beyond their ends."""
    path = tmp_path / "a.cvd"
    write_stream(path, replace(HEADER, own_qualities=(63, 63, 62)), PAYLOADS)
    content = path.read_bytes()[:-4]
    assert content.endswith(b"\x00\x00\x01\x01c")  # lengths 0 and 1, differences 0 and -1
    path.write_bytes(with_checksum(content[:-2] + bytes([folded]) + b"c"))
    with pytest.raises(CodecError, match=f"a.cvd: .*quality: {quality} given"):
        read_stream(path)


def test_files_of_version_2_are_read(tmp_path: Path):
    """Catches a reader that looks for a pattern where none was written."""
    (tmp_path / "a.cvd").write_bytes(VERSION_2)
    header, payloads = read_stream(tmp_path / "a.cvd")
    fps = Fraction(30000, 1001)
    assert header == StreamHeader(16, 16, 3, fps, 0, 2, "aa3885bc54292be8", 0, 2117717329, "fp32")
    assert [len(payload) for payload in payloads] == [16, 22, 22] and header.qualities == (0, 0, 0)
