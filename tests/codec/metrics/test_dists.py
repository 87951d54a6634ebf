"""DISTS against the authors' own package."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from distorted import clip_and_distorted
from torchvision.models import vgg16

from codec.errors import CodecError
from codec.metrics import Dists, load_dists
from codec.metrics.backbones import find_weights


@pytest.fixture(scope="module")
def ours() -> Dists:
    return load_dists()


def test_values_are_those_of_the_package(ours: Dists, monkeypatch: pytest.MonkeyPatch):
    """Catches a pooling by maximum, a missing normalisation, weights on the wrong layers, and
    images mixed in a batch.

    The package's own class, with the same backbone (it would download one) and its own weights.
    """
    from DISTS_pytorch import DISTS_pt

    network = vgg16(weights=None)
    weights, _ = find_weights("vgg")
    network.features.load_state_dict(weights)
    monkeypatch.setattr(DISTS_pt, "models", SimpleNamespace(vgg16=lambda pretrained: network))
    package = DISTS_pt.DISTS(load_weights=False)
    mixture = torch.load(Path(DISTS_pt.__file__).parent / "weights.pt", weights_only=True)
    package.alpha.data, package.beta.data = mixture["alpha"], mixture["beta"]
    first, second = (clip / 255 for clip in clip_and_distorted(2, 75, 50))
    theirs = package(first, second)
    assert theirs.min() > 0.05
    torch.testing.assert_close(ours(first, second), theirs, atol=2e-5, rtol=0)


def test_equal_images_have_no_distance(ours: Dists):
    """Catches digits that cancel in the covariance: a distance of 1e-6 for equal frames would have
    a place on the axis.
    """
    image = torch.rand(1, 3, 40, 40)
    assert ours(image, image).tolist() == [0]
    grey = torch.full((1, 3, 32, 32), 0.5)
    assert ours(grey, grey).tolist() == [0]


def test_refused_inputs(ours: Dists):
    """Catches uint8 frames scored as if they were in 0..1, shapes that would broadcast, and frames
    that are too small.
    """
    image = torch.rand(1, 3, 32, 32)
    assert torch.isfinite(ours(image, image.flip(-1))).all()
    with pytest.raises(CodecError, match="divide uint8"):
        ours(image, (255 * image).to(torch.uint8))
    with pytest.raises(CodecError, match="one shape"):
        ours(image, image.repeat(2, 1, 1, 1))
    with pytest.raises(CodecError, match="32 pixels or more"):
        ours(image[..., :31], image[..., :31])


def test_without_the_package_the_error_says_the_remedy(monkeypatch: pytest.MonkeyPatch):
    """Catches an AttributeError on None in place of what to install."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "DISTS_pytorch" else found(name)
    )
    with pytest.raises(CodecError, match="pip install --no-deps DISTS_pytorch"):
        load_dists()


def test_the_origin_names_package_and_backbone(ours: Dists):
    """Catches conditions from which nobody can tell which weights were used."""
    assert ours.origin.startswith("DISTS_pytorch 0.1, ") and "sha256" in ours.origin
