import random
from dataclasses import replace
from pathlib import Path

import pytest
from small_codec import FPS, moving_clip, write_payloads

from codec.errors import CodecError
from codec.stream import (
    DecompressedClip,
    Limits,
    StreamError,
    compress,
    decompress,
    read_stream,
    write_stream,
)
from codec.video import VideoCodec


def outcome(path: Path, codec: VideoCodec) -> DecompressedClip | CodecError:
    """What decompressing gives; anything but frames and our own error fails the test."""
    try:
        return decompress(path, codec)
    except CodecError as error:
        return error


def test_any_payload_gives_frames_or_one_clear_error(tmp_path: Path, codec: VideoCodec):
    """Catches crashes, hangs and silent acceptance: the file's checksum is right, its payloads are
    not.
    """
    path, draw = tmp_path / "a.cvd", random.Random(0)
    compress(codec, moving_clip(2, 48, 64), FPS, 40, path)
    header, packets = read_stream(path)
    noticed = 0
    for trial in range(24):
        changed = [bytearray(packet.payload) for packet in packets]
        victim = changed[trial % 2]
        match trial % 4:
            case 0:
                victim[draw.randrange(len(victim))] ^= 1 << draw.randrange(8)
            case 1:
                del victim[draw.randrange(len(victim) // 2) * 2 :]
            case 2:
                victim[:] = draw.randbytes(len(victim))
            case 3:
                victim += draw.randbytes(2)
        write_payloads(path, header, [bytes(payload) for payload in changed], 40)
        got = outcome(path, codec)
        noticed += isinstance(got, CodecError)
        assert isinstance(got, CodecError) or (
            not got.identical and got.frames.shape == (2, 3, 48, 64)
        )
    assert noticed >= 20


def test_errors_name_the_frame(tmp_path: Path, codec: VideoCodec):
    """Catches an error that leaves the user to find out where a file is broken."""
    compress(codec, moving_clip(2, 48, 64), FPS, 40, tmp_path / "a.cvd")
    header, packets = read_stream(tmp_path / "a.cvd")
    payloads = [packets[0].payload, packets[1].payload + b"ab"]
    write_payloads(tmp_path / "a.cvd", header, payloads, 40)
    with pytest.raises(StreamError, match=r"a\.cvd, frame 1: payload") as error:
        decompress(tmp_path / "a.cvd", codec)
    assert error.value.frame == 1


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"width": 1 << 21}, "no .cvd file can say that"),
        ({"threads": 2**33}, "no .cvd file can say that"),
        ({"width": 65536, "height": 65536}, "asks for frames of 65536×65536.*--max-pixels"),
        ({"threads": 2}, "does not call this codec exact"),
    ],
)
def test_a_header_cannot_ask_for_anything(
    tmp_path: Path, codec: VideoCodec, fields: dict[str, int], message: str
):
    """Catches a file of fifty bytes that makes a decoder allocate gigabytes or start thousands of
    threads.
    """
    compress(codec, moving_clip(1, 16, 16), FPS, 40, tmp_path / "a.cvd")
    header, packets = read_stream(tmp_path / "a.cvd")
    with pytest.raises(CodecError, match=message):
        write_stream(tmp_path / "a.cvd", replace(header, **fields), packets, reconstruction=0)
        decompress(tmp_path / "a.cvd", codec)


def test_limits_are_the_users(tmp_path: Path, codec: VideoCodec):
    """Catches a bound that cannot be given, or that is looked at after the work."""
    path = tmp_path / "a.cvd"
    compress(codec, moving_clip(3, 32, 48), FPS, 40, path)
    with pytest.raises(StreamError, match="frames of 48×32, more than 1535 pixels"):
        decompress(path, codec, limits=Limits(max_pixels=1535))
    with pytest.raises(StreamError, match="after 3 whole frames.*more than 2 frames"):
        decompress(path, codec, limits=Limits(max_frames=2))
    assert len(decompress(path, codec, limits=Limits(48 * 32, 3)).frames) == 3
