from fractions import Fraction
from pathlib import Path

import pytest

from codec.errors import CodecError
from codec.stream.container import StreamHeader, read_stream, write_stream

HEADER = StreamHeader(176, 144, 3, Fraction(30000, 1001), 63, -1, "0123456789abcdef", 2, 0xDEADBEEF)
PAYLOADS = [b"a" * 300, b"", b"c"]


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
    with pytest.raises(CodecError, match="container version b'1', b'2' expected"):
        read_stream(tmp_path / "old.cvd")
