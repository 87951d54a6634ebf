"""From PyAV's decoded frames to planes and to RGB."""

from collections.abc import Sequence

import av
import numpy as np
import torch
from torch import Tensor

from data.colour import Colour, planes_to_rgb

PLANAR = ("yuv420p", "yuvj420p")
Planes = tuple[Tensor, Tensor, Tensor]


def frames_to_planes(frames: Sequence[av.VideoFrame]) -> Planes | None:
    """The decoder's own 8-bit 4:2:0 planes.

    Returns:
        uint8 Y `(T, H, W)`, U and V `(T, ceil(H/2), ceil(W/2))`; None when the frames are of another format.
    """
    if any(frame.format.name not in PLANAR for frame in frames):
        return None
    y, u, v = (torch.from_numpy(np.stack([_plane(frame.planes[i]) for frame in frames])) for i in range(3))
    return y, u, v


def frames_to_rgb(frames: Sequence[av.VideoFrame], colour: Colour) -> Tensor:
    """uint8 `(T, 3, H, W)`: our conversion for 8-bit 4:2:0, ffmpeg's (told the matrix and range) for other formats."""
    planes = frames_to_planes(frames)
    if planes is not None:
        return planes_to_rgb(*planes, colour)
    pictures = np.stack([_by_decoder(frame, colour) for frame in frames])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()


def _plane(plane: av.video.plane.VideoPlane) -> np.ndarray:
    """A plane without the padding at the end of its lines, `(height, width)` uint8."""
    lines = np.frombuffer(plane, np.uint8)[: plane.line_size * plane.height].reshape(plane.height, plane.line_size)
    return lines[:, : plane.width]


def _by_decoder(frame: av.VideoFrame, colour: Colour) -> np.ndarray:
    if frame.format.is_rgb:
        return frame.to_ndarray(format="rgb24")
    return frame.to_ndarray(
        format="rgb24",
        src_colorspace="ITU709" if colour.matrix == "bt709" else "ITU601",
        src_color_range="JPEG" if colour.full_range else "MPEG",
    )
