"""Scale-space flow: coded displacements that also say how blurred the reference is wanted."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.base import EntropyNetwork, check_channels
from codec.errors import CodecError
from codec.layers.compressai import (
    STRIDE,
    analysis_transform,
    gaussian_kernel1d,
    synthesis_transform,
)
from codec.layers.quality import QualitySteps
from codec.motion.base import MotionNetwork
from codec.references import Context, References


class ScaleSpaceMotion(MotionNetwork):
    """A network sees both frames and says in a latent where, and how sharp, the reference is to be
    sampled.

    The first reference after an intra frame gets no gradient, as in the paper's training.

    Args:
        entropy: network for the motion latent.
        latent_channels: of the motion latent, at 1/16.
        width: channels of the networks.
        levels, sigma: of the scale space, see `scale_space_warp`.
        gains: quantisation steps learned per quality; False is one rate.

    Raises:
        CodecError: the entropy network is made for another number of channels than
            `latent_channels`, or levels not in 1..5.

    Source: Agustsson et al., *Scale-space flow for end-to-end optimized video compression*, CVPR
    2020.
    """

    def __init__(
        self,
        entropy: EntropyNetwork,
        latent_channels: int = 192,
        width: int = 128,
        levels: int = 5,
        sigma: float = 1.5,
        gains: bool = True,
    ) -> None:
        super().__init__()
        check_channels("motion_entropy", entropy, latent_channels)
        if not 1 <= levels <= 5:
            raise CodecError(
                f"motion.levels: {levels} given; expected 1 to 5, as frames are padded to "
                "multiples of 16"
            )
        self.entropy, self.levels, self.sigma = entropy, levels, sigma
        self.analysis = analysis_transform(2 * 3, width, latent_channels)
        self.synthesis = synthesis_transform(latent_channels, width, 2 + 1)
        self.steps = QualitySteps(latent_channels, coarsest=3.0, finest=0.3, gains=gains)

    def forward(
        self, frame: Tensor | None, references: References, quality: Tensor, coder: SymbolCoder
    ) -> Context:
        newest = references.newest
        reference = newest.frame.detach() if newest.intra else newest.frame
        latent = None
        if coder.encodes and frame is not None:
            latent = self.steps.divide(self.analysis(torch.cat([frame, reference], 1)), quality)
        size = (reference.shape[-2] // STRIDE, reference.shape[-1] // STRIDE)
        prior = {"previous": newest.motion, "previous_quality": newest.quality}
        sent = self.entropy.code("motion", latent, size, quality, coder, **prior)
        prediction = self.predict(sent, reference, quality)
        return Context(prediction=prediction, features=newest.features, motion=sent)

    def predict(self, latent: Tensor, reference: Tensor, quality: Tensor) -> Tensor:
        """`reference` `(B, 3, H, W)` moved as the transmitted latent says."""
        flow = self.synthesis(self.steps.multiply(latent, quality)).float()
        return scale_space_warp(reference, flow, self.levels, self.sigma)


def scale_space_warp(frame: Tensor, flow: Tensor, levels: int = 5, sigma: float = 1.5) -> Tensor:
    """Sample ever more blurred copies of `frame` where `flow` points, linearly also between copies;
    borders repeated.

    Args:
        frame: `(B, C, H, W)` float32, H and W multiples of `2 ** (levels - 1)`.
        flow: `(B, 3, H, W)` float32: displacement (x, y) in halves of the frame's sides, and the
            scale from -1 (sharp) to 1 (most blurred).
        levels: blurred copies, beside the frame itself.
        sigma: standard deviation of the blur, in pixels of each copy's own size.

    Returns:
        `(B, C, H, W)` float32.

    Raises:
        ValueError: `frame` and `flow` are not float32.

    Source: Agustsson et al., *Scale-space flow for end-to-end optimized video compression*, CVPR
    2020, sec. 3.1; coordinates and borders as in compressai's `ssf2020`.
    """
    if frame.dtype != torch.float32 or flow.dtype != torch.float32:
        raise ValueError(
            f"scale_space_warp: frame {frame.dtype} and flow {flow.dtype}, float32 expected"
        )
    with torch.autocast(frame.device.type, enabled=False):
        volume = gaussian_volume(frame, levels, sigma)
        identity = torch.eye(2, 3, device=frame.device).expand(len(frame), 2, 3)
        place = F.affine_grid(identity, list(frame.shape), align_corners=False) + flow[
            :, :2
        ].permute(0, 2, 3, 1)
        grid = torch.cat([place, flow[:, 2:].permute(0, 2, 3, 1)], -1)[:, None]
        return F.grid_sample(
            volume, grid, mode="bilinear", padding_mode="border", align_corners=False
        )[:, :, 0]


def gaussian_volume(frame: Tensor, levels: int, sigma: float) -> Tensor:
    """`frame` `(B, C, H, W)` and `levels` blurred copies, each from half the size of the last: `(B,
    C, levels + 1, H, W)`.
    """
    kernel = gaussian_kernel1d(2 * math.ceil(3 * sigma) + 1, sigma, frame.device, frame.dtype)
    small = _blur(frame.contiguous(memory_format=torch.channels_last), kernel)
    copies = [frame, small]
    for level in range(1, levels):
        small = _blur(F.avg_pool2d(small, 2), kernel)
        copy = small
        for _ in range(level):
            copy = F.interpolate(copy, scale_factor=2, mode="bilinear", align_corners=False)
        copies.append(copy)
    return torch.stack(copies, 2)


def _blur(frame: Tensor, kernel: Tensor) -> Tensor:
    """Blur along both sides with a `(k,)` kernel, borders repeated; in two passes, the fastest way
    measured on a CPU.
    """
    channels, reach = frame.shape[1], len(kernel) // 2
    rows = F.pad(frame, (reach,) * 4, mode="replicate")
    columns = F.conv2d(rows, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(columns, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
