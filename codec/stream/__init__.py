"""The .cvd container, and a clip through it."""

from codec.stream.clip import CompressedFile, DecompressedClip, compress, decompress, frames_sha256

__all__ = ["CompressedFile", "DecompressedClip", "compress", "decompress", "frames_sha256"]
