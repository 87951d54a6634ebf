"""The mean-scale hyperprior by exact arithmetic, and what all exact networks with a hyper-latent
share: the hyper-latent itself, tables of scales, and the dead zone of the latent.
"""

import math
from functools import partial

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn

from codec.entropy.coding.laplace import (
    SKIP_BELOW,
    LaplaceModel,
    check_scale_index,
    limit_index,
    log_one_plus,
    scale_index_of,
)
from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.base import EntropyNetwork, network_sizes
from codec.entropy.models.integer_layers import (
    SIXTEENTHS,
    BoundedBlock,
    Exact,
    ExactTable,
    IntegerConv,
    bounded,
    exact_up,
    exactly,
)
from codec.layers.blocks import Network, downward, pointwise, stack
from codec.layers.frames import pad_frames, padded
from codec.layers.kernels import as_maps, flat, in_bands, trains_on_cpu
from codec.layers.quality import QualityTable

# Networks give scale indexes in units of this many: about one doubling of the scale.
SCALES_PER_UNIT = 5.0
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

    def code(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        coder: SymbolCoder,
    ) -> Tensor:
        """Send or receive the hyper-latent of `latent` `(B, C, *size)`, None on the receiving side:
        `(B, Z, h', w')`.
        """
        hyper = self.analysis(latent) if coder.encodes else None
        shape = (len(quality), self.channels, -(-size[0] // _FACTOR), -(-size[1] // _FACTOR))
        model = laplace_model(
            self.mean(quality).expand(shape), self.scale(quality).expand(shape), self.skip_below
        )
        return coder.code(f"{component}.hyper", hyper, model)


class HyperSynthesis(Exact, nn.Module):
    """Hyper-latent `(B, Z, h, w)` -> `(B, W, 4·h, 4·w)` to add to other sums, in sixteenths."""

    def __init__(self, hyper: int, width: int) -> None:
        super().__init__()
        self.first = IntegerConv(hyper, 4 * width)
        self.block = BoundedBlock(width)
        self.second = IntegerConv(width, 4 * width)

    @exactly
    def forward(self, hyper: Tensor) -> Tensor:
        coarse = self.block(bounded(exact_up(self.first, bounded(hyper * SIXTEENTHS))))
        return exact_up(self.second, coarse)


class ScaleTable(ExactTable):
    """The index of each channel's scale by quality, where networks say how far to move from
    it.

    Args:
        channels: C of the latent.
        scale: to start with.
    """

    def __init__(self, channels: int, scale: float = 1.0) -> None:
        super().__init__(channels, scale_index_of(torch.full((channels,), scale)) / SCALES_PER_UNIT)

    @torch.no_grad()
    def start_from(self, magnitude: Tensor, lowest: int) -> None:
        """Start at the scales of latents of mean `magnitude` `(knots, C)`, at index
        `lowest` at the least.
        """
        self.start.copy_(scale_index_of(magnitude).clamp(min=lowest) / SCALES_PER_UNIT)


def laplace_model(means: Tensor, index: Tensor, skip_below: int) -> LaplaceModel:
    """The distribution that networks and tables speak of in sixteenths: means, and scale indexes in
    units of 5.
    """
    return LaplaceModel(
        means / SIXTEENTHS, limit_index(index, SCALES_PER_UNIT / SIXTEENTHS), skip_below
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


_ZERO, _HALF, _ONE, _FOUR = map(np.float32, (0, 0.5, 1, 4))
_LOG2_E, _LN2_HIGH, _LN2_LOW = map(np.float32, (1.44269504, 0.693359375, -2.12194440e-4))
_LN_HALF, _BITS = np.float32(math.log(0.5)), np.float32(-1 / math.log(2))
_LARGEST_SHARE = np.float32(0.99995)
# of exp(x) and log(1 + x) near 0, the highest power first (Cephes, expf and logf)
_EXP = [1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5]
_LOG = [7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1]
_LOG += [-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1]
_E5, _E4, _E3, _E2, _E1, _E0 = map(np.float32, _EXP)
_L8, _L7, _L6, _L5, _L4, _L3, _L2, _L1, _L0 = map(np.float32, _LOG)
_LOWEST, _HIGHEST = np.float32(-87), np.float32(88)  # of exp's argument


@njit(cache=True, nogil=True, error_model="numpy")
def signed_logs(values, made, first, end):
    """log(1 + |x|), and it with the sign of x, zero where x is: samples `first .. end - 1`.

    Args:
        values: `(B, h, w, C)` float32.
        made: `(B, H, W, 2·C)` float32, filled, the last row and column repeated.
    """
    height, width, channels = values.shape[1:]
    for b in range(first, end):
        for i in range(made.shape[1]):
            for j in range(made.shape[2]):
                source = values[b, min(i, height - 1), min(j, width - 1)]
                sizes, signed = made[b, i, j, :channels], made[b, i, j, channels:]
                for c in range(channels):
                    size = log_one_plus(abs(source[c]))
                    sizes[c] = size
                    signed[c] = size if source[c] > _ZERO else -size


@njit(cache=True, nogil=True, error_model="numpy")
def signed_log_gradients(gradient, values, made, first, end):
    """What `signed_logs` passes back, `made` `(B, h, w, C)` float32."""
    height, width, channels = values.shape[1:]
    made[first:end] = 0
    for b in range(first, end):
        for i in range(gradient.shape[1]):
            for j in range(gradient.shape[2]):
                y, x = min(i, height - 1), min(j, width - 1)
                source, target = values[b, y, x], made[b, y, x]
                of_sizes, of_signed = gradient[b, i, j, :channels], gradient[b, i, j, channels:]
                for c in range(channels):
                    value = source[c]
                    sign = (_ONE if value > _ZERO else -_ONE) if value != _ZERO else _ZERO
                    slope = (of_sizes[c] + of_signed[c] * sign) * sign
                    target[c] += slope / (_ONE + abs(value))


@njit(cache=True, nogil=True)
def draw(latent, means, width, made, open_, first, end):
    """`DeadZone` of half a width: samples `first .. end - 1`, all `(B, N)` float32.

    `open_` is filled: the sign of what is left of a value, 0 where nothing is.
    """
    for b in range(first, end):
        for i in range(latent.shape[1]):
            centred = latent[b, i] - means[b, i]
            left = abs(centred) - width[b, i]
            sign = (_ONE if centred > _ZERO else -_ONE) if left > _ZERO else _ZERO
            open_[b, i] = sign
            made[b, i] = means[b, i] + sign * left


@njit(cache=True, nogil=True)
def draw_gradients(gradient, open_, of_latent, of_means, of_width, first, end):
    """What `draw` passes back, all `(B, N)` float32."""
    for b in range(first, end):
        for i in range(gradient.shape[1]):
            given, sign = gradient[b, i], open_[b, i]
            through = given * abs(sign)
            of_latent[b, i] = through
            of_means[b, i] = given - through
            of_width[b, i] = -given * sign


class Expectation(Exact, nn.Module):
    """Hyper-latent, the last frame's values and quality -> what means and scale indexes are
    moved by, in sixteenths.

    The answer is `(B, 2C, h, w)`, zero at the start.
    """

    def __init__(self, channels: int, hyper: int, width: int, depth: int) -> None:
        super().__init__()
        self.coarse = HyperSynthesis(hyper, width)
        self.previous = IntegerConv(channels, width)
        self.quality = ExactTable(width, torch.zeros(width))
        self.blocks = nn.Sequential(*(BoundedBlock(width) for _ in range(depth)))
        self.head = IntegerConv(width, 2 * channels, zero=True)

    @exactly
    def forward(self, hyper: Tensor, previous: Tensor, quality: Tensor) -> Tensor:
        height, width = previous.shape[-2:]
        coarse = self.coarse(hyper)[..., :height, :width]
        known = coarse + self.previous(self.companded(previous)) + self.quality(quality)
        return self.head(self.blocks(bounded(known)))


class Hyperprior(EntropyNetwork):
    """Means and scales of a latent from a hyper-latent at a quarter of its size, by exact
    arithmetic.

    Both latents are Laplace distributed, with the fixed scales of `coding/laplace.py`. The
    magnitudes of the last predicted frame's latent, which both sides have, help.

    Args:
        channels: C of the latent.
        hyper: channels of the hyper-latent; half of it for up to 64 latent channels.
        width: of the networks; a third of it for up to 64 latent channels.
        depth: of the networks.
        skip_below: scale index below which nothing is coded and a value is its mean;
            0: everything is coded.

    Source: Minnen et al., *Joint autoregressive and hierarchical priors*, NeurIPS 2018 (the
    hierarchical part).

    Raises:
        CodecError: a scale index outside 0..63.
    """

    exact = True

    def __init__(
        self,
        channels: int,
        hyper: int = 32,
        width: int = 96,
        depth: int = 1,
        skip_below: int = SKIP_BELOW,
    ) -> None:
        super().__init__()
        hyper, width = network_sizes(channels, hyper, width)
        self.channels, self.skip_below = channels, check_scale_index(skip_below)
        self.hyper = HyperLatent(channels, hyper, width, depth, skip_below)
        self.expectation = Expectation(channels, hyper, width, depth)
        self.base = ScaleTable(channels)
        self.dead_zone = DeadZone(channels)

    def start_from(self, magnitude: Tensor) -> None:
        self.base.start_from(magnitude, self.skip_below)

    def code(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        coder: SymbolCoder,
        previous: Tensor | None = None,
        previous_quality: Tensor | None = None,
    ) -> Tensor:
        hyper = self.hyper.code(component, latent, size, quality, coder)
        if previous is None:
            previous = torch.zeros(len(quality), self.channels, *size, device=quality.device)
        means, index = self.expectation(hyper, previous, quality).float().chunk(2, 1)
        model = laplace_model(means, index + self.base(quality), self.skip_below)
        if coder.encodes:
            width = self.dead_zone.width(quality)
            latent = self.dead_zone(latent, model.means, width)
        return coder.code(component, latent, model)
