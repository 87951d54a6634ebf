from pathlib import Path

import pytest
import torch
from fake_cuda import fake_cuda
from small_codec import FPS, build, moving_clip, small_config

from codec.checkpoint import build_codec
from codec.entropy.coding.symbol_coder import RateEstimator
from codec.entropy.models.integer_layers import set_rounding
from codec.errors import CodecError
from codec.freeze import freeze
from codec.layers.quality import computed_once
from codec.losses.rate_distortion import RateDistortionLoss
from codec.motion.block_matching import BlockMatching
from codec.quality import check_quality
from codec.stream import compress, decompress, frames_sha256
from codec.video import VideoCodec

SIZES = [
    (143, 175, 3),
    (64, 48, 1),
    (48, 64, 2),
    (96, 72, 2),
    (128, 72, 3),
    (16, 16, 2),
    (17, 33, 2),
]


@pytest.mark.parametrize("height, width, frames", SIZES)
def test_a_file_gives_the_encoders_reconstruction(
    codec: VideoCodec, tmp_path: Path, height: int, width: int, frames: int
):
    """Catches any step in which the reading side differs from the writing side, for odd, portrait
    and smallest sizes.
    """
    clip = moving_clip(frames, height, width)
    written = compress(codec, clip, FPS, 30, tmp_path / "a.cvd")
    read = decompress(tmp_path / "a.cvd", codec)
    assert read.frames.shape == clip.shape
    assert frames_sha256(read.frames) == written.reconstruction_sha256
    assert (read.header.fps, read.qualities) == (FPS, (30,) * frames)


NARROW = ["width=16", "entropy_width=24"]
CONDITIONAL = [
    "intra=dct_hyperprior",
    "residual=conditional",
    "entropy=checkerboard",
    "entropy@intra_entropy=checkerboard",
]
NETWORKS = {
    "corvid_s": ["codec=corvid_s", *NARROW],
    "corvid_m": ["codec=corvid_m", *NARROW],
    "corvid_l": ["codec=corvid_l", *NARROW],
    "implicit": ["motion=implicit"],
    "none": ["motion=none"],
    "fixed_block_matching": ["motion=fixed_block_matching"],
    "four references": ["references=4"],
    "quality by position": ["quality_offsets={intra: 5, predicted: [-9, 3]}"],
    "feature_flow": ["motion=feature_flow"],
    "conditional": ["intra=conditional"],
    "directional": ["intra=directional"],
    "conditional intra and residual": ["codec=corvid_s", *NARROW, *CONDITIONAL],
    "checkerboard": ["entropy=checkerboard"],
    "factorized": [
        "entropy=factorized",
        "entropy@motion_entropy=factorized",
        "entropy@intra_entropy=factorized",
    ],
}


@pytest.mark.parametrize("choice", NETWORKS)
@pytest.mark.parametrize(
    "height, width, period", [(80, 112, -1), (80, 112, 1), (33, 49, 2), (64, 16, -1)]
)
def test_every_codec_passes_all_channels(
    tmp_path: Path, choice: str, height: int, width: int, period: int
):
    """Catches a network that sends what it does not receive, and estimated bits or frames that no
    file gives.
    """
    codec = build(*NETWORKS[choice])
    clip = moving_clip(4, height, width)
    for quality in (0, 63):
        written = compress(codec, clip, FPS, quality, tmp_path / "a.cvd", intra_period=period)
        assert (
            frames_sha256(decompress(tmp_path / "a.cvd", codec).frames)
            == written.reconstruction_sha256
        )
        with torch.inference_mode():
            coded = freeze(codec)(
                clip[None].float() / 255, torch.tensor([quality]), hard=True, intra_period=period
            )
        estimated = float(coded.total_bits.sum()) / 8
        assert abs(written.bytes - estimated) <= 0.01 * estimated + 64 + 12 * len(clip)
        estimate = (coded.frames[0].clamp(0, 1) * 255).round().to(torch.uint8)
        assert frames_sha256(estimate) == written.reconstruction_sha256


def test_quality_is_per_sample(codec: VideoCodec):
    """Catches one quality for the whole batch: each sample codes as it would alone."""
    clip = moving_clip(2, 64, 64)[None].float() / 255
    with torch.inference_mode():
        both = codec(clip.repeat(2, 1, 1, 1, 1), torch.tensor([5, 60]), hard=True)
        alone = codec(clip, torch.tensor([60]), hard=True)
    torch.testing.assert_close(both.frames[1], alone.frames[0], atol=1e-3, rtol=0)
    assert both.bpp[1].sum() > 2 * both.bpp[0].sum()


def test_bits_are_reported_by_component_and_frame(codec: VideoCodec):
    """Catches intra bits in predicted frames or the reverse, and bits that do not add up."""
    with torch.inference_mode():
        coded = codec(moving_clip(3, 64, 64)[None].float() / 255, torch.tensor([40]), hard=True)
    networks = {f"{c}{h}" for c in ("intra", "residual") for h in ("", ".hyper")}
    assert set(coded.bits) == networks | {f"motion.{kind}" for kind in ("split", "mode", "vector")}
    assert coded.bits["intra"][0, 1:].sum() == 0 and coded.bits["residual"][0, 0] == 0
    assert coded.bits["intra"][0, 0] > 0 and (coded.bits["residual"][0, 1:] > 0).all()


@pytest.mark.parametrize("choice", ["demo", *NETWORKS])
def test_a_training_step_reaches_every_parameter(choice: str):
    """Catches a network that is built and never used, or cut off by a rounding."""
    codec = build(*NETWORKS.get(choice, [])).train()
    if isinstance(codec.motion, BlockMatching):
        codec.motion.random_share = 1.0  # blocks of all sizes
    frames, quality = moving_clip(3, 128, 128)[None].float() / 255, torch.tensor([20])
    frames[:, 2] = frames[:, 2].roll((20, 30), (2, 3))  # what no reference shows
    optimizer = torch.optim.AdamW(codec.parameters(), 1e-4)
    RateDistortionLoss()(frames, codec(frames, quality), quality).loss.backward()
    assert not [name for name, p in codec.named_parameters() if p.grad is None]
    optimizer.step()
    assert all(torch.isfinite(p).all() for p in codec.parameters())


@pytest.mark.parametrize("choice", ["demo", "corvid_s"])
def test_rate_rises_and_distortion_falls_over_quality(choice: str):
    """Catches a quality that does not reach the gains of some network; over 7 dB
    already untrained.
    """
    codec = build_codec(small_config(*NETWORKS.get(choice, []), "quality_offsets=null")).eval()
    frames = moving_clip(3, 64, 96)[None].float() / 255
    with torch.inference_mode():
        coded = [codec(frames, torch.tensor([q]), hard=True) for q in range(0, 64, 9)]
    rates = [float(clip.bpp.mean()) for clip in coded]
    decibels = [float(-10 * (clip.frames - frames).square().mean().log10()) for clip in coded]
    assert (
        rates == sorted(rates) and decibels == sorted(decibels) and decibels[-1] > decibels[0] + 7
    )


def test_small_frames_and_wrong_shapes_are_refused(codec: VideoCodec, tmp_path: Path):
    """Catches bad input that fails deep inside a network."""
    with pytest.raises(CodecError, match="8×8 given"):
        compress(codec, moving_clip(1, 8, 8), FPS, 30, tmp_path / "a.cvd")
    with pytest.raises(CodecError, match="uint8"):
        compress(codec, torch.zeros(1, 3, 32, 32), FPS, 30, tmp_path / "a.cvd")
    with pytest.raises(CodecError, match="expected"):
        codec(torch.zeros(2, 2, 3, 32, 32), torch.tensor([3]))
    with pytest.raises(CodecError, match=r"T at least 1, .* \(1, 0, 3, 32, 32\)"):
        codec(torch.zeros(1, 0, 3, 32, 32), torch.tensor([3]))
    with pytest.raises(CodecError, match=r"quality: \[3, 64\] given"):
        codec(torch.zeros(2, 1, 3, 32, 32), torch.tensor([3, 64]))
    with pytest.raises(CodecError, match="intra_period: 0 given"):
        compress(codec, moving_clip(1, 32, 32), FPS, 30, tmp_path / "a.cvd", intra_period=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "override, said",
    [
        ("entropy.channels=100", "entropy.channels: 100 given, but the latent has 384"),
        ("intra_entropy.channels=7", "intra_entropy.channels: 7 given"),
        ("motion=fixed_block_matching motion.block=12", "motion.block: 12 given; choose from"),
        ("references=5", "references: 5 given; expected 1 to 4"),
        ("motion.features=8", "motion.features: 8, residual.features: 16; make them equal"),
        ("residual.transform.block=32", "residual.transform.block: 32 given; expected 16"),
        ("residual.transform.start=dtc", "start: 'dtc' given"),
        ("codec.colours=rgb", "networks are made for ycc"),
        ("codec.colours=yuv", "'yuv' given; choose from ycc, rgb"),
    ],
)
def test_networks_that_do_not_fit_are_refused(override: str, said: str):
    """Catches a codec that is built and fails in its first step, with an error that names no
    setting.
    """
    with pytest.raises(CodecError, match=said):
        build(*override.split())


@pytest.mark.parametrize("quality", [-1, 64, 2.5, True])
def test_quality_outside_its_range_is_refused(quality: object):
    """Catches lambda and quality mixed up (CompressAI #282)."""
    with pytest.raises(CodecError, match="from 0 .* to 63"):
        check_quality(quality)


def test_training_never_waits_for_the_gpu():
    """Catches a value on the GPU that the CPU asks for: each costs the whole queue of kernels."""
    with fake_cuda():
        codec = build_codec(small_config("entropy=checkerboard")).train()
        set_rounding(codec, True)
        quality = torch.tensor([3, 40], dtype=torch.int64, device="cuda")
        coded = codec(torch.zeros(2, 2, 3, 48, 64), quality)
        made = [coded.frames, coded.predictions, coded.bpp]
    assert {value.device.type for value in made} == {"cuda"}


def test_training_codes_frames_where_they_are():
    """Catches CPU kernels that are given what is on a GPU, and what is kept on another device."""
    size = 48, 64
    with fake_cuda():
        codec = build_codec(small_config("entropy=checkerboard")).train()
        set_rounding(codec, True)
        frames, quality = torch.zeros(2, 3, *size), torch.zeros(2, dtype=torch.int64)
        symbol_coder, references = RateEstimator(), None
        with computed_once(codec):
            for _ in range(3):
                coded = codec.code_frame(frames, references, size, quality, symbol_coder)
                references = coded.references
        made = [codec.output(coded.reference, size), *symbol_coder.take_bits().values()]
    assert {value.device.type for value in made} == {"cuda"}
    assert all(value.requires_grad for value in made)
