"""Backward warping by one vector a block: motion compensation."""

import torch
from torch import Tensor

from codec.errors import CodecError
from codec.layers.bands import in_bands
from codec.layers.block_kernels import planes_kernel, warp_channels_last
from codec.layers.kernels import by_kernel
from codec.layers.warp import warp


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
