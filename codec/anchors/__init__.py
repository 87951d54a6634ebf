"""HEVC and the other standard codecs, as real bitstreams made by ffmpeg or by the reference
encoders.
"""

from codec.anchors.coder import CodedResult, Coder, Decoded
from codec.anchors.external import External
from codec.anchors.ffmpeg_codecs import X264, X265, SvtAv1, Vvenc
from codec.anchors.reference import HM, VTM
from codec.anchors.standard import StandardCodec

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
