"""From PyAV's decoded frames to planes and to RGB."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import av
import av.logging
import numpy as np
import torch
from torch import Tensor

from data.colour import SAMPLES, Colour, picture_to_rgb
from data.crops import Window

STRICT = {"err_detect": "crccheck+bitstream+buffer+careful+explode"}  # of a decoder: raise, conceal nothing
PLANAR = ("yuv420p", "yuvj420p")
PLANAR_10 = "yuv420p10le"
BITS = {**dict.fromkeys((*PLANAR, "yuv444p", "yuvj444p"), 8), **dict.fromkeys((PLANAR_10, "yuv444p10le"), 10)}
Planes = tuple[Tensor, Tensor, Tensor]


@contextmanager
def decoder_errors() -> Iterator[list[tuple[int, str, str]]]:
    """ffmpeg's messages of this thread inside the `with`, errors and worse: of damage that it conceals, they are the only sign.

    A decoder must be told `thread_count = 1`, or its messages are other threads'.
    """
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture(True) as messages:
            yield messages
    finally:
        av.logging.set_level(before)


def frames_to_planes(frames: Sequence[av.VideoFrame]) -> Planes | None:
    """The decoder's own 4:2:0 planes, those of 10 bits rounded to 8.

    Returns:
        uint8 Y `(T, H, W)`, U and V `(T, ceil(H/2), ceil(W/2))`; None when the frames are of another format.
    """
    if any(frame.format.name not in (*PLANAR, PLANAR_10) for frame in frames):
        return None
    lines = [[_lines(plane, BITS[frame.format.name])[:, : plane.width] for plane in frame.planes] for frame in frames]
    pictures = [[as_bytes(plane) for plane in planes] for planes in lines]
    y, u, v = (torch.from_numpy(np.stack(planes)) for planes in zip(*pictures, strict=True))
    return y, u, v


def as_bytes(samples: np.ndarray) -> np.ndarray:
    """Samples of 8 bits (uint8) as they are, those of 10 (uint16) rounded to 8 as reference decoders do it."""
    return samples if samples.dtype == np.uint8 else np.minimum((samples + 2) >> 2, 255).astype(np.uint8)


def frames_to_rgb(frames: Sequence[av.VideoFrame], colour: Colour, window: Window | None = None) -> Tensor:
    """Our conversion for 8-bit and 10-bit 4:2:0 and 4:4:4, ffmpeg's (told the matrix and range) for other formats.

    Args:
        frames: at least one, all of one size.
        colour: matrix and range of their planes.
        window: top, left, height, width to convert, inside the picture; None is all of it.

    Returns:
        uint8 `(T, 3, H, W)`, or `(T, 3, height, width)` of the window.
    """
    window = window or (0, 0, frames[0].height, frames[0].width)
    top, left, height, width = window
    rgb = np.empty((len(frames), 3, height, width), np.uint8)
    for frame, out in zip(frames, rgb, strict=True):
        bits = BITS.get(frame.format.name)
        if bits is None:
            out[:] = _by_decoder(frame, colour)[top : top + height, left : left + width].transpose(2, 0, 1)
        else:
            chroma = frame.planes[1]
            half = (chroma.height, chroma.width) if "420" in frame.format.name else None
            picture_to_rgb([_lines(plane, bits) for plane in frame.planes], half, colour, bits, window, out)
    return torch.from_numpy(rgb)


def _lines(plane: av.video.plane.VideoPlane, bits: int) -> np.ndarray:
    """A plane with the padding at the end of its lines, `(height, width or more)`, without copying."""
    kind = np.dtype(SAMPLES[bits])
    columns = plane.line_size // kind.itemsize
    return np.frombuffer(plane, kind)[: plane.height * columns].reshape(plane.height, columns)


def _by_decoder(frame: av.VideoFrame, colour: Colour) -> np.ndarray:
    """`(H, W, 3)` uint8."""
    if frame.format.is_rgb:
        return frame.to_ndarray(format="rgb24")
    return frame.to_ndarray(
        format="rgb24",
        src_colorspace="ITU709" if colour.matrix == "bt709" else "ITU601",
        src_color_range="JPEG" if colour.full_range else "MPEG",
    )
