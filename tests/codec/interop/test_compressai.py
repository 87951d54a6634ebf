from fractions import Fraction
from pathlib import Path

import pytest
import torch
from compressai.models import (
    FactorizedPrior,
    FactorizedPriorReLU,
    MeanScaleHyperprior,
    ScaleHyperprior,
)
from compressai.models.video import ScaleSpaceFlow
from compressai.zoo import ssf2020
from small_codec import FPS, build, composed, moving_clip
from torch import Tensor

from codec.checkpoint import build_codec
from codec.entropy.coding.symbol_coder import RateEstimator, SymbolModel
from codec.errors import CodecError
from codec.interop.compressai import CompressaiImage, load_compressai_ssf, to_compressai_ssf
from codec.layers.quality import QualitySteps
from codec.stream import compress, decompress, frames_sha256
from codec.video import VideoCodec

QUALITY = torch.tensor([20])
CLASSES = {
    "bmshj2018-factorized": FactorizedPrior,
    "bmshj2018-factorized-relu": FactorizedPriorReLU,
    "bmshj2018-hyperprior": ScaleHyperprior,
    "mbt2018-mean": MeanScaleHyperprior,
}
SMALL = ["intra=compressai", "intra.hidden=8", "intra.latent_channels=12"]


class RoundedBits(RateEstimator):
    """Estimates as CompressAI does in evaluation: likelihoods of what was rounded."""

    def code(self, component: str, latent: Tensor | None, model: SymbolModel) -> Tensor:
        rounded = torch.round(latent - model.means)
        self._spend(component, model.bits(rounded))
        return rounded + model.means


@pytest.fixture(scope="module")
def codec() -> VideoCodec:
    """`codec=ssf` as it is."""
    return build_codec(composed("codec=ssf")["codec"]).eval()


def peer(quality: int) -> ScaleSpaceFlow:
    """CompressAI's model with random weights, larger than it starts with: most symbols would be
    zero.
    """
    torch.manual_seed(quality)
    model = ssf2020(quality, pretrained=False).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".weight"):
                parameter.mul_(2.0)
    model.update(force=True, update_quantiles=True)
    return model


@torch.inference_mode()
@torch.backends.mkldnn.flags(
    enabled=False
)  # oneDNN's sums depend on the processor, and a value may lie between two symbols
@pytest.mark.parametrize("quality", range(1, 10))
def test_loaded_weights_code_as_compressai_does(codec: VideoCodec, quality: int):
    """Catches any difference to ssf2020 in a network, a rounding, a distribution or the warping."""
    model = peer(quality)
    load_compressai_ssf(codec, model.state_dict())
    clip = moving_clip(3, 128, 128)[None].float() / 255
    expected = model(list(clip.unbind(1)))
    references = None
    for t in range(3):
        symbol_coder = RoundedBits()
        coded = codec.code_frame(clip[:, t], references, (128, 128), QUALITY, symbol_coder)
        references = coded.references
        assert (
            codec.output(coded.reference, (128, 128)) - expected["x_hat"][t]
        ).abs().max() <= 1e-5
        for kind, likelihoods in expected["likelihoods"][t].items():
            component = {"keyframe": "intra"}.get(kind, kind)
            for ours, theirs in ((component, "y"), (f"{component}.hyper", "z")):
                assert float(symbol_coder.bits[ours]) == pytest.approx(
                    float(-likelihoods[theirs].log2().sum()), rel=1e-4
                )
        assert float(symbol_coder.bits[component]) > 50


def test_our_files_are_as_large_as_compressais(codec: VideoCodec, tmp_path: Path):
    """Catches gains that are not folded as they act, other tables, and bits that only one of both
    writes.
    """
    load_compressai_ssf(codec, peer(1).state_dict())
    with torch.no_grad():
        for module in codec.modules():
            if isinstance(module, QualitySteps):
                module.encoder.start.fill_(0.7).add_(torch.rand_like(module.encoder.start))
                module.decoder.start.copy_(-0.9 * module.encoder.start.mean())
    frames = moving_clip(2, 128, 128)
    written = compress(codec, frames, Fraction(25), 20, tmp_path / "a.cvd")
    model = ScaleSpaceFlow.from_state_dict(to_compressai_ssf(codec, 20)).eval()
    with torch.inference_mode():
        strings, _ = model.compress(list((frames.float() / 255)[:, None].unbind(0)))
        expected = model([frame[None].float() / 255 for frame in frames])["x_hat"][1]
        ours = codec(frames[None].float() / 255, QUALITY, hard=True).frames[:, 1]
    theirs = sum(map(len, _flat(strings)))
    assert abs(written.bytes - theirs) < 0.01 * theirs + 64
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


def _flat(strings: object) -> list[bytes]:
    """All byte strings in nested lists and dictionaries."""
    if isinstance(strings, bytes):
        return [strings]
    return [
        s
        for part in (strings.values() if isinstance(strings, dict) else strings)
        for s in _flat(part)
    ]


def test_saved_by_an_old_version_and_by_parallel_training(codec: VideoCodec):
    """Catches the names that CompressAI's published weights have."""
    model = peer(2)
    renamed = {}
    for name, value in model.state_dict().items():
        for new, old in (("matrices.", "_matrix"), ("biases.", "_bias"), ("factors.", "_factor")):
            name = name.replace(f"entropy_bottleneck.{new}", f"entropy_bottleneck.{old}")
        renamed[f"module.{name}"] = value
    load_compressai_ssf(codec, renamed)
    assert torch.equal(
        codec.motion.entropy.density.matrices[1],
        model.motion_hyperprior.entropy_bottleneck.matrices[1],
    )


def test_what_does_not_fit_is_refused(codec: VideoCodec):
    """Catches half-loaded codecs and errors that leave the user to guess."""
    good = peer(3).state_dict()
    before = codec.residual.analysis[0].weight.clone()
    with pytest.raises(
        CodecError, match=r"names missing \(img_encoder.0.weight, .* unknown \(entropy_bottleneck"
    ):
        load_compressai_ssf(codec, MeanScaleHyperprior(8, 8).state_dict())
    name = "res_hyperprior.hyper_encoder.2.bias"
    with pytest.raises(CodecError, match=rf"{name} is \(7,\), this codec's is \(192,\)"):
        load_compressai_ssf(codec, good | {name: torch.zeros(7)})
    with pytest.raises(CodecError, match=f"{name} holds non-finite values"):
        load_compressai_ssf(codec, good | {name: torch.full((192,), float("nan"))})
    with pytest.raises(CodecError, match="only one supported"):
        load_compressai_ssf(
            codec,
            good | {"img_hyperprior.gaussian_conditional.scale_table": torch.arange(1.0, 65.0)},
        )
    assert torch.equal(before, codec.residual.analysis[0].weight)
    with pytest.raises(CodecError, match="use codec=ssf as it is"):
        load_compressai_ssf(build_codec(composed("width=16")["codec"]), good)
    with pytest.raises(CodecError, match="ssf2020 has"):
        to_compressai_ssf(build_codec(composed("codec=ssf", "residual.width=8")["codec"]), 3)


def saved_peer(model: str, path: Path) -> torch.nn.Module:
    """A small model of CompressAI's with random weights, in evaluation mode and in a file."""
    torch.manual_seed(0)
    peer = CLASSES[model](8, 12).eval()
    with torch.no_grad():
        for name, parameter in peer.named_parameters():
            if name.startswith("g_a") and name.endswith(".weight"):
                parameter.mul_(2.0)
    peer.update(force=True, update_quantiles=True)
    torch.save({"state_dict": peer.state_dict()}, path)
    return peer


@torch.inference_mode()
@pytest.mark.parametrize("model", CLASSES)
@pytest.mark.parametrize("gains", [True, False])
def test_it_codes_as_compressais_model(tmp_path: Path, model: str, gains: bool):
    """Catches colours at the boundary, a hyper-latent of other signs, and gains that are not
    neutral at the start.
    """
    peer = saved_peer(model, tmp_path / "peer.pth")
    coder = CompressaiImage(
        model, 16, 8, 12, str(tmp_path / "peer.pth"), gains=gains, colours="rgb"
    ).eval()
    frame, symbol_coder = moving_clip(1, 64, 128).float() / 255, RoundedBits()
    state, expected = coder(frame, (64, 128), torch.tensor([7]), symbol_coder), peer(frame)
    torch.testing.assert_close(state.frame, expected["x_hat"], atol=1e-5, rtol=0)
    for component, name in (("intra", "y"), ("intra.hyper", "z")):
        if name in expected["likelihoods"]:
            likelihoods = expected["likelihoods"][name]
            assert float(symbol_coder.bits[component]) == pytest.approx(
                float(-likelihoods.log2().sum()), rel=1e-4
            )
    assert state.features.shape == (1, 16, 8, 16)


@pytest.mark.parametrize("model", CLASSES)
def test_a_file_gives_the_encoders_reconstruction(tmp_path: Path, model: str):
    """Catches a coder that reads what it did not write, beside networks of another family and in
    their colours.
    """
    codec, clip = build(*SMALL, f"intra.model={model}"), moving_clip(2, 40, 72)
    written = compress(codec, clip, FPS, 30, tmp_path / "a.cvd")
    assert (
        frames_sha256(decompress(tmp_path / "a.cvd", codec).frames) == written.reconstruction_sha256
    )


def test_a_checkpoint_does_not_need_the_weights_file(tmp_path: Path):
    """Catches a codec that can be rebuilt only where its image model was read from."""
    saved_peer("mbt2018-mean", tmp_path / "peer.pth")
    codec = build(*SMALL, f"intra.weights={tmp_path / 'peer.pth'}")
    assert codec.config["intra"]["weights"] is None


def test_frozen_weights_get_no_gradient():
    """Catches an image model that training moves although it was to stay."""
    coder = CompressaiImage("mbt2018-mean", 16, 8, 12, frozen=True)
    trained = {name.split(".")[0] for name, p in coder.named_parameters() if p.requires_grad}
    assert (
        trained == {"steps", "entropy", "to_features"}
        and not coder.entropy.h_a[0].weight.requires_grad
    )


def test_what_cannot_be_used_is_refused(tmp_path: Path):
    """Catches an error deep inside a network instead of one that says what to give."""
    with pytest.raises(CodecError, match="'cheng2020-anchor' decodes one latent after the other"):
        CompressaiImage("cheng2020-anchor", 16)
    with pytest.raises(CodecError, match="'jpeg' given; choose from bmshj2018-factorized"):
        CompressaiImage("jpeg", 16)
    with pytest.raises(CodecError, match="none.pth: cannot be read"):
        CompressaiImage("mbt2018-mean", 16, weights=str(tmp_path / "none.pth"))
    saved_peer("bmshj2018-hyperprior", tmp_path / "peer.pth")
    with pytest.raises(CodecError, match="is .*, this codec's is"):
        CompressaiImage("mbt2018-mean", 16, 8, 12, weights=str(tmp_path / "peer.pth"))
    with pytest.raises(CodecError, match="bmshj2018-factorized state dict: 0 of .* unknown"):
        CompressaiImage("bmshj2018-factorized", 16, 8, 12, weights=str(tmp_path / "peer.pth"))
