"""What evaluation asks of a codec, learned or standard: code a clip to a file, and decode that
file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from codec.errors import CodecError
from data.io.source_clip import SourceClip

Planes = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class CodedResult:
    """One clip coded once: a real file, and the frames decoded from that file.

    Attributes:
        file: its suffix says what it is; evaluation keeps it under a name of its own.
        bytes: the size of `file` on disk.
        decoded: `(T, 3, H, W)` uint8 RGB.
        encode_seconds, decode_seconds: wall time.
        extra: goes into the point as it is (such as the command) and holds JSON values only.
        planes: decoded 4:2:0 planes of the original size, uint8; None for codecs that give RGB.
        frame_bytes: of each frame in the order of showing; None where they are not known.
    """

    file: Path
    bytes: int
    decoded: Tensor
    encode_seconds: float
    decode_seconds: float
    extra: dict[str, Any] = field(default_factory=dict)
    planes: Planes | None = None
    frame_bytes: list[int] | None = None


@dataclass(frozen=True)
class Decoded:
    """What a file decodes to: uint8 RGB `(T, 3, H, W)`, and the 4:2:0 planes where the codec gives
    planes.
    """

    rgb: Tensor
    planes: Planes | None = None


def check_intra_period(name: str, period: int) -> None:
    """Raise CodecError where an intra period is neither -1 nor positive."""
    if period != -1 and period < 1:
        raise CodecError(
            f"{name}: intra_period: {period}; give -1 (only the first frame) or 1 and more"
        )


class Coder(Protocol):
    """A codec with its settings; `name` is what tables call it.

    `qualities` are in the codec's own scale (QP, quality index). `tunes` are the curves it offers:
    a standard codec is tuned for the metric it is scored in, a learned one offers `(None,)`. A
    coder is pickled: other processes code with it.
    """

    name: str
    qualities: Sequence[int]
    tunes: Sequence[str | None]

    def settings(self) -> dict[str, Any]:
        """What a reader needs to repeat the numbers, as JSON values, without any path of this
        machine.

        Files are kept under these settings: whatever changes them must be in here, versions of
            libraries too.
        """
        ...

    def code(self, source: SourceClip, quality: int, tune: str | None, folder: Path) -> CodedResult:
        """Code `source` into a file in `folder` and decode that file.

        Raises:
            CodecError: the codec failed, or what was decoded is not what it should be.
        """
        ...


@runtime_checkable
class Decoder(Protocol):
    """A coder that can also decode a file it wrote earlier; the file of one that cannot is coded
    again to be scored anew.
    """

    def decode(self, file: Path, source: SourceClip) -> Decoded:
        """The frames of a file that this coder made of `source`.

        Raises:
            CodecError: the file cannot be decoded, or to other frames than were coded.
        """
        ...


@runtime_checkable
class Measurable(Protocol):
    """A coder that can say what coding costs."""

    def complexity(self, source: SourceClip) -> dict[str, Any]:
        """What coding `source` costs; nothing else runs meanwhile.

        Returns:
            `parameters`, `encode_kmac` and `decode_kmac` (thousand multiply-accumulates a pixel of
            a predicted frame; None for codecs without networks), `encode_fps`, `decode_fps`,
            `encode_memory_mb`, `decode_memory_mb` (MiB resident at the most), `threads`, `size`,
            `frames`, `quality`.

        Raises:
            CodecError: the codec failed.
        """
        ...
