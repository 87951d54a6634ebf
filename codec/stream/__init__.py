"""The .cvd stream: container, and coding of frames to packets and back."""

from codec.stream.coding import (
    CompressedFile,
    Decoder,
    DecompressedClip,
    Encoder,
    Encoding,
    compress,
    decompress,
    frames_sha256,
)
from codec.stream.container import (
    Limits,
    Packet,
    StreamError,
    StreamHeader,
    StreamReader,
    StreamWriter,
    open_stream,
    read_stream,
    write_stream,
)

__all__ = [
    "CompressedFile",
    "DecompressedClip",
    "Decoder",
    "Encoder",
    "Encoding",
    "Limits",
    "Packet",
    "StreamError",
    "StreamHeader",
    "StreamReader",
    "StreamWriter",
    "compress",
    "decompress",
    "frames_sha256",
    "open_stream",
    "read_stream",
    "write_stream",
]
