"""Corvid: networks, streams, training and evaluation of neural video codecs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from codec.stream import Encoding, Packet, StreamHeader
    from codec.video import VideoCodec

__version__ = "0.1.0"


def load(where: str | Path) -> VideoCodec:
    """The trained codec of a checkpoint file or a run folder, on the CPU.

    Raises:
        CodecError: there is none, or it is damaged.
    """
    from codec.checkpoint import load_codec

    return load_codec(where)


def encode(
    model: VideoCodec, frames: Iterable[Tensor], fps: Fraction | float = 25, **how: Any
) -> Encoding:
    """Code frames as they come: a header, and an iterator of packets.

    Args:
        model: what `load` gave.
        frames: uint8 `(3, H, W)` RGB each, at least one.
        fps: frames a second.
        how: `quality`, `intra_period` and others of `codec.stream.Encoder`.
    """
    from codec.stream import Encoding

    return Encoding(model, frames, fps, **how)


def decode(
    model: VideoCodec, header: StreamHeader, packets: Iterable[Packet], **how: Any
) -> Iterator[Tensor]:
    """Decode packets as they come: uint8 `(3, H, W)` RGB each, the encoder's bit by bit.

    Args:
        model: the codec that wrote them.
        header: of their stream.
        packets: the first of them intra.
        how: others of `codec.stream.Decoder`.
    """
    from codec.stream import Decoder

    return Decoder(model, header, **how).decode_all(packets)
