"""Full-size frames put together from patches: what a network says in channels at a fraction of the
size.

The numba kernels round as the tensor operations do: sums and products are not contracted, so that
frames are equal bit by bit.
"""

import math
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional as F

from codec.errors import CodecError
from codec.layers.kernels import by_kernel, in_bands, trains_on_cpu


def add_patches(frame: Tensor, patches: Tensor, gain: Tensor | None = None) -> Tensor:
    """`frame + gain · planar(patches)`; on the CPU and without a gradient in one pass, with the
    same result.

    Args:
        frame: `(B, 3, H, W)`.
        patches: `(B, 3·s², H / s, W / s)` in the order of `planar`, any float type; fastest
            channels last.
        gain: `(B, 1, 1, 1)`; None: 1.

    Returns:
        `(B, 3, H, W)`, float32 where `frame` is.

    Raises:
        CodecError: the patches do not fit the frame, or there is not one gain a sample.
    """
    side = _side(frame, patches, gain)
    if frame.dtype == torch.float32 and by_kernel(
        frame, patches, *([] if gain is None else [gain])
    ):
        return _assemble(frame, patches, side, gain)
    if trains_on_cpu(frame, patches, *([] if gain is None else [gain])):
        return _Assembled.apply(frame, patches, side, gain, None, None)
    correction = planar(patches, side).float()
    return frame + (correction if gain is None else correction * gain)


def add_gated_patches(
    frame: Tensor, patches: Tensor, gain: Tensor, kept: Tensor, gate: Tensor
) -> Tensor:
    """`add_patches` where the gate is 1, `kept` where it is 0, and between the two in between.

    Args:
        frame, patches, gain: as for `add_patches`.
        kept: `(B, 3, H, W)`.
        gate: `(B, 1, h, w)` in 0..1, for cells of H / h × W / w pixels.

    Raises:
        CodecError: the patches do not fit the frame, or there is not one gain a sample.
    """
    side, cell = _side(frame, patches, gain), frame.shape[-1] // gate.shape[-1]
    whole = cell % side == 0 and frame.shape[-2:] == (gate.shape[-2] * cell, gate.shape[-1] * cell)
    single = {frame.dtype, kept.dtype, gate.dtype} == {torch.float32}
    if (
        whole
        and single
        and kept.shape == frame.shape
        and by_kernel(frame, patches, gain, kept, gate)
    ):
        return _assemble(frame, patches, side, gain, kept, gate)
    if whole and kept.shape == frame.shape and trains_on_cpu(frame, patches, gain, kept, gate):
        return _Assembled.apply(frame, patches, side, gain, kept, gate)
    gate = F.interpolate(gate, frame.shape[-2:], mode="nearest")
    return kept + gate * (add_patches(frame, patches, gain) - kept)


def planar(patches: Tensor, side: int) -> Tensor:
    """`(B, 3·side², h, w)` -> `(B, 3, h·side, w·side)`, contiguous: as `F.pixel_shuffle`, which is
    slower channels last.
    """
    batch, _, height, width = patches.shape
    cells = patches.unflatten(1, (3, side, side)).permute(0, 1, 4, 2, 5, 3)
    return cells.reshape(batch, 3, height * side, width * side)


def _side(frame: Tensor, patches: Tensor, gain: Tensor | None) -> int:
    side = math.isqrt(patches.shape[1] // 3)
    if (
        frame.shape != (len(patches), 3, patches.shape[2] * side, patches.shape[3] * side)
        or 3 * side**2 != patches.shape[1]
    ):
        shapes = f"patches {tuple(patches.shape)} do not fit frame {tuple(frame.shape)}"
        raise CodecError(f"add_patches: {shapes}; give (B, 3·s², H / s, W / s)")
    if gain is not None and gain.shape != (len(frame), 1, 1, 1):
        raise CodecError(
            f"add_patches: gain {tuple(gain.shape)} given; expected {(len(frame), 1, 1, 1)}"
        )
    return side


def _assemble(
    frame: Tensor,
    patches: Tensor,
    side: int,
    gain: Tensor | None,
    kept: Tensor | None = None,
    gate: Tensor | None = None,
) -> Tensor:
    return _fill(_by_patch(frame, patches, side, gain, kept, gate), frame.shape, gate is not None)


def _by_patch(
    frame: Tensor,
    patches: Tensor,
    side: int,
    gain: Tensor | None,
    kept: Tensor | None,
    gate: Tensor | None,
) -> tuple[Tensor, ...]:
    """Frame, patches, gain, kept and gate as the kernels take them, but for bfloat16."""
    batch, _, tall, wide = patches.shape
    patches = (
        patches.detach().permute(0, 2, 3, 1).contiguous().view(batch, tall, wide, 3, side, side)
    )
    frame = frame.detach().contiguous().view(batch, 3, tall, side, wide, side)
    gain = frame.new_ones(batch) if gain is None else gain.detach().float().flatten().contiguous()
    kept = frame if kept is None else kept.detach().contiguous().view(frame.shape)
    cells = frame.new_ones(batch, 1, 1) if gate is None else gate.detach()[:, 0].contiguous()
    return frame, patches, gain, kept, cells


def _fill(given: tuple[Tensor, ...], shape: torch.Size, gated: bool) -> Tensor:
    """The frame that is made of what `_by_patch` gives."""
    frame, patches, *others = given
    batch, tall, side = len(frame), frame.shape[2], frame.shape[3]
    bits = patches.dtype == torch.bfloat16
    patches = patches.view(torch.uint16) if bits else patches.float()
    made = torch.empty_like(frame)
    kernel = patches_kernel(side, bits, gated)
    arrays = tuple(tensor.numpy() for tensor in (frame, patches, *others, made))
    in_bands(lambda first, end: kernel(*arrays, first, end), batch * tall)
    return made.view(shape)


class _Assembled(torch.autograd.Function):
    """`add_patches` and, with a gate, `add_gated_patches` by kernels, in float32."""

    @staticmethod
    def forward(
        ctx,
        frame: Tensor,
        patches: Tensor,
        side: int,
        gain: Tensor | None,
        kept: Tensor | None,
        gate: Tensor | None,
    ) -> Tensor:
        given = _by_patch(frame, patches, side, gain, kept, gate)
        ctx.gated = gate is not None
        ctx.save_for_backward(*given)
        return _fill(given, frame.shape, ctx.gated)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        frame, patches, gain, kept, cells = ctx.saved_tensors
        batch, side, rows = len(frame), frame.shape[3], cells.shape[1]
        if not ctx.gated:  # rows of patches are independent then
            rows = frame.shape[2]
            cells = cells.expand(batch, rows, frame.shape[4]).contiguous()
        given = gradient.contiguous().view(frame.shape)
        of_frame, of_kept = (torch.empty_like(frame) if ctx.gated else frame for _ in range(2))
        of_patches, of_gate = torch.empty_like(patches), torch.empty_like(cells)
        of_gain = gain.new_empty(batch, rows)
        read = given, frame, patches, gain, kept, cells
        tensors = *read, of_frame, of_patches, of_kept, of_gain, of_gate
        kernel = patches_backward_kernel(side, ctx.gated)
        in_bands(partial(kernel, *(tensor.numpy() for tensor in tensors)), batch * rows)
        of_patches = of_patches.flatten(3).permute(0, 3, 1, 2)
        wanted = ctx.needs_input_grad
        return (
            of_frame.view(gradient.shape) if ctx.gated else gradient,
            of_patches,
            None,
            of_gain.sum(1).view(batch, 1, 1, 1) if wanted[3] else None,
            of_kept.view(gradient.shape) if wanted[4] else None,
            of_gate[:, None] if wanted[5] else None,
        )


@cache
def patches_kernel(side: int, bits: bool, gated: bool) -> Callable:
    """The kernel of `add_patches`, made for one `side` so that its inner loops have a fixed length.

    `kernel(frame, patches, gain, kept, gate, made, first, end)` fills rows of patches `first .. end
    - 1`, counted over the batch; `frame`, `kept` and `made` are `(B, 3, h, side, w, side)` float32,
    `patches` `(B, h, w, 3, side, side)` float32, or with `bits` bfloat16 seen as uint16, `gain` is
    `(B,)` and `gate` `(B, h / n, w / n)` float32: a value for n × n patches. `kept` and `gate` are
    used if `gated`.
    """

    @njit(cache=True, nogil=True)
    def assemble(frame, patches, gain, kept, gate, made, first, end):
        tall, wide = patches.shape[1:3]
        cell = wide // gate.shape[2]
        for line in range(first, end):
            b, row = line // tall, line % tall
            for c in range(3):
                for i in range(side):
                    for column in range(wide):
                        opened = gate[b, row // cell, column // cell] if gated else gain[b]
                        for j in range(side):
                            value = patches[b, row, column, c, i, j]
                            value = _widen(value) if bits else np.float32(value)
                            value = frame[b, c, row, i, column, j] + value * gain[b]
                            if gated:
                                other = kept[b, c, row, i, column, j]
                                value = other + opened * (value - other)
                            made[b, c, row, i, column, j] = value

    return assemble


@cache
def patches_backward_kernel(side: int, gated: bool) -> Callable:
    """What `patches_kernel` passes back.

    `kernel(given, frame, patches, gain, kept, gate, of_frame, of_patches, of_kept, of_gain,
    of_gate, first, end)` fills rows of gates `first .. end - 1`, counted over the batch. `given` is
    the gradient of `made`; gradients have the shape of what they belong to, but `of_gain` `(B, h /
    n)`, a value a row; all are float32. Without `gated`, `of_frame` is not filled: it is `given`.
    """

    @njit(cache=True, nogil=True)
    def pass_back(
        given,
        frame,
        patches,
        gain,
        kept,
        gate,
        of_frame,
        of_patches,
        of_kept,
        of_gain,
        of_gate,
        first,
        end,
    ):
        tall, wide = patches.shape[1:3]
        rows, columns = gate.shape[1:]
        cell = wide // columns
        for line in range(first, end):
            b, top = line // rows, line % rows
            of_row = np.float64(0)
            for left in range(columns):
                opened, of_opened = gate[b, top, left], np.float64(0)
                for row in range(top * cell, top * cell + cell):
                    for column in range(left * cell, left * cell + cell):
                        for c in range(3):
                            for i in range(side):
                                for j in range(side):
                                    slope = given[b, c, row, i, column, j]
                                    value = patches[b, row, column, c, i, j]
                                    if gated:
                                        other = kept[b, c, row, i, column, j]
                                        made = frame[b, c, row, i, column, j] + value * gain[b]
                                        of_opened += slope * (made - other)
                                        through = opened * slope
                                        of_kept[b, c, row, i, column, j] = slope - through
                                        of_frame[b, c, row, i, column, j] = through
                                        slope = through
                                    of_row += slope * value
                                    of_patches[b, row, column, c, i, j] = slope * gain[b]
                if gated:
                    of_gate[b, top, left] = of_opened
            of_gain[b, top] = of_row

    return pass_back


@njit(inline="always")
def _widen(bits):
    """A bfloat16, given as its bits, as float32."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)
