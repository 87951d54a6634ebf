"""Optical flow from coarse to fine, coded, and a network that refines what it moves: the motion of
DVC.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.base import EntropyNetwork, check_channels
from codec.errors import CodecError
from codec.layers.compressai import STRIDE, analysis_transform, synthesis_transform
from codec.layers.quality import QualitySteps
from codec.layers.warping import warp
from codec.motion.base import MotionNetwork
from codec.references import Context, References

_WIDTHS = (32, 64, 32, 16)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut, `(B, C, H, W)` in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class MotionCompensation(nn.Module):
    """What to add to a warped reference: a small U-net over three sizes; zero at the start.

    Args:
        width: channels.

    Source: Lu et al., *DVC*, CVPR 2019, fig. 4 and the supplement.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3 + 3 + 2, width, 3, padding=1)
        self.down = nn.ModuleList(ResidualBlock(width) for _ in range(3))
        self.up = nn.ModuleList(ResidualBlock(width) for _ in range(3))
        self.last = nn.Conv2d(width, 3, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        if self.last.bias is not None:
            nn.init.zeros_(self.last.bias)

    def forward(self, warped: Tensor, reference: Tensor, flow: Tensor) -> Tensor:
        """`(B, 3, H, W)` twice and `(B, 2, H, W)` in pixels, sides multiples of 4 -> `(B, 3, H,
        W)`.
        """
        sizes = [self.down[0](self.first(torch.cat([warped, reference, flow], 1)))]
        for block in self.down[1:]:
            sizes.append(block(F.avg_pool2d(sizes[-1], 2)))
        x = self.up[0](sizes.pop())
        for block in self.up[1:]:
            x = block(sizes.pop() + F.interpolate(x, scale_factor=2, mode="nearest"))
        return self.last(x)


class OpticalFlowMotion(MotionNetwork):
    """Flow found by a pyramid network, coded by its own transform; the warped reference is refined.

    Untrained it predicts the last frame: flow, coded flow and refinement start at zero.

    Args:
        entropy: network for the motion latent.
        latent_channels: of the motion latent, at 1/16.
        width: channels of the networks that code the flow.
        refinement: channels of the motion compensation network.
        levels: of the pyramid.
        gains: quantisation steps learned per quality; False is one rate.

    Raises:
        CodecError: the entropy network is made for another number of channels than
            `latent_channels`, or levels not in 1..5.

    Source: Lu et al., *DVC: an end-to-end deep video compression framework*, CVPR 2019.
    """

    def __init__(
        self,
        entropy: EntropyNetwork,
        latent_channels: int = 128,
        width: int = 128,
        refinement: int = 64,
        levels: int = 4,
        gains: bool = True,
    ) -> None:
        super().__init__()
        check_channels("motion_entropy", entropy, latent_channels)
        if not 1 <= levels <= 5:
            raise CodecError(
                f"motion.levels: {levels} given; expected 1 to 5, as frames are padded to "
                "multiples of 16"
            )
        self.entropy = entropy
        self.flow = PyramidFlow(levels)
        self.analysis = analysis_transform(2, width, latent_channels, "gdn")
        self.synthesis = synthesis_transform(latent_channels, width, 2, "gdn", zero=True)
        self.steps = QualitySteps(latent_channels, coarsest=3.0, finest=0.3, gains=gains)
        self.compensation = MotionCompensation(refinement)

    def forward(
        self, frame: Tensor | None, references: References, quality: Tensor, coder: SymbolCoder
    ) -> Context:
        reference, latent, estimate = references.newest, None, None
        if coder.encodes:
            flow = self.flow(frame, reference.frame)
            latent = self.steps.divide(self.analysis(flow), quality)
            if coder.estimates:
                estimate = warp(reference.frame, flow.float())
        size = (reference.frame.shape[-2] // STRIDE, reference.frame.shape[-1] // STRIDE)
        prior = {"previous": reference.motion, "previous_quality": reference.quality}
        sent = self.entropy.code("motion", latent, size, quality, coder, **prior)
        prediction = self.predict(sent, reference.frame, quality)
        return Context(
            prediction=prediction, features=reference.features, motion=sent, warped_uncoded=estimate
        )

    def predict(self, latent: Tensor, reference: Tensor, quality: Tensor) -> Tensor:
        """`reference` `(B, 3, H, W)` moved as the transmitted latent says, and refined."""
        flow = self.synthesis(self.steps.multiply(latent, quality)).float()
        warped = warp(reference, flow)
        return warped + self.compensation(warped, reference, flow).float()


class PyramidFlow(nn.Module):
    """Where each pixel of one frame comes from in another; zero at the start.

    Each level of a pyramid warps by what the coarser one found, and adds to it.

    Args:
        levels: sizes, each half of the next.

    Source: Ranjan and Black, *Optical flow estimation using a spatial pyramid network*, CVPR 2017,
    as DVC uses it.
    """

    def __init__(self, levels: int = 4) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_level() for _ in range(levels))

    def forward(self, frame: Tensor, reference: Tensor) -> Tensor:
        """`frame`, `reference` `(B, 3, H, W)`, sides multiples of `2 ** (levels - 1)` -> `(B, 2, H,
        W)` float32 in pixels.
        """
        pyramid = [(frame, reference)]
        for _ in self.levels[1:]:
            larger, other = pyramid[-1]
            pyramid.append((F.avg_pool2d(larger, 2), F.avg_pool2d(other, 2)))
        small = pyramid[-1][0]
        flow = torch.zeros(len(small), 2, *small.shape[-2:], device=small.device)
        for network, (current, other) in zip(self.levels, reversed(pyramid), strict=True):
            if current.shape[-1] != flow.shape[-1]:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False)
            flow = flow + network(torch.cat([current, warp(other, flow), flow], 1)).float()
        return flow


def _level() -> nn.Sequential:
    """Both frames, the second one warped, and the flow so far -> what to add to it."""
    layers, inputs = [], 3 + 3 + 2
    for width in _WIDTHS:
        layers += [nn.Conv2d(inputs, width, 7, padding=3), nn.ReLU(inplace=True)]
        inputs = width
    last = nn.Conv2d(inputs, 2, 7, padding=3)
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    return nn.Sequential(*layers, last)
