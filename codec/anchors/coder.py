"""What evaluation asks of a codec, learned or standard: code a clip to a file, and decode that file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from data.source import SourceClip


@dataclass(frozen=True)
class CodedResult:
    """One clip coded once: a real file, and the frames decoded from that file.

    `bytes` is the size of `file` on disk; `decoded` is `(T, 3, H, W)` uint8 RGB; seconds are wall time. `extra` goes
    into the point as it is (such as the command) and holds JSON values only.
    """

    file: Path
    bytes: int
    decoded: Tensor
    encode_seconds: float
    decode_seconds: float
    extra: dict[str, Any] = field(default_factory=dict)


class Coder(Protocol):
    """A codec with its settings; `name` is what tables call it.

    `qualities` are in the codec's own scale (QP, quality index). `tunes` are the curves it offers: a standard codec is
    tuned for the metric it is scored in, a learned one offers `(None,)`.
    """

    name: str
    qualities: Sequence[int]
    tunes: Sequence[str | None]

    def settings(self) -> dict[str, Any]:
        """What a reader needs to repeat the numbers, as JSON values, without any path of this machine."""
        ...

    def code(self, source: SourceClip, quality: int, tune: str | None, folder: Path) -> CodedResult:
        """Code `source` into a file in `folder` and decode that file.

        Raises:
            CodecError: the codec failed, or what was decoded is not what it should be.
        """
        ...
