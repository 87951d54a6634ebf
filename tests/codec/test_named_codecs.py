from pathlib import Path

import pytest
import torch
from literature import SMALL_CODECS
from small_codec import FPS, build, composed, moving_clip, small_config

from codec.checkpoint import build_codec
from codec.entropy.coding.symbol_coder import RateEstimator
from codec.errors import CodecError
from codec.layers.frames import COLOURS
from codec.layers.quality import QualitySteps
from codec.losses.rate_distortion import RateDistortionLoss
from codec.references import Reference, References
from codec.stream import compress, decompress, frames_sha256
from codec.video import VideoCodec


def lively(*overrides: str) -> VideoCodec:
    """A small codec whose latents are large enough for symbols other than zero."""
    codec = build(*overrides)
    with torch.no_grad():
        for module in codec.modules():
            if isinstance(module, QualitySteps) and module.encoder is not None:
                module.encoder.start.add_(3.0)
    return codec


@pytest.mark.parametrize("name", SMALL_CODECS)
@pytest.mark.parametrize("height, width", [(64, 64), (72, 40), (150, 98), (16, 16)])
def test_estimate_file_and_decoder_agree(tmp_path: Path, name: str, height: int, width: int):
    """Catches a network that reads what it did not write, and estimates that no file has, whole
    hyper-latents or not.
    """
    codec, clip = lively(*SMALL_CODECS[name]), moving_clip(3, height, width)
    for quality in (0, 63):
        written = compress(codec, clip, FPS, quality, tmp_path / "a.cvd")
        assert (
            frames_sha256(decompress(tmp_path / "a.cvd", codec).frames)
            == written.reconstruction_sha256
        )
        with torch.inference_mode():
            coded = codec(clip[None].float() / 255, torch.tensor([quality]), hard=True)
        estimated = float(coded.total_bits.sum()) / 8
        assert abs(written.bytes - estimated) <= 0.01 * estimated + 64 + 12 * len(clip)
        assert coded.bits["residual"].sum() > 0 and coded.bits["motion"].sum() > 0


@pytest.mark.parametrize("name", SMALL_CODECS)
def test_steps_span_a_rate_range(name: str):
    """Catches gains that quality does not reach: finer steps must cost more."""
    frames = moving_clip(2, 64, 64)[None].float() / 255
    codec = lively(*SMALL_CODECS[name])
    with torch.inference_mode():
        bits = [
            float(codec(frames, torch.tensor([q]), hard=True).bits["residual"].sum())
            for q in (0, 63)
        ]
    assert bits[1] > 1.2 * bits[0]


@pytest.mark.parametrize("name", SMALL_CODECS)
def test_training_reaches_every_weight(name: str):
    """Catches a network that is built and never used, or cut off by a rounding."""
    codec = lively(*SMALL_CODECS[name]).train()
    frames, quality = moving_clip(3, 64, 64)[None].float() / 255, torch.tensor([20])
    RateDistortionLoss(prediction=0.5)(frames, codec(frames, quality), quality).loss.backward()
    assert not [name for name, p in codec.named_parameters() if p.grad is None]


def test_an_untrained_dvc_copies_the_last_frame():
    """Catches random flow or refinement, from which a short training would first have
    to recover.
    """
    torch.manual_seed(0)
    codec = build_codec(composed(*SMALL_CODECS["dvc"])["codec"]).eval()
    with torch.inference_mode():
        coded = codec(moving_clip(3, 64, 64)[None].float() / 255, torch.tensor([30]), hard=True)
    torch.testing.assert_close(coded.frames[:, 2], coded.frames[:, 0])


@pytest.mark.parametrize("name", ["ssf", "dvc"])
def test_the_command_line_changes_a_named_codec(name: str):
    """Catches a named codec whose own choices win over the user's."""
    chosen = composed(
        f"codec={name}",
        "motion=implicit",
        "residual=conditional",
        "entropy=hyperprior",
        "intra=dct_hyperprior",
    )
    default = composed("codec=demo", "motion=implicit")
    assert {part: chosen["codec"][part] for part in ("motion", "residual", "entropy")} == {
        part: default["codec"][part] for part in ("motion", "residual", "entropy")
    }


@pytest.mark.parametrize(
    "overrides",
    [
        ["codec=ssf", "motion=implicit"],
        ["codec=ssf", "motion=fixed_block_matching", "residual=conditional"],
        ["codec=dvc", "residual=conditional", "entropy=hyperprior"],
        ["codec=demo", "motion=scale_space", "residual=pixel", "entropy=factorized"],
        ["codec=demo", "motion=optical_flow", "entropy=ssf"],
    ],
)
def test_networks_mix(tmp_path: Path, overrides: list[str]):
    """Catches a named codec that the command line cannot change, and networks that clip or mistake
    another one's colours.
    """
    codec, clip = build(*overrides), moving_clip(2, 32, 48)
    assert compress(codec, clip, FPS, 30, tmp_path / "a.cvd").bytes > 0
    codec = build_codec(small_config(*overrides)).eval()
    frame = codec.colours.from_rgb(torch.full((1, 3, 32, 48), 0.9))
    references = References(
        frames=(Reference(frame=frame, features=torch.zeros(1, 16, 4, 6)),), time=1
    )
    with torch.inference_mode():
        context = codec.motion(frame, references, torch.tensor([30]), RateEstimator(hard=True))
    assert float(codec.picture(context.prediction, (32, 48)).mean()) == pytest.approx(0.9, abs=0.05)


MOTIONS = (
    "block_matching",
    "fixed_block_matching",
    "implicit",
    "feature_flow",
    "scale_space",
    "optical_flow",
    "none",
)
RESIDUALS = ("conditional", "pixel", "dvc")
ENTROPIES = ("factorized", "hyperprior", "checkerboard", "ssf")
NARROW = {
    "pixel": ["residual.width=8", "residual.latent_channels=16"],
    "dvc": ["residual.width=8", "residual.latent_channels=16"],
    "scale_space": ["motion.width=8", "motion.latent_channels=12"],
    "optical_flow": ["motion.width=8", "motion.latent_channels=12", "motion.refinement=8"],
}


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("entropy", ENTROPIES)
def test_every_pair_of_networks_round_trips(tmp_path: Path, motion: str, entropy: str):
    """Catches networks that only work beside some others; each motion and entropy meets each
    residual network.
    """
    residual = RESIDUALS[(MOTIONS.index(motion) + ENTROPIES.index(entropy)) % len(RESIDUALS)]
    chosen = [
        f"motion={motion}",
        f"residual={residual}",
        f"entropy={entropy}",
        f"entropy@motion_entropy={entropy}",
    ]
    codec = lively("entropy_width=24", *chosen, *NARROW.get(motion, []), *NARROW.get(residual, []))
    clip = moving_clip(4, 34, 50)
    written = compress(codec, clip, FPS, 40, tmp_path / "a.cvd")
    assert (
        frames_sha256(decompress(tmp_path / "a.cvd", codec).frames) == written.reconstruction_sha256
    )


def test_colours_follow_from_the_networks():
    """Catches Corvid's luma and chroma transform fed with RGB, and ssf2020's networks fed with
    anything else.
    """
    assert build(*SMALL_CODECS["ssf"]).colours is COLOURS["rgb"]
    assert build("codec=ssf", "motion=fixed_block_matching").colours is COLOURS["ycc"]
    with pytest.raises(CodecError, match="motion.levels: 6 given"):
        build("codec=ssf", "motion.levels=6")
