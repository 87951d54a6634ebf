"""Frames as the networks see them: luma and colour differences, padded to whole blocks."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.errors import CodecError

SMALLEST_SIDE = 16
# BT.709 luma weights; the colour differences are scaled to -0.5..0.5 and luma is centred, so that zero is mid-grey.
_RED, _GREEN, _BLUE = 0.2126, 0.7152, 0.0722


def rgb_to_ycc(rgb: Tensor) -> Tensor:
    """RGB in 0..1 `(…, 3, H, W)` -> luma and colour differences, each in -0.5..0.5 (ITU-R BT.709, full range)."""
    red, green, blue = rgb.unbind(-3)
    luma = _RED * red + _GREEN * green + _BLUE * blue
    return torch.stack([luma - 0.5, (blue - luma) / (2 - 2 * _BLUE), (red - luma) / (2 - 2 * _RED)], -3)


def ycc_to_rgb(ycc: Tensor) -> Tensor:
    """The inverse of `rgb_to_ycc`; values are not clamped."""
    luma, cb, cr = ycc.unbind(-3)
    luma = luma + 0.5
    red = luma + (2 - 2 * _RED) * cr
    blue = luma + (2 - 2 * _BLUE) * cb
    return torch.stack([red, (luma - _RED * red - _BLUE * blue) / _GREEN, blue], -3)


@dataclass(frozen=True)
class Colours:
    """The colours that a codec's networks work in.

    Attributes:
        from_rgb, to_rgb: between RGB in 0..1 and these, `(…, 3, H, W)`.
        limits: smallest and largest value of a reference frame, or None where the networks were made to do without.
    """

    from_rgb: Callable[[Tensor], Tensor]
    to_rgb: Callable[[Tensor], Tensor]
    limits: tuple[float, float] | None

    def limit(self, frame: Tensor) -> Tensor:
        """Keep a reconstruction within the limits."""
        return frame if self.limits is None else torch.clamp(frame, *self.limits)


COLOURS = {
    "ycc": Colours(rgb_to_ycc, ycc_to_rgb, (-0.5, 0.5)),
    "rgb": Colours(lambda rgb: rgb, lambda rgb: rgb, None),
}


def check_size(height: int, width: int) -> None:
    """Raise CodecError where a frame is smaller than 16×16."""
    if min(height, width) < SMALLEST_SIDE:
        raise CodecError(f"frame size: {width}×{height} given; the smallest that can be coded is {SMALLEST_SIDE}×{SMALLEST_SIDE}")


def padded(size: int, multiple: int) -> int:
    """`size` rounded up to a multiple."""
    return -(-size // multiple) * multiple


def pad_frames(frames: Tensor, multiple: int) -> Tensor:
    """Repeat the right and bottom border of `(B, C, H, W)` until both sides are multiples of `multiple`."""
    height, width = frames.shape[-2:]
    return F.pad(frames, (0, padded(width, multiple) - width, 0, padded(height, multiple) - height), mode="replicate")
