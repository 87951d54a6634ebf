"""HEVC and the other standard codecs, as real bitstreams made by ffmpeg or by the reference
encoders.
"""

from codec.anchors.coder import CodedResult, Coder, Decoded
from codec.anchors.external import External
from codec.anchors.reference import HM, VTM
from codec.anchors.standard import StandardCodec
from codec.anchors.svtav1 import SvtAv1
from codec.anchors.vvenc import Vvenc
from codec.anchors.x264 import X264
from codec.anchors.x265 import X265

__all__ = [
    "HM",
    "VTM",
    "X264",
    "X265",
    "CodedResult",
    "Coder",
    "Decoded",
    "External",
    "StandardCodec",
    "SvtAv1",
    "Vvenc",
]
