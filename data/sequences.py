"""Sequences: consecutive frames of one source that training may draw clips from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

RAW_SUFFIXES = (".yuv", ".y4m")
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v"),  # MP4 and QuickTime
    *(".mkv", ".webm", ".avi", ".divx", ".flv", ".wmv", ".asf", ".ogv", ".ogm", ".mxf", ".nut"),
    *(".mpg", ".mpeg", ".mpe", ".m2v", ".vob", ".ts", ".m2ts", ".mts", ".m2t", ".trp"),  # MPEG-2
    *(".dv", ".rm", ".rmvb"),
    *(".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".obu", ".ivf", ".mjpeg", ".mjpg"),
)  # what folders are searched for; a file given by its name is read whatever its suffix
PIXEL_FORMATS = ("yuv420p", "yuv420p10le", "yuv444p", "yuv444p10le")


@dataclass(frozen=True)
class RawFormat:
    """What a headerless YUV file does not say: pixels, and one of `PIXEL_FORMATS` (ffmpeg's
    names).
    """

    width: int
    height: int
    pixel_format: str


@dataclass(frozen=True)
class Timing:
    """Where the frames of a video of constant frame rate are, so that it need not be probed again.

    Attributes:
        pts_first, pts_step: frame n is shown at `pts_first + n * pts_step`, in the stream's units.
        key_frames: numbers, in the file, of keyframes; the last one before each frame of the
            sequence is among them.
        frames: of the whole file.
        fps, width, height, pixel_format, matrix, full_range, colour_origin, plain, codec: as
        `Probe` says.
    """

    pts_first: int
    pts_step: int
    key_frames: tuple[int, ...]
    frames: int
    fps: Fraction
    width: int
    height: int
    pixel_format: str
    matrix: str
    full_range: bool
    color_origin: str
    plain: bool
    codec: str


@dataclass(frozen=True)
class Sequence:
    """Frames `first` .. `first + frames - 1` of one source.

    Attributes:
        path: a video file, a .yuv or .y4m file, a folder of pictures, or a shard.
        first: frame number in the source.
        frames: None is all from `first` on.
        fps: of a source that does not say it (raw YUV, pictures).
        raw: of headerless YUV.
        byte_range: offset and length in bytes, of a member of a shard.
        timing: what an index knows.
        licence: of the source, "" when unknown.
        bytes: of the file or the part when it was indexed; None when it was not.
        source: of a part, the file that it was made from, for logs.
    """

    path: Path
    first: int = 0
    frames: int | None = None
    fps: Fraction | None = None
    raw: RawFormat | None = None
    byte_range: tuple[int, int] | None = None
    timing: Timing | None = None
    licence: str = ""
    bytes: int | None = None
    source: str = ""

    @property
    def is_raw(self) -> bool:
        """Whether the source is raw YUV or Y4M."""
        return self.raw is not None or self.path.suffix.lower() in RAW_SUFFIXES

    @property
    def label(self) -> str:
        """A short name for logs: the file's; of a part, also where it is in its shard."""
        name = "/".join(self.path.parts[-2:]) if self.path.suffix == "" else self.path.name
        if self.byte_range is None:
            return name
        return (
            f"{Path(self.source).name}@{name}+{self.byte_range[0]}"
            if self.source
            else f"{name}+{self.byte_range[0]}"
        )


class Sequences(Protocol):
    """Any number of sequences, of which only the one asked for is made."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Sequence: ...

    def __iter__(self) -> Iterator[Sequence]: ...
