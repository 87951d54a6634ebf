"""The one rate knob: a quality index 0..63 a sample; the quality of each frame, and lambda, follow
from it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from codec.device import answers_late
from codec.errors import CodecError

QUALITIES = 64
MOST_OFFSETS = 64  # of a pattern


def check_quality(quality: int) -> int:
    """Return `quality` if it is an integer in 0..63.

    Raises:
        CodecError: it is not.
    """
    if isinstance(quality, bool) or not isinstance(quality, int) or not 0 <= quality < QUALITIES:
        raise CodecError(
            f"quality: {quality!r} given; expected an integer from 0 (smallest file) to "
            f"{QUALITIES - 1}"
        )
    return quality


def check_qualities(quality: Tensor) -> None:
    """Raise CodecError where a batch's qualities `(B,)` are not all integers in 0..63.

    A GPU is not waited for: it checks the values when it comes to them, and a wrong one is an error
    of its own (RuntimeError) at a later operation.
    """
    expected = f"expected integers from 0 (smallest file) to {QUALITIES - 1}"
    if quality.is_floating_point():
        raise CodecError(f"quality: {quality.dtype} given; {expected}")
    inside = ((quality >= 0) & (quality < QUALITIES)).all()
    if answers_late(quality.device):
        torch._assert_async(inside, f"quality: {expected}")
    elif not inside:
        raise CodecError(f"quality: {quality.tolist()} given; {expected}")


def log_interpolate(low: float, high: float, quality: Tensor) -> Tensor:
    """Interpolate between `low` (quality 0) and `high` (quality 63), evenly in the logarithm.

    Args:
        low, high: positive ends.
        quality: `(B,)` integer or float indices.

    Returns:
        `(B,)` float32.
    """
    share = quality.to(torch.float32) / (QUALITIES - 1)
    return torch.exp(math.log(low) + share * math.log(high / low))


@dataclass(frozen=True)
class LambdaRange:
    """What distortion weighs against bits: `bpp + lambda · MSE`, the MSE over RGB in units of 8-bit
        levels squared.

    Attributes:
        low, high: at quality 0 and 63; between them it is interpolated evenly in the logarithm.

    Raises:
        CodecError: not 0 < low <= high.
    """

    low: float = 0.003
    high: float = 0.4

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high:
            raise CodecError(
                f"codec.lambda_low, lambda_high: {self.low}, {self.high}; expected 0 < low <= high"
            )

    def at(self, quality: Tensor) -> Tensor:
        """Lambda of the same shape as `quality`, any shape, float32."""
        return log_interpolate(self.low, self.high, quality)

    @property
    def middle(self) -> float:
        """In the middle of the range."""
        return (self.low * self.high) ** 0.5


@dataclass(frozen=True)
class QualityPattern:
    """How the quality of frames differs from that of their clip, by position.

    Later frames are predicted from earlier ones: what is spent on some of them pays in all (in HM's
    low delay one frame in four is coded better).

    Attributes:
        intra: what is added to the clip's quality for intra frames.
        predicted: the same for predicted frames, one after another from the intra frame on,
            repeated.

    Raises:
        CodecError: no offset for predicted frames, more than 64, or one that is not an integer in
            -63..63.
    """

    intra: int = 0
    predicted: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        offsets = (self.intra, *self.predicted)
        if not 1 < len(offsets) <= 1 + MOST_OFFSETS or not all(map(_is_offset, offsets)):
            raise CodecError(
                f"codec.quality_offsets: intra {self.intra!r}, predicted {_shown(self.predicted)}; "
                f"expected 1 to {MOST_OFFSETS} offsets for predicted frames, all of them integers "
                f"from {1 - QUALITIES} to {QUALITIES - 1}"
            )

    @classmethod
    def of(cls, offsets: Mapping[str, Any] | None) -> "QualityPattern":
        """The pattern that a config describes, with `intra`, `predicted` or less; None: zeros."""
        offsets = dict(offsets or {})
        predicted = offsets.get("predicted", (0,))
        if unknown := set(offsets) - {"intra", "predicted"}:
            known = "known are intra and predicted"
            raise CodecError(f"codec.quality_offsets: unknown fields {sorted(unknown)}; {known}")
        if isinstance(predicted, str) or not isinstance(predicted, Sequence):
            remedy = "give a list, as [-4, -4, -4, 3]"
            raise CodecError(f"codec.quality_offsets.predicted: {predicted!r} given; {remedy}")
        return cls(offsets.get("intra", 0), tuple(predicted))

    @classmethod
    def parse(cls, text: str) -> "QualityPattern":
        """The inverse of `str`: `INTRA:PREDICTED,…`, for example `4:-4,-4,-4,3`."""
        intra, _, predicted = text.partition(":")
        try:
            return cls(int(intra), tuple(int(offset) for offset in predicted.split(",")))
        except ValueError:
            expected = "expected INTRA:PREDICTED,…, for example 4:-4,-4,-4,3"
            raise CodecError(f"quality offsets: {text!r} given; {expected}") from None

    def __str__(self) -> str:
        return f"{self.intra}:{','.join(map(str, self.predicted))}"

    @property
    def flat(self) -> bool:
        """All frames have the quality of their clip."""
        return not self.intra and not any(self.predicted)

    def offset(self, position: int) -> int:
        """Of a frame that lies so many frames after the last intra frame; 0 is the intra frame
        itself.
        """
        return self.predicted[(position - 1) % len(self.predicted)] if position else self.intra

    def at(self, quality: Tensor, position: int) -> Tensor:
        """The frame's own quality `(B,)`, clamped to 0..63."""
        return (quality + self.offset(position)).clamp(0, QUALITIES - 1)

    def by_frame(self, quality: Tensor, positions: Sequence[int]) -> list[Tensor]:
        """The frames' own qualities; those of one offset share a tensor."""
        offsets = [self.offset(position) for position in positions]
        own = {offset: (quality + offset).clamp(0, QUALITIES - 1) for offset in set(offsets)}
        return [own[offset] for offset in offsets]

    def qualities(self, quality: int, frames: int, intra_period: int) -> tuple[int, ...]:
        """The own quality of each frame of a clip, clamped to 0..63.

        `intra_period` is as `VideoCodec.forward` has it.
        """
        positions = (t % intra_period if intra_period > 0 else t for t in range(frames))
        return tuple(self.quality_at(quality, position) for position in positions)

    def quality_at(self, quality: int, position: int) -> int:
        """`at` for one number."""
        return min(max(quality + self.offset(position), 0), QUALITIES - 1)


def _is_offset(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < QUALITIES


def _shown(offsets: tuple[object, ...]) -> str:
    return str(list(offsets)) if len(offsets) <= MOST_OFFSETS else f"{len(offsets)} of them"
