"""HEVC and the other standard codecs, as real bitstreams made by ffmpeg."""

from codec.anchors.coder import CodedResult, Coder
from codec.anchors.x265 import X265

__all__ = ["X265", "CodedResult", "Coder"]
