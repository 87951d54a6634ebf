from pathlib import Path

import pytest
import torch
from small_codec import FPS, build, moving_clip

from codec.checkpoint import load_codec, model_hash
from codec.cli import main
from codec.errors import CodecError
from codec.freeze import freeze
from codec.quality import QualityPattern
from codec.stream import compress, decompress, frames_sha256, read_stream
from codec.video import VideoCodec
from data.io.writer import write_video

ASSETS = Path(__file__).parents[2] / "assets" / "streams"
PUBLISHED = (
    Path(__file__).parents[3] / "docs" / "results" / "corvid_s" / "corvid_s_fixed_blocks.ckpt"
)
OFFSETS = "quality_offsets={intra:9,predicted:[-12,-6,5]}"


@pytest.fixture(scope="module")
def patterned() -> VideoCodec:
    """A small codec with a pattern."""
    return build(OFFSETS, "codec.precision=fp32")


@torch.inference_mode()
@pytest.mark.parametrize("quality, period", [(30, 3), (3, -1), (61, 2)])
def test_a_clip_with_offsets_is_the_same_on_all_paths(
    patterned: VideoCodec,
    tmp_path: Path,
    quality: int,
    period: int,
):
    """Catches a frame that the estimate, the writer and the reader code at different qualities, and
    a pattern that goes on over an intra frame."""
    clip = moving_clip(5, 48, 64)
    written = compress(patterned, clip, FPS, quality, tmp_path / "a.cvd", intra_period=period)
    read = decompress(tmp_path / "a.cvd", patterned)
    assert read.identical and frames_sha256(read.frames) == written.reconstruction_sha256
    frames, index = clip[None].float() / 255, torch.tensor([quality])
    coded = freeze(patterned)(frames, index, hard=True, intra_period=period)
    expected = patterned.quality_pattern.qualities(quality, 5, period)
    assert tuple(coded.quality[0].tolist()) == read.qualities == expected
    assert coded.intra == tuple(t == 0 or (period > 0 and t % period == 0) for t in range(5))
    estimated = coded.total_bits[0] / 8
    for estimate, real in zip(estimated.tolist(), written.frame_bytes, strict=True):
        assert abs(estimate - real) <= 0.01 * real + 12
    pictures = (coded.frames[0].clamp(0, 1) * 255).round().to(torch.uint8)
    assert frames_sha256(pictures) == written.reconstruction_sha256


def test_the_decoder_goes_by_the_stream_alone(patterned: VideoCodec, tmp_path: Path):
    """Catches a decoder that looks into the codec's config, and a choice that the stream lacks."""
    clip, path = moving_clip(4, 48, 64), tmp_path / "a.cvd"
    written = compress(patterned, clip, FPS, 30, path, pattern=QualityPattern(2, (-20, 7)))
    read = decompress(path, patterned)
    assert read.qualities == (32, 10, 37, 10)
    assert read.identical and frames_sha256(read.frames) == written.reconstruction_sha256
    written = compress(patterned, clip, FPS, 30, path, qualities=(39, 50, 24, 0))
    read = decompress(path, patterned)
    assert read.qualities == (39, 50, 24, 0)
    assert read.identical and frames_sha256(read.frames) == written.reconstruction_sha256


def test_own_qualities_reach_each_frame(codec: VideoCodec, tmp_path: Path):
    """Catches qualities that are written and not coded at, bytes for those that follow anyway."""
    clip, path = moving_clip(3, 48, 64), tmp_path / "a.cvd"
    plain = compress(codec, clip, FPS, 30, path).frame_bytes
    content = path.read_bytes()
    same = compress(codec, clip, FPS, 30, path, qualities=[30, 30, 30])
    assert path.read_bytes() == content and same.frame_bytes == plain
    better = compress(codec, clip, FPS, 30, path, qualities=[30, 30, 50]).frame_bytes
    assert better[:2] == plain[:2] and better[2] > 1.3 * plain[2]


@pytest.mark.parametrize(
    "qualities, said",
    [([30], "1 given for 2 frames"), ([30, 64], "64 given"), ([30, 2.0], "2.0 given")],
)
def test_qualities_that_do_not_fit_are_refused(
    codec: VideoCodec,
    tmp_path: Path,
    qualities: list,
    said: str,
):
    """Catches a clip coded for minutes and then not written."""
    with pytest.raises(CodecError, match=said):
        compress(codec, moving_clip(2, 48, 64), FPS, 30, tmp_path / "a.cvd", qualities=qualities)
    assert not list(tmp_path.iterdir())


def test_the_command_line_takes_and_shows_offsets(
    codec: VideoCodec, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Catches an option that goes nowhere, and a stream whose qualities cannot be seen."""
    video = write_video(moving_clip(3, 48, 64), FPS, tmp_path / "clip.mkv")
    file, given = tmp_path / "a.cvd", ["--checkpoint", str(checkpoint), "--quality", "20"]
    main(["compress", str(video), str(file), *given, "--offsets=-4:-3,2"])
    assert [packet.quality for packet in read_stream(file)[1]] == [16, 17, 22]
    main(["info", str(file)])
    assert "qualities     16 to 22\n" in capsys.readouterr().out
    compress(codec, moving_clip(2, 48, 64), FPS, 20, file, qualities=(1, 2))
    main(["info", str(file)])
    assert "qualities     1 to 2\n" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["compress", str(video), str(file), *given, "--offsets=4"])
    assert "quality offsets: '4' given; expected INTRA:PREDICTED" in capsys.readouterr().err


def test_a_stream_of_version_2_is_decoded():
    """Catches published weights that no longer read what they wrote.

    By commit 08e358f: codec = load_codec("docs/results/corvid_s/corvid_s.ckpt"), codec.precision =
    "fp32", compress(codec, moving_clip(5, 32, 48), FPS, 30, path, intra_period=3); decompress gave
    the hash and the PSNR.
    """
    codec = load_codec(PUBLISHED)
    assert model_hash(codec) == "8124244a1655dd14"
    read = decompress(ASSETS / "corvid_s_version_2.cvd", codec)
    assert read.qualities == (30,) * 5
    expected = "21d4e40053d60ba4d1bb10c1f8381324b3d6d69db960815f80443689d4d016e3"
    assert read.identical == (frames_sha256(read.frames) == expected)
    missed = (read.frames.double() - moving_clip(5, 32, 48).double()) / 255
    assert float(-10 * missed.square().mean().log10()) == pytest.approx(35.8652, abs=0.02)
