"""HEVC by x265 at fixed QP: the practical anchor."""

from dataclasses import dataclass
from typing import ClassVar

from codec.anchors.standard import DEFAULT, FfmpegCodec

LOW_DELAY = "bframes=0:rc-lookahead=0:scenecut=0:frame-threads=1"


@dataclass(frozen=True)
class X265(FfmpegCodec):
    """x265 through ffmpeg, low-delay unless `parameters` say otherwise.

    QPs are of predicted frames: x265 codes intra frames 3 finer and B frames 2 coarser. At fixed QP
    it adapts nothing to the content (no adaptive quantisation, no tree of macroblocks).

    Args:
        preset: of x265.
        parameters: of x265, what comes before keyint, min-keyint, qp and info. One frame thread
            makes the bytes the same on every machine; without wavefronts (`wpp=0`) small pictures
            lose nothing.
        tuning: of all curves, in place of each one's own; for legacy lines.
    """

    name: str = "x265_medium"
    preset: str = "medium"
    parameters: str = LOW_DELAY
    tuning: str | None = None

    suffix: ClassVar[str] = ".hevc"
    coarsest: ClassVar[int] = 51
    library: ClassVar[str] = "libx265"
    said_version: ClassVar[str] = r"HEVC encoder version (\S+)"

    def arguments(self, quality: str, tune: str | None) -> list[str]:
        """A message with the settings (`info`), 2 kB of text, is left out of the stream."""
        period = f"keyint={self.intra_period}:min-keyint={self.intra_period}"
        chosen = self.tuning or tune
        tuning = [] if chosen in (None, DEFAULT) else ["-tune", chosen]
        return [
            "-preset",
            self.preset,
            *tuning,
            "-x265-params",
            f"{self.parameters}:{period}:qp={quality}:info=0",
        ]
