"""H.264 by x264 at fixed QP."""

from dataclasses import dataclass
from typing import ClassVar

from codec.anchors.standard import DEFAULT, FfmpegCodec

LOW_DELAY = "bframes=0:rc-lookahead=0:scenecut=0:threads=1"
SEI = 6  # type of the NAL unit that holds x264's settings as text


@dataclass(frozen=True)
class X264(FfmpegCodec):
    """x264 through ffmpeg, low-delay unless `parameters` say otherwise.

    QPs are of predicted frames: x264 codes intra frames 3 finer. At fixed QP it adapts nothing to
        the content.

    Args:
        preset: of x264.
        parameters: of x264, what comes before keyint, min-keyint and qp. One thread makes the bytes
            the same on every machine.
    """

    name: str = "x264_medium"
    preset: str = "medium"
    parameters: str = LOW_DELAY

    suffix: ClassVar[str] = ".h264"
    coarsest: ClassVar[int] = 51
    finest: ClassVar[int] = 1  # 0 is another profile, lossless
    library: ClassVar[str] = "libx264"
    said_version: ClassVar[str] = r"x264 - core (\d+ \S+)"

    def arguments(self, quality: str, tune: str | None) -> list[str]:
        """The message with the settings, 700 bytes of text, is taken out of the stream."""
        keyint = "infinite" if self.intra_period == -1 else self.intra_period
        tuning = [] if tune in (None, DEFAULT) else ["-tune", tune]
        parameters = f"{self.parameters}:keyint={keyint}:min-keyint={keyint}:qp={quality}"
        return [
            "-preset",
            self.preset,
            *tuning,
            "-x264-params",
            parameters,
            "-bsf:v",
            f"filter_units=remove_types={SEI}",
        ]
