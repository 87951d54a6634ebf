from fractions import Fraction
from pathlib import Path

import pytest
import torch
from compressai.models import MeanScaleHyperprior
from compressai.models.video import ScaleSpaceFlow
from compressai.zoo import ssf2020
from small_codec import composed, moving_clip
from torch import Tensor

from codec.checkpoint import build_codec
from codec.entropy.coding.symbol_coder import RateEstimator, SymbolModel
from codec.errors import CodecError
from codec.layers.steps import QualitySteps
from codec.peers import load_compressai_ssf, to_compressai_ssf
from codec.stream import compress
from codec.video import VideoCodec

QUALITY = torch.tensor([20])


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
