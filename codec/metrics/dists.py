"""Deep image structure and texture similarity, as a metric."""

import importlib.metadata
import importlib.util
import pickle
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.errors import CodecError
from codec.metrics.backbones import BACKBONES, Weights, find_weights
from codec.metrics.lpips import learned_rule
from codec.metrics.spec import MetricSpec

SMALLEST_SIDE = 32
CHANNELS = (3, 64, 128, 256, 512, 512)
POOLED_BEFORE = (5, 10, 17, 24)
EPSILON = 1e-6
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
PACKAGE = "DISTS_pytorch"


def load_dists(backbone: str | Path | None = None) -> "Dists":
    """DISTS with the weights of the `DISTS_pytorch` package, frozen.

    The package itself is not imported: it would download its backbone and look for its weights
        beside the interpreter.

    Args:
        backbone: file or folder with torchvision's VGG16; otherwise see `find_weights`.

    Raises:
        CodecError: the package's weights or the backbone cannot be found (it says the remedy).
    """
    weights, origin = find_weights("vgg", backbone)
    alpha, beta, version = read_mixture()
    return Dists(weights, alpha, beta, f"{PACKAGE} {version}, {origin}")


def read_mixture() -> tuple[Tensor, Tensor, str]:
    """The weights of texture and of structure by channel of the six layers, `(1475,)` each, and the
    package's version.
    """
    spec = importlib.util.find_spec(PACKAGE)
    path = (
        Path(spec.submodule_search_locations[0]) / "weights.pt"
        if spec and spec.submodule_search_locations
        else None
    )
    if path is None or not path.is_file():
        raise CodecError(f"dists: no weights; `pip install --no-deps {PACKAGE}`, which ships them")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        alpha, beta = (state[name].float().reshape(sum(CHANNELS)) for name in ("alpha", "beta"))
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, AttributeError) as error:
        raise CodecError(
            f"{path}: not the weights {PACKAGE} 0.1 ships ({error}); reinstall {PACKAGE}"
        ) from error
    return alpha, beta, importlib.metadata.version(PACKAGE)


class Dists(nn.Module):
    """The distance of two batches of images; `origin` says where its weights came from.

    Source: Ding et al., *Image Quality Assessment: Unifying Structure and Texture Similarity*,
    2020.
    """

    alpha: Tensor
    beta: Tensor
    mean: Tensor
    deviation: Tensor
    window: Tensor

    def __init__(self, weights: Weights, alpha: Tensor, beta: Tensor, origin: str) -> None:
        super().__init__()
        self.origin = origin
        for index in BACKBONES["vgg"].layers:
            self.register_buffer(f"weight_{index}", weights[f"{index}.weight"])
            self.register_buffer(f"bias_{index}", weights[f"{index}.bias"])
        whole = alpha.sum() + beta.sum()
        self.register_buffer("alpha", alpha / whole)
        self.register_buffer("beta", beta / whole)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1))
        row = torch.from_numpy(np.hanning(5)[1:-1]).float()
        self.register_buffer("window", row[:, None] * row / row.sum() ** 2)

    @torch.inference_mode()
    def forward(self, reference: Tensor, decoded: Tensor) -> Tensor:
        """Distances of images.

        Args:
            reference: `(B, 3, H, W)` float RGB in [0, 1].
            decoded: the same shape.

        Returns:
            `(B,)` float32, 0 for equal images, about 1 at most.

        Raises:
            CodecError: shapes differ, a type is not float, or a side is below 32 (the deepest
                features of smaller images are one sample, which has no variance).
        """
        both = (
            f"reference {reference.dtype} {tuple(reference.shape)}, decoded {decoded.dtype} "
            f"{tuple(decoded.shape)}"
        )
        if reference.shape != decoded.shape or reference.dim() != 4 or reference.shape[1] != 3:
            raise CodecError(f"dists: {both}; give two (B, 3, H, W) of one shape")
        if not (reference.is_floating_point() and decoded.is_floating_point()):
            raise CodecError(f"dists: {both}; give floats in [0, 1] (divide uint8 by 255)")
        if min(reference.shape[-2:]) < SMALLEST_SIDE:
            raise CodecError(f"dists: {both}; both sides need {SMALLEST_SIDE} pixels or more")
        pairs = zip(self.features(reference), self.features(decoded), strict=True)
        terms = [unlike(a, b) for a, b in pairs]
        texture, structure = (torch.cat(kind, dim=1) for kind in zip(*terms, strict=True))
        return texture @ self.alpha + structure @ self.beta

    def features(self, images: Tensor) -> list[Tensor]:
        """The image and the last activation at each of the five scales of VGG16, pooled by L2 in
        place of the maximum.
        """
        found = [images.float()]
        layer = (found[0] - self.mean) / self.deviation
        for index in BACKBONES["vgg"].layers:
            if index in POOLED_BEFORE:
                found.append(layer)
                layer = self.pool(layer)
            layer = F.relu(
                F.conv2d(
                    layer,
                    self.get_buffer(f"weight_{index}"),
                    self.get_buffer(f"bias_{index}"),
                    padding=1,
                )
            )
        return [*found, layer]

    def pool(self, layer: Tensor) -> Tensor:
        """The root of the windowed mean square of every second sample."""
        channels = layer.shape[1]
        window = self.window.expand(channels, 1, 3, 3)
        return (
            F.conv2d(layer.square(), window, stride=2, padding=1, groups=channels) + 1e-12
        ).sqrt()


def unlike(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """How far two features differ in mean (texture) and in correlation (structure), `(B, C)` each,
    0 for equal ones.

    The covariance is that of the centred features: equal ones have exactly their variance, and no
        digits cancel.
    """
    means = [features.mean(dim=(2, 3), keepdim=True) for features in (first, second)]
    a, b = first - means[0], second - means[1]
    m, n = (mean.flatten(1) for mean in means)
    covariance = (a * b).mean(dim=(2, 3))
    variances = a.square().mean(dim=(2, 3)) + b.square().mean(dim=(2, 3))
    texture = 1 - (2 * m * n + EPSILON) / (m.square() + n.square() + EPSILON)
    return texture, 1 - (2 * covariance + EPSILON) / (variances + EPSILON)


DISTS = MetricSpec(
    "DISTS",
    lambda pair: pair.distances(pair.networks[load_dists]),
    best=0,
    tuning="default",
    description=learned_rule("DISTS"),
    smallest_side=SMALLEST_SIDE,
    takes="pair",
    load=load_dists,
    sampled=True,
)
