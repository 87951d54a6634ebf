"""What is handed from frame to frame (references) and from network to network (a context)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

from torch import Tensor

from codec.errors import CodecError

MOST_REFERENCES = 4


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What both sides keep of a decoded frame.

    Attributes:
        frame: `(B, 3, H, W)` the reconstruction in the codec's colours, padded, float32.
        features: `(B, F, H / 8, W / 8)` what the synthesis knew beyond the pixels.
        latent: `(B, C, h, w)` the frame's coded latent, or None after an intra frame.
        motion: `(B, M, h, w)` the frame's coded motion, or None.
        quality: `(B,)` the index 0..63 that the frame was coded at, or None where nobody said.
        time: display time in frames; distances between frames follow from it.
        intra: it was coded without a reference.
        made: what networks made of the frame without gradients and may use again (its phase
            planes), by name. A copy that is changed starts with nothing.
    """

    frame: Tensor
    features: Tensor
    latent: Tensor | None = None
    motion: Tensor | None = None
    quality: Tensor | None = None
    time: int = 0
    intra: bool = False
    made: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def detach(self) -> Reference:
        """The same values without a history."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        tensors: dict[str, Any] = {
            name: value.detach() for name, value in values.items() if isinstance(value, Tensor)
        }
        return replace(self, **tensors)


@dataclass(frozen=True, kw_only=True)
class References:
    """The decoded frames that one frame may be predicted from, in order of preference; at least
    one.

    Immutable: `push` and `detach` give new buffers.

    Attributes:
        frames: of any display times, before or after `time`; the first is the one that networks
            with one reference use.
        time: display time of the frame to be predicted.
    """

    frames: tuple[Reference, ...]
    time: int

    def __post_init__(self) -> None:
        if not self.frames:
            raise CodecError("references: none given; a predicted frame needs one at the least")

    def __iter__(self) -> Iterator[Reference]:
        return iter(self.frames)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Reference:
        return self.frames[index]

    @property
    def newest(self) -> Reference:
        """The first of them: where a frame's latent and motion are predicted from."""
        return self.frames[0]

    @property
    def distances(self) -> tuple[int, ...]:
        """Frames from each reference to the frame to be predicted; negative where the reference
        lies in the future.
        """
        return tuple(self.time - reference.time for reference in self.frames)

    def push(self, reference: Reference, limit: int) -> References:
        """With `reference` in front, `limit` frames at the most; what is predicted next is the
        frame after it.
        """
        return References(frames=(reference, *self.frames)[:limit], time=reference.time + 1)

    def detach(self) -> References:
        """The same values without a history."""
        return replace(self, frames=tuple(reference.detach() for reference in self.frames))


@dataclass(frozen=True, kw_only=True)
class CodedFrame:
    """What coding one frame gave.

    Attributes:
        reference: the frame as later ones are predicted from it.
        references: the buffer with it in front.
        prediction: `(B, 3, H, W)` what the frame was predicted to be; None for an intra frame.
        warped_uncoded: as `Context.warped_uncoded`, or None.
    """

    reference: Reference
    references: References
    prediction: Tensor | None = None
    warped_uncoded: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a motion network offers the residual network.

    Attributes:
        prediction: `(B, 3, H, W)` of the frame, as `Reference.frame`.
        features: `(B, F, H / 8, W / 8)`.
        motion: what was coded, for the next frame's motion, or None.
        warped: `(B, 3, H, W)` references moved and otherwise untouched, or None.
        motion_mask: `(B, 1, h, w)` 1 where what was warped comes from elsewhere, 0 where it stood
            still; or None.
        warped_uncoded: `(B, 3, H, W)` the reference moved as motion was estimated, before the
            estimate was coded; of networks that learn to estimate, where no stream is made.
        blocks: `(B, 1, H / 8, W / 8)` int64, the size of the motion block that holds each cell of
            8×8 pixels, 0..3 from 64 to 8 pixels, the same on both sides; of networks that code
            blocks.
    """

    prediction: Tensor
    features: Tensor
    motion: Tensor | None = None
    warped: Tensor | None = None
    motion_mask: Tensor | None = None
    warped_uncoded: Tensor | None = None
    blocks: Tensor | None = None
