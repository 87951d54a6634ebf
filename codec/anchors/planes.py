"""4:2:0 planes at the door of a standard codec: from a source, to bytes, and back."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from codec.errors import CodecError
from data.io.color import WEIGHTS, ColorSpace

Planes = tuple[Tensor, Tensor, Tensor]


def pad_to_even(planes: Planes) -> Planes:
    """Repeat the last row and column of the luma so that both sides are even.

    Args:
        planes: Y `(T, H, W)`, U and V `(T, ceil(H/2), ceil(W/2))`, uint8. The chroma is as large as
            it needs to be.
    """
    luma, *chroma = planes
    height, width = luma.shape[-2:]
    rows = torch.arange(height + height % 2).clamp(max=height - 1)
    columns = torch.arange(width + width % 2).clamp(max=width - 1)
    return luma[:, rows][:, :, columns], chroma[0], chroma[1]


def to_bytes(planes: Planes, bits: int = 8) -> bytes:
    """Frame by frame Y, U, V of even size, as ffmpeg's rawvideo `yuv420p`; of 10 bits as
    `yuv420p10le`, four times the value.
    """
    table = np.concatenate([plane.numpy().reshape(len(plane), -1) for plane in planes], axis=1)
    return (table if bits == 8 else table.astype("<u2") << (bits - 8)).tobytes()


def from_bytes(raw: bytes, frames: int, height: int, width: int) -> Planes:
    """The planes of an original size out of rawvideo of the padded size; the padding is cropped.

    Raises:
        CodecError: the bytes are not this many frames.
    """
    half = ((height + 1) // 2, (width + 1) // 2)
    luma = 4 * half[0] * half[1]
    frame = luma * 3 // 2
    if len(raw) != frames * frame:
        raise CodecError(
            f"decoded {len(raw) / frame:g} frames of {width}x{height}, {frames} were encoded"
        )
    table = torch.from_numpy(np.frombuffer(raw, np.uint8).reshape(frames, frame).copy())
    y = table[:, :luma].reshape(frames, 2 * half[0], 2 * half[1])[:, :height, :width]
    u, v = table[:, luma:].reshape(frames, 2, *half).unbind(dim=1)
    return y, u, v


def rgb_to_planes(rgb: Tensor, colour: ColorSpace) -> Planes:
    """4:2:0 planes of frames that have none, in the matrix and range of `colour`.

    Args:
        rgb: `(T, 3, H, W)` uint8.

    Returns:
        Y `(T, H, W)`, U and V `(T, ceil(H/2), ceil(W/2))`, uint8; chroma at MPEG-2's siting, where
        `planes_to_rgb` expects it: weights 1 2 1 along the line around an even column, the mean of
        two lines.
    """
    frames = [frame_to_planes(frame.float(), colour) for frame in rgb]
    y, u, v = (
        torch.stack(plane).round().clamp(0, 255).to(torch.uint8)
        for plane in zip(*frames, strict=True)
    )
    return y, u, v


def frame_to_planes(rgb: Tensor, colour: ColorSpace) -> Planes:
    """Planes of one frame `(3, H, W)`, float in 0..255, not rounded.

    Source: ITU-R BT.601-7 and BT.709-6, the luma weights and the quantisation of both.
    """
    red_weight, blue_weight = WEIGHTS[colour.matrix]
    luma_scale, chroma_scale, offset = (
        (1, 1, 0) if colour.full_range else (219 / 255, 224 / 255, 16)
    )
    red, green, blue = rgb
    luma = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    chroma = torch.stack(
        [(blue - luma) / (2 - 2 * blue_weight), (red - luma) / (2 - 2 * red_weight)]
    )
    height, width = luma.shape
    around = F.pad(chroma[None], (1, 1 + width % 2, 0, height % 2), mode="replicate")[0]
    lines = (around[:, 0::2] + around[:, 1::2]) / 2
    u, v = (lines[..., :-2:2] + 2 * lines[..., 1:-1:2] + lines[..., 2::2]) / 4 * chroma_scale + 128
    return luma * luma_scale + offset, u, v
