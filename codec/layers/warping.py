"""Backward warping by a dense motion field, and by one vector a block.

On the CPU and without a gradient `block_warp` is a numba kernel.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional as F

from codec.errors import CodecError
from codec.layers.kernels import by_kernel, in_bands

_ONE = np.float32(1)


def warp(features: Tensor, motion: Tensor) -> Tensor:
    """Sample `features` where `motion` points, bilinearly, borders repeated.

    Args:
        features: `(B, C, H, W)`, any float type.
        motion: `(B, 2, H, W)` float32 (bfloat16 loses whole pixels at 720p), displacement (x, y) in
            pixels of `features`.

    Returns:
        `(B, C, H, W)` in the type of `features`.

    Raises:
        ValueError: the two disagree in batch or size, or motion is not float32.

    Source: Jaderberg et al., *Spatial Transformer Networks*, 2015, eq. 5.
    """
    if features.shape[0] != motion.shape[0] or features.shape[-2:] != motion.shape[-2:]:
        raise ValueError(
            f"warp: features {tuple(features.shape)} and motion {tuple(motion.shape)} differ in "
            "batch or size"
        )
    if motion.dtype != torch.float32:
        raise ValueError(f"warp: motion is {motion.dtype}, float32 expected")
    with torch.autocast(features.device.type, enabled=False):
        grid = normalise(pixel_grid(motion) + motion)
        moved = F.grid_sample(
            features.float(), grid, mode="bilinear", padding_mode="border", align_corners=True
        )
    return moved.to(features.dtype)


def pixel_grid(like: Tensor) -> Tensor:
    """Coordinates (x, y) of every pixel, `(1, 2, H, W)` float32, for a `like` of `(…, H, W)`."""
    height, width = like.shape[-2:]
    y = torch.arange(height, dtype=torch.float32, device=like.device)[:, None].expand(height, width)
    x = torch.arange(width, dtype=torch.float32, device=like.device)[None].expand(height, width)
    return torch.stack([x, y])[None]


def normalise(position: Tensor) -> Tensor:
    """Pixel positions `(B, 2, H, W)` -> the `(B, H, W, 2)` grid in -1..1 that `grid_sample` wants
    (corners aligned).
    """
    height, width = position.shape[-2:]
    x, y = position.unbind(1)
    return torch.stack([x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1], 3)


def block_warp(features: Tensor, field: Tensor, block: int) -> Tensor:
    """Sample `features` where each block's vector points, bilinearly, borders repeated:
    `warp(features, dense(field, block))`.

    On the CPU and without a gradient it is a kernel that runs on torch's number of threads. Vectors
    of whole pixels copy exactly.

    Args:
        features: `(B, C, H, W)` float32, bfloat16 or float16, contiguous or channels last.
        field: `(B, 2, H / block, W / block)` float32, displacement (x, y) in pixels of `features`;
            any value is safe.
        block: side of a block.

    Returns:
        `(B, C, H, W)` in the type and memory format of `features`.

    Raises:
        CodecError: the field does not fit `features` and `block`, or is not float32.
    """
    batch, _, height, width = features.shape
    if (batch, 2, height, width) != (
        field.shape[0],
        field.shape[1],
        field.shape[2] * block,
        field.shape[3] * block,
    ):
        shapes = f"field {tuple(field.shape)} does not fit features {tuple(features.shape)}"
        raise CodecError(
            f"block_warp: {shapes} in blocks of {block}; give (B, 2, H / {block}, W / {block})"
        )
    if field.dtype != torch.float32:
        raise CodecError(f"block_warp: field is {field.dtype}; give float32")
    if by_kernel(features, field):
        return _compensate(features.detach(), field.detach(), block)
    return warp(features, dense(field, block))


def dense(field: Tensor, block: int) -> Tensor:
    """A vector a block -> a vector a pixel, constant in the block: `(B, 2, h, w)` -> `(B, 2,
    h·block, w·block)`.
    """
    return field.repeat_interleave(block, 2).repeat_interleave(block, 3)


def _compensate(features: Tensor, field: Tensor, block: int) -> Tensor:
    source, vectors = features.float(), field.contiguous().numpy()
    rows = field.shape[0] * field.shape[2]
    if source.is_contiguous() or not source.is_contiguous(memory_format=torch.channels_last):
        source = source.contiguous()
        moved = torch.empty_like(source)
        kernel, planes = planes_kernel(block), (source.numpy(), vectors, moved.numpy())
        in_bands(lambda first, end: kernel(*planes, first, end), rows * source.shape[1])
    else:
        moved = torch.empty_like(source)
        maps = source.permute(0, 2, 3, 1).numpy(), vectors, moved.permute(0, 2, 3, 1).numpy(), block
        in_bands(lambda first, end: warp_channels_last(*maps, first, end), rows)
    return moved.to(features.dtype)


@cache
def planes_kernel(block: int) -> Callable:
    """The kernel for planes, made for one `block` so that its inner loops have a fixed length.

    `kernel(source, field, moved, first, end)` fills rows of blocks `first .. end - 1`, counted over
    all planes; `source` and `moved` are `(B, C, H, W)` float32, `field` `(B, 2, H / block, W /
    block)` float32.
    """

    @njit(cache=True, nogil=True, fastmath={"contract"})
    def warp_planes(source, field, moved, first, end):
        channels, height, width = source.shape[1:]
        tall, wide = field.shape[2:]
        patch = np.empty((block + 1, block + 1), np.float32)
        for line in range(first, end):
            plane, row = line // tall, line % tall
            b, c = plane // channels, plane % channels
            for column in range(wide):
                dx, right = _whole_and_part(field[b, 0, row, column], width, block)
                dy, down = _whole_and_part(field[b, 1, row, column], height, block)
                x, y = column * block + dx, row * block + dy
                if x < 0 or y < 0 or x + block >= width or y + block >= height:
                    _cut(source[b, c], x, y, patch)
                    _interpolate(
                        patch, 0, 0, right, down, moved[b, c], row * block, column * block, block
                    )
                else:
                    _interpolate(
                        source[b, c],
                        x,
                        y,
                        right,
                        down,
                        moved[b, c],
                        row * block,
                        column * block,
                        block,
                    )

    return warp_planes


@njit(cache=True, nogil=True, fastmath={"contract"})
def warp_channels_last(source, field, moved, block, first, end):
    """As `planes_kernel`'s, for `(B, H, W, C)` float32; `first` and `end` count over the batch."""
    height, width, channels = source.shape[1:]
    tall, wide = field.shape[2:]
    for line in range(first, end):
        b, row = line // tall, line % tall
        for column in range(wide):
            dx, right = _whole_and_part(field[b, 0, row, column], width, block)
            dy, down = _whole_and_part(field[b, 1, row, column], height, block)
            left, up = _ONE - right, _ONE - down
            for i in range(row * block, (row + 1) * block):
                above, below = (
                    source[b, _clamp(i + dy, height)],
                    source[b, _clamp(i + dy + 1, height)],
                )
                for j in range(column * block, (column + 1) * block):
                    x, beside, target = (
                        _clamp(j + dx, width),
                        _clamp(j + dx + 1, width),
                        moved[b, i, j],
                    )
                    if right == 0 and down == 0:
                        for c in range(channels):
                            target[c] = above[x, c]
                    else:
                        for c in range(channels):
                            upper = above[x, c] * left + above[beside, c] * right
                            lower = below[x, c] * left + below[beside, c] * right
                            target[c] = upper * up + lower * down


@njit(inline="always")
def _interpolate(area, x, y, right, down, moved, top, left, block):
    """Interpolate a block of `moved` at (top, left) from `area` at (x, y) and a part of a pixel
    further.
    """
    w11 = right * down
    w01, w10 = right - w11, down - w11
    w00 = _ONE - right - w10
    x, y, top, left = (
        np.uintp(x),
        np.uintp(y),
        np.uintp(top),
        np.uintp(left),
    )  # signed ones do not vectorise:
    side, one = np.uintp(block), np.uintp(1)  # numba lets them count from the end
    if right == 0 and down == 0:
        for i in range(side):
            for j in range(side):
                moved[top + i, left + j] = area[y + i, x + j]
    else:
        for i in range(side):
            for j in range(side):
                upper = w00 * area[y + i, x + j] + w01 * area[y + i, x + j + one]
                lower = w10 * area[y + i + one, x + j] + w11 * area[y + i + one, x + j + one]
                moved[top + i, left + j] = upper + lower


@njit(inline="always")
def _whole_and_part(shift, size, block):
    """A displacement as whole pixels and the rest in 0..1; what is not a number or points outside,
    just outside.
    """
    limit = np.float32(size + block)
    shift = min(shift, limit) if shift > -limit else -limit
    whole = np.floor(shift)
    return int(whole), shift - whole


@njit(inline="always")
def _clamp(index, size):
    return min(max(index, 0), size - 1)


@njit(inline="always")
def _cut(area, x, y, patch):
    """Fill `patch` from `area` at (x, y), borders repeated."""
    height, width = area.shape
    for i in range(patch.shape[0]):
        for j in range(patch.shape[1]):
            patch[i, j] = area[_clamp(y + i, height), _clamp(x + j, width)]
