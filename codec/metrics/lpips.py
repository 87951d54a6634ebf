"""Learned perceptual image patch similarity, as a metric and as a training loss."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import lpips
import torch
from torch import Tensor, nn

from codec.errors import CodecError
from codec.metrics.backbones import find_weights
from codec.metrics.fidelity import check_pair
from codec.metrics.spec import ClipPair, MetricSpec

MINIMUM_SIZE = {"alex": 31, "vgg": 16}
EPSILON = 1e-8


def load_lpips(net: str = "alex", backbone: str | Path | None = None) -> "Lpips":
    """LPIPS 0.1 with the heads of the `lpips` package, frozen and in evaluation mode.

    Args:
        net: `"alex"` (the usual metric) or `"vgg"` (the usual loss).
        backbone: file or folder with torchvision's weights; otherwise see `find_weights`.

    Raises:
        CodecError: an unknown net, or no backbone weights (it says the three remedies).
    """
    if net not in MINIMUM_SIZE:
        raise CodecError(f"lpips: net is {net!r}; choose from {', '.join(sorted(MINIMUM_SIZE))}")
    weights, origin = find_weights(net, backbone)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    state = {name: weights[name.split(".", 1)[1]] for name in model.net.state_dict()}
    model.net.load_state_dict(state)
    return Lpips(model, net, origin)


class Lpips(nn.Module):
    """The distance of two batches of images.

    `origin` says where the backbone came from. Parameters are frozen, gradients reach the images;
    `train()` changes nothing, so a loss that holds it stays without dropout.

    Source: Zhang et al., *The Unreasonable Effectiveness of Deep Features as a Perceptual Metric*,
    2018, eq. 1.
    """

    def __init__(self, model: lpips.LPIPS, net: str, origin: str) -> None:
        super().__init__()
        self.net = net
        self.origin = origin
        self.scaling = model.scaling_layer
        self.backbone = model.net
        self.heads = model.lins
        self.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> "Lpips":
        return self

    def forward(self, reference: Tensor, decoded: Tensor) -> Tensor:
        """Distances of images.

        Args:
            reference: `(B, 3, H, W)` float RGB in [0, 1]; the scaling to [-1, 1] happens here.
            decoded: the same shape.

        Returns:
            `(B,)` float32, 0 for equal images.

        Raises:
            CodecError: shapes differ, a type is not float, or the images are smaller than the net
                can see (31 x 31 for alex, 16 x 16 for vgg).
        """
        self.check(reference, decoded)
        return self.distance(self.features(reference), self.features(decoded))

    def distance(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
        """The distances `(B,)` of images whose features are known."""
        layers = zip(first, second, self.heads, strict=True)
        terms = [head(difference(a, b)).mean(dim=(1, 2, 3)) for a, b, head in layers]
        return torch.stack(terms).sum(dim=0)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """The five layers of the backbone, `(B, C, h, w)` each."""
        return self.backbone(self.scaling(2 * images.float() - 1))

    def check(self, reference: Tensor, decoded: Tensor) -> None:
        """Refuse what LPIPS cannot compare."""
        both = (
            f"reference {reference.dtype} {tuple(reference.shape)}, decoded {decoded.dtype} "
            f"{tuple(decoded.shape)}"
        )
        if reference.shape != decoded.shape or reference.dim() != 4 or reference.shape[1] != 3:
            raise CodecError(f"lpips: {both}; give two (B, 3, H, W) of one shape")
        if not (reference.is_floating_point() and decoded.is_floating_point()):
            raise CodecError(f"lpips: {both}; give floats in [0, 1] (divide uint8 by 255)")
        if min(reference.shape[-2:]) < MINIMUM_SIZE[self.net]:
            raise CodecError(
                f"lpips: {both}; {self.net} needs at least {MINIMUM_SIZE[self.net]} pixels a side"
            )


def difference(first: Tensor, second: Tensor) -> Tensor:
    """Squared difference of features of unit length, `(B, C, h, w)` in float32."""
    return (normalise(first.float()) - normalise(second.float())).square()


def normalise(features: Tensor) -> Tensor:
    """Scale to unit length along channels; epsilon inside the root (lpips 0.1.4: outside): finite
    gradients at 0.
    """
    return features * torch.rsqrt(features.square().sum(dim=1, keepdim=True) + EPSILON)


@torch.inference_mode()
def lpips_in_time(net: Lpips, reference: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor]:
    """LPIPS of every frame, and temporal LPIPS of every frame but the first: features are computed
        once for both.

    Temporal LPIPS is `|LPIPS(x_t, x_{t-1}) - LPIPS(y_t, y_{t-1})|`: how much more or less the
    decoded clip changes than the source does.

    Args:
        net: on its device.
        reference: x, `(T, 3, H, W)` uint8, consecutive frames.
        decoded: y, the same.

    Returns:
        `(T,)` and `(T - 1,)` float64 on the CPU.

    Raises:
        CodecError: the two differ in shape or are not uint8, or the frames are smaller than the net
            can see.

    Source: Chu et al., *Learning Temporal Coherence via Self-Supervision for GAN-based Video
    Generation*, 2020: tLP.
    """
    check_pair(reference, decoded, "lpips")
    spatial, temporal, before = [], [], None
    for first, second in zip(reference.split(1), decoded.split(1), strict=True):
        images = [frame.to(net.device) / 255 for frame in (first, second)]
        net.check(*images)
        x, y = map(net.features, images)
        spatial.append(net.distance(x, y).item())
        if before is not None:
            temporal.append(
                abs(net.distance(before[0], x).item() - net.distance(before[1], y).item())
            )
        before = x, y
    return torch.tensor(spatial, dtype=torch.float64), torch.tensor(temporal, dtype=torch.float64)


def load_alex() -> Lpips:
    """LPIPS over AlexNet."""
    return load_lpips("alex")


def load_vgg() -> Lpips:
    """LPIPS over VGG16."""
    return load_lpips("vgg")


def alex_distances(pair: ClipPair) -> Sequence[float]:
    """LPIPS over AlexNet of every n-th frame; with temporal LPIPS, whose features it shares, where
    that is asked for, too.
    """
    if "temporal_lpips" in pair.metrics:
        return sampled_in_time(pair)[0]
    return pair.distances(pair.networks[load_alex])


def sampled_in_time(pair: ClipPair) -> tuple[list[float], list[float]]:
    """LPIPS of every n-th frame, and temporal LPIPS of all of these but the first."""
    net: Lpips = pair.networks[load_alex]

    def compute() -> tuple[list[float], list[float]]:
        if pair.every == 1:
            spatial, temporal = lpips_in_time(net, pair.reference, pair.decoded)
            return spatial.tolist(), temporal.tolist()
        starts = range(0, len(pair.reference), pair.every)
        runs = [slice(max(t - 1, 0), t + 1) for t in starts]
        both = [lpips_in_time(net, pair.reference[run], pair.decoded[run]) for run in runs]
        return [x[-1].item() for x, _ in both], [change.item() for _, change in both[1:]]

    return pair.shared("lpips_in_time", compute)


def learned_rule(what: str) -> Callable[[int, nn.Module], str]:
    """Says how a learned metric is computed: of which frames, with which backbone."""

    def rule(every: int, net: nn.Module) -> str:
        taken = "mean over frames" + f" 0, {every}, {2 * every}, …" * (every > 1)
        return f"{what}, {taken}, backbone: {net.origin}"

    return rule


LPIPS_ALEX = MetricSpec(
    "LPIPS AlexNet",
    alex_distances,
    best=0,
    tuning="default",
    description=learned_rule("LPIPS 0.1"),
    smallest_side=MINIMUM_SIZE["alex"],
    takes="pair",
    load=load_alex,
    sampled=True,
)
LPIPS_VGG = MetricSpec(
    "LPIPS VGG",
    lambda pair: pair.distances(pair.networks[load_vgg]),
    best=0,
    tuning="default",
    description=learned_rule("LPIPS 0.1"),
    smallest_side=MINIMUM_SIZE["vgg"],
    takes="pair",
    load=load_vgg,
    sampled=True,
)
TEMPORAL_LPIPS = MetricSpec(
    "Temporal LPIPS",
    lambda pair: sampled_in_time(pair)[1],
    best=0,
    tuning="default",
    description=learned_rule("|LPIPS(x_t, x_t-1) - LPIPS(y_t, y_t-1)| of LPIPS 0.1"),
    smallest_side=MINIMUM_SIZE["alex"],
    takes="pair",
    load=load_alex,
    sampled=True,
    temporal=True,
)
