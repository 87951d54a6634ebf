"""All standard encoders, really run, and the reference encoders by a stand-in."""

import hashlib
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from codec.anchors import HM, VTM, X264, X265, StandardCodec, SvtAv1, Vvenc, ffmpeg
from codec.anchors.standard import FORMATS, read_file
from codec.errors import CodecError
from codec.metrics import psnr
from data.io.source_clip import SourceClip

Clips = Callable[..., SourceClip]
ANCHORS = [
    X265(preset="veryfast", parameters="bframes=0:rc-lookahead=0:scenecut=0:frame-threads=1:wpp=0"),
    X265(name="unrestricted", preset="veryfast", parameters="scenecut=0:frame-threads=1:wpp=0"),
    X264(),
    SvtAv1(preset=8),
    Vvenc(preset="faster"),
]
BY_NAME = pytest.mark.parametrize("anchor", ANCHORS, ids=lambda anchor: anchor.name)


@BY_NAME
def test_only_the_first_frame_is_intra_and_every_byte_belongs_to_a_frame(
    anchor: StandardCodec, clip: Clips, tmp_path: Path
):
    """Catches intra frames that an encoder adds by itself, frames out of order, and headers that
    belong to no frame.
    """
    source = clip(96, 80, 36)
    result = anchor.code(source, 32, "psnr", tmp_path)
    assert result.extra["frame_types"].count("I") == 1 and result.extra["frame_types"][0] == "I"
    assert sum(result.frame_bytes) == result.bytes == result.file.stat().st_size
    assert len(result.frame_bytes) == 36 and result.frame_bytes[0] == max(result.frame_bytes)
    assert psnr(source.rgb, result.decoded).min() > 24
    assert [plane.shape for plane in result.planes] == [plane.shape for plane in source.planes]


@BY_NAME
def test_an_intra_period_is_kept(anchor: StandardCodec, clip: Clips, tmp_path: Path):
    """Catches a period that never reaches the encoder, or is off by one."""
    source = clip(64, 64, 34)
    result = replace(anchor, intra_period=32).code(source, 40, "psnr", tmp_path)
    assert [number for number, kind in enumerate(result.extra["frame_types"]) if kind == "I"] == [
        0,
        32,
    ]
    every = replace(anchor, intra_period=1).code(clip(64, 64, 3), 40, "psnr", tmp_path)
    assert every.extra["frame_types"] == "III"


@BY_NAME
def test_the_same_file_every_time_and_a_smaller_one_at_a_coarser_qp(
    anchor: StandardCodec, clip: Clips, tmp_path: Path
):
    """Catches encoders whose bytes depend on threads and time, and a QP or a tuning that never
    reaches them.
    """
    source = clip(98, 66, 6)
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    first, second = (anchor.code(source, 30, "psnr", folder) for folder in folders)
    assert first.file.read_bytes() == second.file.read_bytes()
    assert anchor.code(source, 45, "psnr", tmp_path).bytes < first.bytes
    again = anchor.decode(first.file, source)
    assert torch.equal(again.rgb, first.decoded) and all(
        map(torch.equal, again.planes, first.planes)
    )


@pytest.mark.parametrize(
    ("anchor", "field"),
    [
        (ANCHORS[0], "cu_qp_delta_enabled_flag"),
        (SvtAv1(), "delta_q_present"),
        (ANCHORS[4], "pps_cu_qp_delta_enabled_flag"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_qp_does_not_follow_the_content(
    anchor: StandardCodec, field: str, clip: Clips, tmp_path: Path
):
    """Catches adaptive quantisation: within frames by its flag, and between frames by QPs that
    differ from clip to clip.
    """
    found = []
    for number, source in enumerate((clip(96, 64, 17), noisy(clip(96, 64, 17)))):
        folder = tmp_path / str(number)
        folder.mkdir()
        headers = traced(anchor.code(source, 32, "psnr", folder).file)
        assert headers(field) and set(headers(field)) == {"0"}
        found.append((headers("base_q_idx"), headers("slice_qp_delta"), headers("sh_qp_delta")))
    assert found[0] == found[1] and any(found[0])


def noisy(clip: SourceClip) -> SourceClip:
    """The same with noise that grows from frame to frame."""
    noise = torch.randn(clip.planes[0].shape, generator=torch.Generator().manual_seed(0))
    noise *= torch.arange(clip.frames)[:, None, None] * 3
    luma = (clip.planes[0] + noise).clamp(16, 235).to(torch.uint8)
    return replace(clip, planes=(luma, *clip.planes[1:]))


def traced(file: Path) -> Callable[[str], list[str]]:
    """Values of a header field, in the order of the stream."""
    reading = [
        "-f",
        FORMATS[file.suffix],
        "-i",
        str(file),
        "-c",
        "copy",
        "-bsf:v",
        "trace_headers",
        "-f",
        "null",
        "-",
    ]
    lines = [
        line.split() for line in ffmpeg.run(reading).stderr.decode(errors="replace").splitlines()
    ]
    return lambda field: [words[-1] for words in lines if field in words]


def test_ten_bits_are_rounded_to_eight(clip: Clips, tmp_path: Path):
    """Catches truncation, which darkens every frame by half a level, and dither."""
    source = clip(64, 64, 2)
    file = Vvenc(preset="faster").code(source, 20, "psnr", tmp_path).file
    reading = ["-f", "vvc", "-i", str(file), "-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-"]
    raw = torch.frombuffer(bytearray(ffmpeg.run(reading).stdout), dtype=torch.int16)
    luma = raw.reshape(2, -1)[:, : 64 * 64].reshape(2, 64, 64)
    assert torch.equal(
        read_file(file, 2, 64, 64).planes[0], ((luma + 2) >> 2).clamp(max=255).to(torch.uint8)
    )


def test_a_damaged_file_is_an_error(clip: Clips, tmp_path: Path):
    """Catches concealed frames that are scored as the codec's."""
    source = clip(96, 64, 5)
    result = ANCHORS[0].code(source, 20, "psnr", tmp_path)
    content = bytearray(result.file.read_bytes())
    result.file.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(CodecError, match=result.file.name):
        ANCHORS[0].decode(result.file, source)


def test_what_coding_costs(clip: Clips):
    """Catches memory of our own process counted as the encoder's (torch alone has hundreds of MiB),
    and missing figures.
    """
    cost = ANCHORS[0].complexity(clip(96, 64, 4))
    assert cost["parameters"] is cost["encode_kmac"] is cost["decode_kmac"] is None
    assert cost["encode_fps"] > 0 < cost["decode_fps"] and cost["threads"] == 1
    assert 1 < cost["encode_memory_mb"] < 150 and 1 < cost["decode_memory_mb"] < 150
    assert (cost["size"], cost["frames"], cost["quality"]) == ("96x64", 4, 32)


STAND_IN = """#!{python}
import subprocess, sys
words = sys.argv[1:]
if not words:
    print("HM software: Encoder Version [16.25] (including RExt)")
    sys.exit(1)
open({record!r}, "w").write("\\n".join(words))
long = dict(word[2:].split("=") for word in words if word.startswith("--"))
short = dict(zip(words[::1], words[1::1]))
if short["-q"] == "40":
    sys.exit("out of ideas")
size = long["SourceWidth"] + "x" + long["SourceHeight"]
subprocess.run([{ffmpeg!r}, "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p",
    "-s", size, "-i", long["InputFile"],
    "-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-preset", "ultrafast", "-x265-params",
    "info=0:bframes=0:keyint=-1:scenecut=0:log-level=none:qp=" + short["-q"],
    "-f", "hevc", "-y", short["-b"]], check=True)
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> HM:
    """An HM that is x265 at 10 bits, and that writes down what it was told."""
    encoder, config = tmp_path / "TAppEncoderStatic", tmp_path / "encoder_lowdelay_main10.cfg"
    words = {
        "python": sys.executable,
        "record": str(tmp_path / "told.txt"),
        "ffmpeg": ffmpeg.executable(),
    }
    encoder.write_text(STAND_IN.format(**words))
    encoder.chmod(encoder.stat().st_mode | stat.S_IXUSR)
    config.write_text("GOPSize : 4\n")
    return HM(encoder=str(encoder), config=str(config))


def test_a_reference_encoder_is_told_the_test_conditions(stand_in: HM, clip: Clips, tmp_path: Path):
    """Catches another line than DCVC's, a depth set for luma alone, paths in results, and 10 bits
    scored as 8.
    """
    source = clip(97, 63, 3)
    result = replace(stand_in, intra_period=32).code(source, 30, None, tmp_path)
    assert result.extra["frame_types"] == "IPP" and psnr(source.rgb, result.decoded).min() > 30
    told = (tmp_path / "told.txt").read_text().split("\n")
    assert {
        "--InputBitDepth=8",
        "--OutputBitDepth=8",
        "--OutputBitDepthC=8",
        "--IntraPeriod=32",
        "--Level=6.2",
    } <= {*told}
    assert {
        "--SourceWidth=98",
        "--SourceHeight=64",
        "--FrameRate=30",
        "--DecodingRefreshType=2",
    } <= {*told}
    assert result.extra["command"].startswith(
        "TAppEncoderStatic -c encoder_lowdelay_main10.cfg -f 3 -q 30 --IntraPeriod=32 "
    )
    settings = stand_in.settings()
    assert settings["HM"] == "16.25" and str(tmp_path) not in str(settings) + str(result.extra)
    assert settings["config_sha256"] == hashlib.sha256(b"GOPSize : 4\n").hexdigest()


def test_a_reference_encoder_that_fails_or_is_missing_is_said(
    stand_in: HM, clip: Clips, tmp_path: Path
):
    """Catches an error without the encoder's own words, and one that does not name the field and
    how to give it.
    """
    with pytest.raises(CodecError, match="(?s)TAppEncoderStatic .*ended with 1:\nout of ideas"):
        stand_in.code(clip(64, 64, 1), 40, None, tmp_path)
    with pytest.raises(
        CodecError, match=r"vtm: encoder: not given; .*anchors=\[\{vtm: \{encoder: FILE"
    ):
        VTM()
    with pytest.raises(CodecError, match="hm: config: no/such.cfg: no such file"):
        HM(encoder=sys.executable, config="no/such.cfg")
    with pytest.raises(CodecError, match="intra_period: 10; VVenC takes"):
        Vvenc(intra_period=10)
