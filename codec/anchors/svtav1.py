"""AV1 by SVT-AV1 at fixed QP."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from codec.anchors.standard import DEFAULT, FfmpegCodec

LOW_DELAY = "pred-struct=1:scd=0:enable-tf=0:lookahead=0:lp=1"
# Left alone, `qp` moves with the content. These offsets by layer are fixed; they cost a percent or
# two against that.
OFFSETS = "use-fixed-qindex-offsets=1:key-frame-qindex-offset=-64:qindex-offsets=[-48,-16,-8,0,0,0]"
TUNES = {"psnr": 1, DEFAULT: 0}  # of SVT-AV1: 1 is PSNR, 0 visual quality


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
    parameters: str = LOW_DELAY
    offsets: str = OFFSETS

    suffix: ClassVar[str] = ".obu"
    coarsest: ClassVar[int] = 63
    finest: ClassVar[int] = 1
    library: ClassVar[str] = "libsvtav1"
    said_version: ClassVar[str] = r"Encoder Lib v?(\S+)"

    def arguments(self, quality: str, tune: str | None) -> list[str]:
        """`rc=0` without adaptive quantisation is fixed QP."""
        rate = f"rc=0:aq-mode=0:qp={quality}:{self.offsets}"
        tuning = f"tune={TUNES.get(tune or DEFAULT, tune)}"
        period = ["-g", str(self.intra_period)]
        parameters = f"{self.parameters}:{rate}:{tuning}:keyint={self.intra_period}"
        return ["-preset", str(self.preset), *period, "-svtav1-params", parameters]
