"""The x265 anchor, really run."""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from codec.anchors import X265, ffmpeg, process
from codec.anchors.standard import QUIET, raw_file
from codec.errors import CodecError
from codec.metrics import psnr
from data.io.source_clip import SourceClip

Clips = Callable[..., SourceClip]
ROOT = Path(__file__).parents[3]


def nal_types(file: Path) -> Counter[int]:
    """How many NAL units of every type a raw HEVC file holds (H.265, 7.3.1.2)."""
    data = file.read_bytes()
    return Counter((data[start.end()] >> 1) & 63 for start in re.finditer(b"\x00\x00\x01", data))


def test_it_writes_a_raw_hevc_file_without_a_message(clip: Clips, tmp_path: Path):
    """Catches SEI units (x265's settings are 2 kB of text), extra intra frames, and a rate that is
    not the file's.
    """
    result = X265().code(clip(96, 64, 5), 30, "psnr", tmp_path)
    units = nal_types(result.file)
    assert units[39] == units[40] == 0
    assert sum(count for kind, count in units.items() if kind < 16) == 4
    assert sum(count for kind, count in units.items() if 16 <= kind < 24) == 1
    assert result.bytes == result.file.stat().st_size == len(result.file.read_bytes())
    assert result.decoded.shape == (5, 3, 64, 96)
    assert result.encode_seconds > 0 and result.decode_seconds > 0


@pytest.mark.parametrize("size", [(175, 143), (65, 64), (16, 16), (64, 97)])
@pytest.mark.parametrize("frames", [1, 2])
def test_odd_sizes_and_few_frames(clip: Clips, tmp_path: Path, size: tuple[int, int], frames: int):
    """Catches cropping in place of padding, planes shifted by a row, and frames lost at the end."""
    source = clip(*size, frames)
    result = X265().code(source, 8, "psnr", tmp_path)
    assert result.decoded.shape == source.rgb.shape
    assert psnr(source.rgb, result.decoded).min() > 40


def test_quality_and_tuning_change_the_file(clip: Clips, tmp_path: Path):
    """Catches a QP or a tuning that never reaches the encoder."""
    source = clip(96, 64)
    sizes = {
        (qp, tune): X265().code(source, qp, tune, tmp_path)
        for qp in (20, 40)
        for tune in ("psnr", "default")
    }
    assert sizes[20, "psnr"].bytes > sizes[40, "psnr"].bytes
    assert not torch.equal(sizes[20, "psnr"].decoded, sizes[20, "default"].decoded)
    assert "-tune psnr" in sizes[20, "psnr"].extra["command"]
    assert "-tune" not in sizes[20, "default"].extra["command"]


def test_intra_period_one_is_all_intra(clip: Clips, tmp_path: Path):
    """Catches an intra period that is not passed on."""
    result = X265(intra_period=1).code(clip(64, 64, 3), 30, "psnr", tmp_path)
    assert sum(count for kind, count in nal_types(result.file).items() if 16 <= kind < 24) == 3


def test_a_source_without_planes_is_converted(clip: Clips, tmp_path: Path):
    """Catches a matrix or range other than that of the conversion back; and not saying what was
    fed.
    """
    with_planes, without = clip(96, 64), clip(96, 64, planes=False)
    own, made = (X265().code(source, 10, "psnr", tmp_path) for source in (with_planes, without))
    assert psnr(with_planes.rgb, own.decoded).min() > 55
    assert psnr(without.rgb, made.decoded).min() > 45
    assert own.extra["input"] == "the source's own 4:2:0 planes"
    assert "made from the RGB" in made.extra["input"]


@pytest.mark.parametrize("name", ["x265_medium", "x265_veryslow", "x265_veryfast_zerolatency"])
def test_low_delay_has_no_pool_of_threads(clip: Clips, tmp_path: Path, name: str):
    """Catches a pool beside the one thread that the cost figures state, and bytes that depend on
    it.
    """
    chosen = OmegaConf.load(ROOT / f"conf/anchor/{name}.yaml")
    shot, files = raw_file(clip(96, 64, 4), tmp_path, 8), []
    for parameters in (chosen.parameters.replace(":pools=none", ""), chosen.parameters):
        coder = X265(preset=chosen.preset, parameters=parameters, tuning=chosen.get("tuning"))
        files.append(tmp_path / f"{len(files)}.hevc")
        command = coder.command(shot, "24", "psnr", str(files[-1]))
        said = process.run(
            [
                *command[:1],
                "-loglevel",
                "info",
                *(word for word in command[1:] if word not in QUIET),
            ]
        )
    assert (
        b"Thread pool created" not in said.stderr
        and b"frame threads / pool features       : 1 / none" in said.stderr
    )
    assert files[0].read_bytes() == files[1].read_bytes()


def test_what_a_reader_needs_is_recorded_without_paths(clip: Clips, tmp_path: Path):
    """Catches versions that cannot be read from ffmpeg's output, and paths of this machine in
    results.
    """
    settings = X265().settings()
    assert re.match(r"\d+\.\d+", settings["x265"]) and settings["ffmpeg"] != "unknown"
    command = X265().code(clip(64, 64, 2), 30, "psnr", tmp_path).extra["command"]
    assert command == (
        "ffmpeg -f rawvideo -pix_fmt yuv420p -s 64x64 -r 30000/1001 -i CLIP.yuv -c:v libx265 "
        "-preset medium -tune psnr "
        "-x265-params "
        "bframes=0:rc-lookahead=0:scenecut=0:frame-threads=1:keyint=-1:min-keyint=-1:qp=30:info=0 "
        "-f hevc OUT.hevc"
    )


def test_errors_carry_what_ffmpeg_said(clip: Clips, tmp_path: Path):
    """Catches a failing encoder that gives an empty point, and a decoder that loses frames
    unnoticed.
    """
    with pytest.raises(CodecError, match="(?s)ended with .*no such preset"):
        X265(preset="no such preset").code(clip(64, 64, 1), 30, "psnr", tmp_path)
    with pytest.raises(CodecError, match="QPs, whole numbers between 0 and 51"):
        X265(qualities=[20, 52])
    source = clip(64, 64, 2)
    file = X265().code(source, 30, "psnr", tmp_path).file
    with pytest.raises(CodecError, match="decoded 2 frames of 64x64, 3 were encoded"):
        X265().decode(file, dataclasses.replace(source, frames=3))
    assert ffmpeg.version()
