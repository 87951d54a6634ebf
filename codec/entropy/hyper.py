"""What entropy networks with a hyper-latent share: the hyper-latent itself, scales, and the dead
zone of the latent.
"""

from functools import partial

import torch
from torch import Tensor, nn

from codec.entropy.channel import Channel
from codec.entropy.exact import (
    SIXTEENTHS,
    BoundedBlock,
    Exact,
    ExactConv,
    ExactTable,
    bounded,
    exact_up,
    exactly,
)
from codec.entropy.kernels import (
    as_maps,
    draw,
    draw_gradients,
    flat,
    signed_log_gradients,
    signed_logs,
)
from codec.entropy.laplace import LaplaceModel, limit_index, scale_index_of
from codec.layers.bands import in_bands
from codec.layers.blocks import Network, downward, pointwise, stack
from codec.layers.frames import pad_frames, padded
from codec.layers.gain import QualityTable
from codec.layers.kernels import trains_on_cpu

# Networks say ladder positions in units of this many levels: about one doubling of the scale.
LEVELS_PER_UNIT = 5.0
_FACTOR = 4


class HyperAnalysis(Network):
    """Latent `(B, C, h, w)` -> hyper-latent `(B, Z, ceil(h / 4), ceil(w / 4))`."""

    def __init__(self, channels: int, hyper: int, width: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            pointwise(2 * channels, width),
            stack(width, depth),
            downward(width, width),
            stack(width, depth),
            downward(width, hyper),
        )

    def forward(self, latent: Tensor) -> Tensor:
        if trains_on_cpu(latent):
            return self.layers(_SignedLogs.apply(latent))
        size = torch.log1p(latent.abs())
        return self.layers(
            self.cast(pad_frames(torch.cat([size, torch.sign(latent) * size], 1), _FACTOR))
        )


class _SignedLogs(torch.autograd.Function):
    """What `HyperAnalysis` sees of a latent, by kernels, channels last."""

    @staticmethod
    def forward(ctx, latent: Tensor) -> Tensor:
        values = latent.detach().permute(0, 2, 3, 1).contiguous()
        batch, height, width, channels = values.shape
        size = padded(height, _FACTOR), padded(width, _FACTOR)
        made = values.new_empty(batch, *size, 2 * channels)
        in_bands(partial(signed_logs, values.numpy(), made.numpy()), batch)
        ctx.save_for_backward(values)
        return made.permute(0, 3, 1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        made = torch.empty_like(values)
        tensors = gradient.permute(0, 2, 3, 1).contiguous(), values, made
        in_bands(partial(signed_log_gradients, *(tensor.numpy() for tensor in tensors)), len(made))
        return made.permute(0, 3, 1, 2)


class HyperLatent(nn.Module):
    """A small second latent at a quarter of the first one's size, Laplace distributed by channel
    and quality.

    Args:
        channels: C of the latent.
        hyper: Z, its own channels.
        width, depth: of the analysis.
        skip_below: of its symbols, as in `LaplaceModel`.

    Source: Ballé et al., *Variational image compression with a scale hyperprior*, ICLR 2018.
    """

    def __init__(self, channels: int, hyper: int, width: int, depth: int, skip_below: int) -> None:
        super().__init__()
        self.channels, self.skip_below = hyper, skip_below
        self.analysis = HyperAnalysis(channels, hyper, width, depth)
        self.mean = ExactTable(hyper, torch.zeros(hyper))
        self.scale = ScaleTable(hyper, 0.7)

    def transmit(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        channel: Channel,
    ) -> Tensor:
        """Send or receive the hyper-latent of `latent` `(B, C, *size)`, None on the receiving side:
        `(B, Z, h', w')`.
        """
        hyper = self.analysis(latent) if channel.sends else None
        shape = (len(quality), self.channels, -(-size[0] // _FACTOR), -(-size[1] // _FACTOR))
        model = ladder_model(
            self.mean(quality).expand(shape), self.scale(quality).expand(shape), self.skip_below
        )
        return channel.symbols(f"{component}.hyper", hyper, model)


class HyperSynthesis(Exact, nn.Module):
    """Hyper-latent `(B, Z, h, w)` -> `(B, W, 4·h, 4·w)` to add to other sums, in sixteenths."""

    def __init__(self, hyper: int, width: int) -> None:
        super().__init__()
        self.first = ExactConv(hyper, 4 * width)
        self.block = BoundedBlock(width)
        self.second = ExactConv(width, 4 * width)

    @exactly
    def forward(self, hyper: Tensor) -> Tensor:
        coarse = self.block(bounded(exact_up(self.first, bounded(hyper * SIXTEENTHS))))
        return exact_up(self.second, coarse)


class ScaleTable(ExactTable):
    """The ladder position of each channel's scale by quality, where networks say how far to move
    from it.

    Args:
        channels: C of the latent.
        scale: to start with.
    """

    def __init__(self, channels: int, scale: float = 1.0) -> None:
        super().__init__(channels, scale_index_of(torch.full((channels,), scale)) / LEVELS_PER_UNIT)

    @torch.no_grad()
    def start_from(self, magnitude: Tensor, lowest: int) -> None:
        """Start at the scales of latents of mean `magnitude` `(knots, C)`, at ladder position
        `lowest` at the least.
        """
        self.start.copy_(scale_index_of(magnitude).clamp(min=lowest) / LEVELS_PER_UNIT)


def ladder_model(moved: Tensor, index: Tensor, skip_below: int) -> LaplaceModel:
    """The distribution that networks and tables speak of in sixteenths: means, and ladder positions
    in units of 5 levels.
    """
    return LaplaceModel(
        moved / SIXTEENTHS, limit_index(index, LEVELS_PER_UNIT / SIXTEENTHS), skip_below
    )


class DeadZone(nn.Module):
    """Draws a latent towards its means on the sending side: what is not worth its bits becomes
        zero.

    Args:
        channels: C of the latent.

    Source: the dead-zone quantiser of Sullivan, *Efficient scalar quantization of exponential and
    Laplacian random variables*, 1996; here its width is learned.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.width = HalfWidth(channels, torch.full((channels,), -2.0))

    def forward(self, latent: Tensor, means: Tensor, width: Tensor) -> Tensor:
        """`latent` `(B, C, h, w)`, nearer to `means` by `width`, as `self.width(quality)` says."""
        if trains_on_cpu(latent, means, width):
            return _Draw.apply(latent, means, width.expand_as(latent))
        centred = latent.float() - means
        return means + torch.sign(centred) * torch.relu(centred.abs() - width)


class HalfWidth(QualityTable):
    """By how much a dead zone draws values nearer: half a quantisation step at the most."""

    def values_at(self, quality: Tensor) -> Tensor:
        return 0.5 * torch.sigmoid(super().values_at(quality))


class _Draw(torch.autograd.Function):
    """`DeadZone` by a kernel, channels last."""

    @staticmethod
    def forward(ctx, *tensors: Tensor) -> Tensor:
        given = [flat(tensor.detach()) for tensor in tensors]
        made, signs = torch.empty_like(given[0]), torch.empty_like(given[0])
        arrays = [tensor.numpy() for tensor in (*given, made, signs)]
        in_bands(partial(draw, *arrays), len(made))
        ctx.save_for_backward(signs)
        return as_maps(made, tensors[0].shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, ...]:
        (signs,) = ctx.saved_tensors
        made = [torch.empty_like(signs) for _ in range(3)]
        arrays = [tensor.numpy() for tensor in (flat(gradient), signs, *made)]
        in_bands(partial(draw_gradients, *arrays), len(signs))
        return tuple(as_maps(one, gradient.shape) for one in made)
