"""VVC by VVenC at fixed QP."""

from dataclasses import dataclass
from typing import ClassVar

from codec.anchors.standard import DEFAULT, FfmpegCodec
from codec.errors import CodecError

GROUP = 8  # pictures in the only low-delay structure of VVenC
LOW_DELAY = (
    f"threads=1:picreordering=0:gopsize={GROUP}:decodingrefreshtype=none"
    ":mctffuturereference=0:poc0idr=1:bim=0"
)
ALL_INTRA = "threads=1:gopsize=1:poc0idr=1:bim=0"


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
    parameters: str = LOW_DELAY

    suffix: ClassVar[str] = ".vvc"
    bits: ClassVar[int] = 10
    coarsest: ClassVar[int] = 63
    library: ClassVar[str] = "libvvenc"
    said_version: ClassVar[str] = r"libvvenc version: (\S+)"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.intra_period not in (-1, 1) and self.intra_period % GROUP:
            raise CodecError(
                f"{self.name}: intra_period: {self.intra_period}; VVenC takes -1, 1 or a multiple "
                f"of {GROUP}"
            )

    def arguments(self, quality: str, tune: str | None) -> list[str]:
        """`-g` alone is a request in ffmpeg's terms; `intraperiod` is what the encoder does."""
        perceptual = ["-qpa", "1" if tune in (None, DEFAULT) else "0"]
        structure = ALL_INTRA if self.intra_period == 1 else self.parameters
        period = [
            "-g",
            str(self.intra_period),
            "-vvenc-params",
            f"{structure}:intraperiod={self.intra_period}",
        ]
        return ["-preset", self.preset, "-qp", quality, *perceptual, *period]
