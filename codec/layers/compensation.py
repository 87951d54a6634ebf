"""Block motion compensation from one or several references by separable filters."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.errors import CodecError
from codec.layers.compensation_kernels import (
    backward_kernel,
    compensate_positions,
    filters_kernel,
    forward_kernel,
    scatter_positions,
)
from codec.layers.kernels import in_bands, on_cpu
from codec.layers.warping import block_warp

_STEP = 16  # rows of cells that one reference fills before the next adds to them, still in a cache


def compensate(
    references: Sequence[Tensor],
    vectors: Tensor,
    weights: Tensor,
    *,
    block: int,
    filters: Tensor,
) -> Tensor:
    """Predict a frame from where each cell's vectors point in the references, borders repeated.

    A cell is the sum over the references of weight times the reference, sampled at the cell's
    pixels plus the vector. Tap k of n applies to pixel `whole + k - (n / 2 - 1)`. Columns are
    filtered first, then rows. Differentiable to the references and the filters, once. On the CPU
    these are kernels, with the same bits for any number of threads; elsewhere tensor operations.

    Args:
        references: R of `(B, C, H, W)` float32.
        vectors: `(B, 2·R, h, w)` int16 or int32, displacement in 1 / fraction of a pixel: x into
            the first reference, y into it, x into the second, …; any value is safe.
        weights: `(B, R, h, w)` float32, how much of each reference a cell takes; what has weight
            zero is not computed by the kernels. It gets no gradient.
        block: side of a cell in pixels: `H = h·block`, `W = w·block`.
        filters: `(fraction, taps)` float32, taps even: row p interpolates at p / fraction of a
            pixel. Row 0 is taken for the identity and not read.

    Returns:
        `(B, C, H, W)` float32, contiguous.

    Raises:
        CodecError: shapes or types do not fit each other.

    Source: ITU-T H.265, 8.5.3.3.3 (fractional sample interpolation) and 8.5.3.3.4 (weighting).
    """
    _check_fit("compensate", references, vectors, weights, block)
    _check_float32(references, filters)
    references = [reference.contiguous() for reference in references]
    vectors, weights = vectors.to(torch.int32), weights.detach()
    if on_cpu(*references, vectors, weights, filters):
        return _Compensation.apply(vectors, weights, block, filters, *references)
    return _compensate_by_tensors(references, vectors, weights, block, filters)


def compensate_features(
    references: Sequence[Tensor],
    vectors: Tensor,
    weights: Tensor,
    *,
    fraction: int = 32,
) -> Tensor:
    """As `compensate` for features of one position a cell, bilinear.

    Args:
        references: R of `(B, F, H, W)`, any float type; fastest channels last.
        vectors: `(B, 2·R, H, W)` int16 or int32, in 1 / `fraction` of a position: quarter pixels
            of the frame where features are at an eighth of its size.
        weights: `(B, R, H, W)` float32.
        fraction: parts of a position.

    Returns:
        `(B, F, H, W)` in the type and memory format of the first reference.

    Raises:
        CodecError: shapes or types do not fit each other.
    """
    _check_fit("compensate_features", references, vectors, weights, 1)
    vectors, weights = vectors.to(torch.int32), weights.detach()
    kind = references[0].dtype
    if on_cpu(*references, vectors, weights):
        return _Positions.apply(vectors, weights, fraction, *references).to(kind)
    field = vectors.float() / fraction
    made = torch.zeros_like(references[0], dtype=torch.float32)
    for which, reference in enumerate(references):
        moved = block_warp(reference.float(), field[:, 2 * which : 2 * which + 2], 1)
        made = made + weights[:, which : which + 1] * moved
    return made.to(kind)


def luma_filters() -> Tensor:
    """HEVC's luma filters, `(4, 8)` float32: quarter pixels.

    Source: ITU-T H.265, table 8-11.
    """
    return _scaled(
        [
            [0, 0, 0, 64, 0, 0, 0, 0],
            [-1, 4, -10, 58, 17, -5, 1, 0],
            [-1, 4, -11, 40, 40, -11, 4, -1],
            [0, 1, -5, 17, 58, -10, 4, -1],
        ]
    )


def chroma_filters() -> Tensor:
    """HEVC's chroma filters, `(8, 4)` float32: eighths of a pixel.

    Source: ITU-T H.265, table 8-12.
    """
    return _scaled(
        [
            [0, 64, 0, 0],
            [-2, 58, 10, -2],
            [-4, 54, 16, -2],
            [-6, 46, 28, -4],
            [-4, 36, 36, -4],
            [-4, 28, 46, -6],
            [-2, 16, 54, -4],
            [-2, 10, 58, -2],
        ]
    )


def bilinear_filters(fraction: int) -> Tensor:
    """Linear interpolation at 1 / fraction of a pixel, `(fraction, 2)` float32."""
    part = torch.arange(fraction, dtype=torch.float32) / fraction
    return torch.stack([1 - part, part], 1)


def _scaled(rows: list[list[int]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32) / 64


class _Compensation(torch.autograd.Function):
    """`compensate` by kernels."""

    @staticmethod
    def forward(
        ctx,
        vectors: Tensor,
        weights: Tensor,
        block: int,
        filters: Tensor,
        *references: Tensor,
    ) -> Tensor:
        made = torch.empty_like(references[0])
        kernel = forward_kernel(block, filters.shape[1])
        fixed = vectors.contiguous(), weights.contiguous(), filters.detach().contiguous()
        v, w, f = (tensor.numpy() for tensor in fixed)
        sources, target = [reference.detach().numpy() for reference in references], made.numpy()

        def rows(first: int, end: int) -> None:
            for start in range(first, end, _STEP):
                for which, source in enumerate(sources):
                    kernel(source, v, w, which, f, target, start, min(start + _STEP, end))

        in_bands(rows, made.shape[0] * made.shape[1] * v.shape[2])
        ctx.block = block
        kept = references if filters.requires_grad else ()
        ctx.save_for_backward(*fixed, *kept)
        return made

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        vectors, weights, filters, *references = ctx.saved_tensors
        gradient = gradient.contiguous()
        planes, taps = gradient.shape[0] * gradient.shape[1], filters.shape[1]
        g, v, w, f = (tensor.numpy() for tensor in (gradient, vectors, weights, filters))
        wanted = [which for which, need in enumerate(ctx.needs_input_grad[4:]) if need]
        made = {which: torch.zeros_like(gradient) for which in wanted}
        scatter, correlate = backward_kernel(ctx.block, taps), filters_kernel(ctx.block, taps)
        sums = torch.zeros(planes, *filters.shape, dtype=torch.float64)
        sources = [reference.detach().numpy() for reference in references]

        def work(first: int, end: int) -> None:
            for which in wanted:
                scatter(g, v, w, which, f, made[which].numpy(), first, end)
            for which, source in enumerate(sources):
                correlate(source, g, v, w, which, f, sums.numpy(), first, end)

        in_bands(work, planes)
        of_filters = sums.sum(0).float() if ctx.needs_input_grad[3] else None
        grads = [made.get(which) for which in range(len(ctx.needs_input_grad) - 4)]
        return None, None, None, of_filters, *grads


class _Positions(torch.autograd.Function):
    """`compensate_features` by kernels, in float32."""

    @staticmethod
    def forward(
        ctx,
        vectors: Tensor,
        weights: Tensor,
        fraction: int,
        *references: Tensor,
    ) -> Tensor:
        ctx.planar = references[0].is_contiguous()
        ctx.types = [reference.dtype for reference in references]
        fixed = vectors.contiguous(), weights.contiguous()
        v, w = (tensor.numpy() for tensor in fixed)
        sources = [_channels_last(reference.detach()) for reference in references]
        target = torch.empty_like(sources[0])

        def rows(first: int, end: int) -> None:
            for start in range(first, end, _STEP):
                for which, source in enumerate(sources):
                    part = target.numpy(), start, min(start + _STEP, end)
                    compensate_positions(source.numpy(), v, w, which, fraction, *part)

        in_bands(rows, v.shape[0] * v.shape[2])
        ctx.fraction = fraction
        ctx.save_for_backward(*fixed)
        made = target.permute(0, 3, 1, 2)
        return made.contiguous() if ctx.planar else made

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        v, w = (tensor.numpy() for tensor in ctx.saved_tensors)
        given = _channels_last(gradient)
        wanted = [which for which, need in enumerate(ctx.needs_input_grad[3:]) if need]
        made = {which: torch.zeros_like(given) for which in wanted}

        def channels(first: int, end: int) -> None:
            for which in wanted:
                part = made[which].numpy(), first, end
                scatter_positions(given.numpy(), v, w, which, ctx.fraction, *part)

        in_bands(channels, given.shape[3])
        for which in wanted:
            grad = made[which].permute(0, 3, 1, 2).to(ctx.types[which])
            made[which] = grad.contiguous() if ctx.planar else grad
        return None, None, None, *(made.get(which) for which in range(len(ctx.types)))


def _channels_last(features: Tensor) -> Tensor:
    """`(B, C, H, W)` -> `(B, H, W, C)` float32, contiguous."""
    return features.permute(0, 2, 3, 1).float().contiguous()


def _compensate_by_tensors(
    references: Sequence[Tensor],
    vectors: Tensor,
    weights: Tensor,
    block: int,
    filters: Tensor,
) -> Tensor:
    """`compensate` by tensor operations: all phases of a reference, then one of them a pixel."""
    fraction, taps = filters.shape
    height, width = references[0].shape[-2:]
    reach = taps // 2  # further outside nothing changes
    shifts = vectors.long().unflatten(1, (-1, 2))
    columns = torch.arange(width, device=vectors.device)
    rows = torch.arange(height, device=vectors.device)[:, None]
    made = torch.zeros_like(references[0])
    for which, reference in enumerate(references):
        phases = _phases(reference, filters)
        x, y = _to_pixels(shifts[:, which, 0], block), _to_pixels(shifts[:, which, 1], block)
        across, down = x % fraction, y % fraction
        column = columns + x.div(fraction, rounding_mode="floor")
        row = rows + y.div(fraction, rounding_mode="floor")
        column = column.clamp(-reach, width - 1 + reach) + reach
        row = row.clamp(-reach, height - 1 + reach) + reach
        place = (down * fraction + across) * phases.shape[-2] + row
        place = (place * phases.shape[-1] + column).flatten(1)
        place = place[:, None].expand(-1, reference.shape[1], -1)
        picked = phases.flatten(2).gather(2, place).view_as(reference)
        made = made + _to_pixels(weights[:, which], block)[:, None] * picked
    return made


def _phases(reference: Tensor, filters: Tensor) -> Tensor:
    """A reference at all phases: `(B, C, H, W)` -> `(B, C, fraction², H + taps, W + taps)`.

    Phases count x first; `taps / 2` pixels on each side lie outside the reference.
    """
    fraction, taps = filters.shape
    batch, channels = reference.shape[:2]
    around = taps // 2 * 2  # for the planes, and for what their filters reach
    padded = F.pad(reference, (around,) * 4, mode="replicate")
    identity = (torch.arange(taps, device=filters.device) == taps // 2 - 1).to(filters.dtype)
    rows = torch.cat([identity[None], filters[1:]])
    with torch.autocast(reference.device.type, enabled=False):
        down = _by_plane(padded.flatten(0, 1), rows[:, :, None])  # (B·C, fraction, ·, ·)
        both = _by_plane(down.flatten(0, 1), rows[:, None, :])
    both = both.unflatten(0, (batch, channels, fraction)).flatten(2, 3)
    return both[..., 1 : 1 + reference.shape[-2] + taps, 1 : 1 + reference.shape[-1] + taps]


def _by_plane(planes: Tensor, kernels: Tensor) -> Tensor:
    """Correlate each plane with each kernel: `(N, H, W)`, `(K, h, w)` -> `(N, K, H', W')`.

    One group a plane: such convolutions are computed in full float32. One plane alone would be a
    dense convolution, which a GPU may compute in TF32, so it gets an empty neighbour.
    """
    count = len(planes)
    planes = F.pad(planes[None], (0, 0, 0, 0, 0, 1 if count == 1 else 0))
    many = kernels[:, None].repeat(planes.shape[1], 1, 1, 1)
    made = F.conv2d(planes, many, groups=planes.shape[1])
    return made[0].unflatten(0, (-1, len(kernels)))[:count]


def _to_pixels(cells: Tensor, block: int) -> Tensor:
    """A value a cell -> a value a pixel: `(B, h, w)` -> `(B, h·block, w·block)`."""
    return cells.repeat_interleave(block, 1).repeat_interleave(block, 2)


def _check_fit(
    name: str,
    references: Sequence[Tensor],
    vectors: Tensor,
    weights: Tensor,
    block: int,
) -> None:
    """Raise a CodecError unless references, vectors and weights fit each other and `block`."""
    shapes = [tuple(reference.shape) for reference in references]
    alike = all(shape == shapes[0] for shape in shapes)
    if not shapes or len(shapes[0]) != 4 or 0 in shapes[0] or not alike:
        raise CodecError(f"{name}: references {shapes} given; give one or more of one (B, C, H, W)")
    batch, _, height, width = shapes[0]
    if block < 1 or height % block or width % block:
        raise CodecError(f"{name}: references {shapes[0]} given; expected cells of {block} pixels")
    vectors_fit = batch, 2 * len(shapes), height // block, width // block
    if vectors.shape != vectors_fit or vectors.dtype not in (torch.int16, torch.int32):
        found = f"vectors {tuple(vectors.shape)} {vectors.dtype}"
        raise CodecError(f"{name}: {found} given; expected {vectors_fit} int16 or int32")
    weights_fit = batch, len(shapes), *vectors_fit[2:]
    if weights.shape != weights_fit or weights.dtype != torch.float32:
        found = f"weights {tuple(weights.shape)} {weights.dtype}"
        raise CodecError(f"{name}: {found} given; expected {weights_fit} torch.float32")


def _check_float32(references: Sequence[Tensor], filters: Tensor) -> None:
    kinds = [reference.dtype for reference in references]
    if set(kinds) != {torch.float32}:
        raise CodecError(f"compensate: references are {kinds}; give torch.float32")
    shape = tuple(filters.shape)
    if len(shape) != 2 or shape[1] % 2 or 0 in shape or filters.dtype != torch.float32:
        found = f"filters {shape} {filters.dtype}"
        raise CodecError(f"compensate: {found} given; give (fraction, even taps) torch.float32")
