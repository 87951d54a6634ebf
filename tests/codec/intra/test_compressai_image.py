from pathlib import Path

import pytest
import torch
from compressai.models import (
    FactorizedPrior,
    FactorizedPriorReLU,
    MeanScaleHyperprior,
    ScaleHyperprior,
)
from small_codec import FPS, build, moving_clip
from torch import Tensor

from codec.entropy.coding.symbol_coder import RateEstimator, SymbolModel
from codec.errors import CodecError
from codec.intra.compressai_image import CompressaiImage
from codec.stream import compress, decompress, frames_sha256

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
