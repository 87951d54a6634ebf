import random
from dataclasses import replace
from pathlib import Path

import pytest
from small_codec import FPS, moving_clip

from codec.errors import CodecError
from codec.stream import DecompressedClip, compress, decompress
from codec.stream.container import read_stream, write_stream
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
    header, payloads = read_stream(path)
    noticed = 0
    for trial in range(24):
        changed = [bytearray(payload) for payload in payloads]
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
        write_stream(path, header, [bytes(payload) for payload in changed])
        got = outcome(path, codec)
        noticed += isinstance(got, CodecError)
        assert isinstance(got, CodecError) or (
            not got.identical and got.frames.shape == (2, 3, 48, 64)
        )
    assert noticed >= 20


def test_errors_name_the_frame(tmp_path: Path, codec: VideoCodec):
    """Catches an error that leaves the user to find out where a file is broken."""
    compress(codec, moving_clip(2, 48, 64), FPS, 40, tmp_path / "a.cvd")
    header, payloads = read_stream(tmp_path / "a.cvd")
    write_stream(tmp_path / "a.cvd", header, [payloads[0], payloads[1] + b"ab"])
    with pytest.raises(CodecError, match=r"a\.cvd, frame 1: payload"):
        decompress(tmp_path / "a.cvd", codec)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"width": 65536, "height": 65536}, "does not make sense"),
        ({"threads": 2**33}, "does not make sense"),
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
    header, payloads = read_stream(tmp_path / "a.cvd")
    write_stream(tmp_path / "a.cvd", replace(header, **fields), payloads)
    with pytest.raises(CodecError, match=message):
        decompress(tmp_path / "a.cvd", codec)
