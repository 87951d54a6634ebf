"""Standard codecs through ffmpeg at fixed QP: H.264 by x264, HEVC by x265 (the practical
anchor), AV1 by SVT-AV1, VVC by VVenC.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from codec.anchors import ffmpeg
from codec.anchors.standard import DEFAULT, FORMATS, Shot, StandardCodec
from codec.errors import CodecError

X264_LOW_DELAY = "bframes=0:rc-lookahead=0:scenecut=0:threads=1"
X264_SEI = 6  # type of the NAL unit that holds x264's settings as text
X265_LOW_DELAY = "bframes=0:rc-lookahead=0:scenecut=0:frame-threads=1"
SVTAV1_LOW_DELAY = "pred-struct=1:scd=0:enable-tf=0:lookahead=0:lp=1"
# Left alone, `qp` moves with the content. These offsets by layer are fixed; they cost a percent or
# two against that.
SVTAV1_OFFSETS = (
    "use-fixed-qindex-offsets=1:key-frame-qindex-offset=-64:qindex-offsets=[-48,-16,-8,0,0,0]"
)
SVTAV1_TUNES = {"psnr": 1, DEFAULT: 0}  # of SVT-AV1: 1 is PSNR, 0 visual quality
VVENC_GROUP = 8  # pictures in the only low-delay structure of VVenC
VVENC_LOW_DELAY = (
    f"threads=1:picreordering=0:gopsize={VVENC_GROUP}:decodingrefreshtype=none"
    ":mctffuturereference=0:poc0idr=1:bim=0"
)
VVENC_ALL_INTRA = "threads=1:gopsize=1:poc0idr=1:bim=0"


class FfmpegCodec(StandardCodec):
    """An encoder inside ffmpeg; `library` is ffmpeg's name of it, `said_version` where it says its
    version.
    """

    library: ClassVar[str]
    said_version: ClassVar[str]

    @abstractmethod
    def arguments(self, quality: str, tune: str | None) -> list[str]:
        """What the encoder is told."""

    def versions(self) -> dict[str, str]:
        """Of ffmpeg and of the encoder inside it."""
        own = ffmpeg.library_version(self.library, self.said_version)
        return {"ffmpeg": ffmpeg.version(), self.library.removeprefix("lib"): own}

    def command(self, shot: Shot, quality: str, tune: str | None, output: str) -> list[str]:
        """From raw planes to a raw stream."""
        pixels = "yuv420p" if self.bits == 8 else f"yuv420p{self.bits}le"
        reading = [
            "-f",
            "rawvideo",
            "-pix_fmt",
            pixels,
            "-s",
            shot.size,
            "-r",
            shot.fps,
            "-i",
            shot.file,
        ]
        coding = ["-c:v", self.library, *self.arguments(quality, tune)]
        return ffmpeg.command(
            ["-loglevel", "warning", *reading, *coding, "-f", FORMATS[self.suffix], "-y", output]
        )


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
    parameters: str = X264_LOW_DELAY

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
            f"filter_units=remove_types={X264_SEI}",
        ]


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
    parameters: str = X265_LOW_DELAY
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


@dataclass(frozen=True)
class SvtAv1(FfmpegCodec):
    """SVT-AV1 through ffmpeg, low-delay unless `parameters` say otherwise.

    QPs are AV1's, 0..63; frames lie below them by offsets that depend on their place in the
    structure alone.

    Args:
        preset: of SVT-AV1, 0 the slowest.
        parameters: of SVT-AV1, what comes before rate control, keyint and tune. One thread, as all
            anchors.
        offsets: of the layers' quantiser indices, in SVT-AV1's words.
    """

    name: str = "svtav1_4"
    preset: int = 4
    qualities: Sequence[int] = (20, 28, 36, 44, 52, 58)
    parameters: str = SVTAV1_LOW_DELAY
    offsets: str = SVTAV1_OFFSETS

    suffix: ClassVar[str] = ".obu"
    coarsest: ClassVar[int] = 63
    finest: ClassVar[int] = 1
    library: ClassVar[str] = "libsvtav1"
    said_version: ClassVar[str] = r"Encoder Lib v?(\S+)"

    def arguments(self, quality: str, tune: str | None) -> list[str]:
        """`rc=0` without adaptive quantisation is fixed QP."""
        rate = f"rc=0:aq-mode=0:qp={quality}:{self.offsets}"
        tuning = f"tune={SVTAV1_TUNES.get(tune or DEFAULT, tune)}"
        period = ["-g", str(self.intra_period)]
        parameters = f"{self.parameters}:{rate}:{tuning}:keyint={self.intra_period}"
        return ["-preset", str(self.preset), *period, "-svtav1-params", parameters]


@dataclass(frozen=True)
class Vvenc(FfmpegCodec):
    """VVenC through ffmpeg, low-delay unless `parameters` say otherwise. It is fed and codes 10
    bits, as VTM does.

    QPs are the base of fixed offsets by layer. Tuned for PSNR nothing follows the content:
    perceptual adaptation and block importance (which looks ahead) are off; "default" is with the
    former.

    Args:
        preset: of VVenC.
        parameters: of VVenC, what comes before intraperiod; of no account when all frames are
            intra.
    """

    name: str = "vvenc_medium"
    preset: str = "medium"
    parameters: str = VVENC_LOW_DELAY

    suffix: ClassVar[str] = ".vvc"
    bits: ClassVar[int] = 10
    coarsest: ClassVar[int] = 63
    library: ClassVar[str] = "libvvenc"
    said_version: ClassVar[str] = r"libvvenc version: (\S+)"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.intra_period not in (-1, 1) and self.intra_period % VVENC_GROUP:
            raise CodecError(
                f"{self.name}: intra_period: {self.intra_period}; VVenC takes -1, 1 or a multiple "
                f"of {VVENC_GROUP}"
            )

    def arguments(self, quality: str, tune: str | None) -> list[str]:
        """`-g` alone is a request in ffmpeg's terms; `intraperiod` is what the encoder does."""
        perceptual = ["-qpa", "1" if tune in (None, DEFAULT) else "0"]
        structure = VVENC_ALL_INTRA if self.intra_period == 1 else self.parameters
        period = [
            "-g",
            str(self.intra_period),
            "-vvenc-params",
            f"{structure}:intraperiod={self.intra_period}",
        ]
        return ["-preset", self.preset, "-qp", quality, *perceptual, *period]
