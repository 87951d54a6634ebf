"""A clip to a .cvd file and back, frame by frame through the codec's one path."""

import hashlib
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from codec.checkpoint import model_hash
from codec.device import memory_total
from codec.entropy.coding.symbol_coder import SymbolDecoder, SymbolEncoder
from codec.errors import CodecError
from codec.freeze import freeze
from codec.precision import STREAM
from codec.quality import QualityPattern, check_quality
from codec.references import CodedFrame, Reference, References
from codec.stream.container import (
    MOST_PIXELS,
    StreamHeader,
    check_frame_qualities,
    read_stream,
    write_stream,
)
from codec.video import FrozenAs, VideoCodec, is_intra

Progress = Callable[[int, int], None]
# Frames of a chain that may be decoded in another precision: so far the drift is measured to be
# small.
MOST_DRIFT = 120


@dataclass(frozen=True)
class CompressedFile:
    """What `compress` wrote.

    Attributes:
        path, bytes: the file and its size on disk.
        frame_bytes: payload sizes, one a frame.
        seconds: spent coding, networks and entropy coder.
        reconstruction_sha256: of the frames that a decoder must arrive at.
        precision: that the networks computed in.
    """

    path: Path
    bytes: int
    frame_bytes: list[int]
    seconds: float
    reconstruction_sha256: str
    precision: str


@dataclass(frozen=True)
class DecompressedClip:
    """What `decompress` read.

    Attributes:
        frames: uint8 `(T, 3, H, W)` RGB.
        header: of the stream.
        seconds: it took.
        identical: the frames are the encoder's, bit by bit; if not, they differ by the rounding of
            another machine or precision.
        precision: that the networks computed in.
    """

    frames: Tensor
    header: StreamHeader
    seconds: float
    identical: bool
    precision: str


@torch.inference_mode()
def compress(
    codec: VideoCodec,
    frames: Tensor,
    fps: Fraction,
    quality: int,
    path: Path,
    intra_period: int = -1,
    progress: Progress | None = None,
    precision: str | None = None,
    pattern: QualityPattern | None = None,
    qualities: Sequence[int] | None = None,
) -> CompressedFile:
    """Write a clip to a .cvd file.

    Args:
        codec: it is frozen.
        frames: uint8 `(T, 3, H, W)` RGB, at least one, 16×16 or larger.
        fps: frames a second.
        quality: 0..63.
        path: file to write.
        intra_period: frames from one intra frame to the next; -1: only the first is intra; 1: all.
        progress: called with (frames done, frames in all).
        precision: as `freeze` takes it; the header says which it was.
        pattern: how the quality of frames differs from that of the clip; None: the codec's own.
        qualities: 0..63, one for each frame, in place of what the pattern gives: the encoder's own
            choice.

    Raises:
        CodecError: quality, qualities, intra period or frames out of range (a frame has at most
            2^26 pixels), or the codec gave non-finite values.
    """
    start = time.perf_counter()
    _check_input(frames, quality, intra_period)
    check_frame_qualities(qualities, len(frames))
    codec = freeze(codec, precision)
    frozen_as = _frozen_as(codec)
    pattern = pattern or codec.quality_pattern
    expected = pattern.qualities(quality, len(frames), intra_period)
    own = expected if qualities is None else tuple(qualities)
    height, width = frames.shape[-2:]
    size = (height, width)
    payloads: list[bytes] = []
    references: References | None = None
    reconstruction = torch.empty_like(frames)
    device = next(codec.parameters()).device
    for t, frame in enumerate(frames):
        coder = SymbolEncoder()
        pixels = frame[None].to(device).float() / 255
        given = None if is_intra(t, intra_period) else references
        index = torch.tensor([own[t]], device=device)
        coded = codec.code_frame(pixels, given, size, index, coder, t)
        references = coded.references
        payloads.append(coder.finish_frame())
        reconstruction[t] = _picture(codec, coded.reference, size)
        if not torch.isfinite(coded.reference.frame).all():
            what = f"frame {t} at quality {own[t]} became non-finite"
            raise CodecError(f"compress: {what}; this checkpoint is broken")
        if progress:
            progress(t + 1, len(frames))
    threads = 0 if codec.exact else torch.get_num_threads()
    header = StreamHeader(
        width=width,
        height=height,
        frames=len(frames),
        fps=fps,
        quality=quality,
        intra_period=intra_period,
        model=frozen_as.model,
        threads=threads,
        reconstruction=_crc32(reconstruction),
        precision=frozen_as.precision,
        pattern=pattern,
        own_qualities=None if own == expected else own,
    )
    written = write_stream(path, header, payloads)
    seconds = time.perf_counter() - start
    return CompressedFile(
        path=path,
        bytes=written,
        frame_bytes=[len(payload) for payload in payloads],
        seconds=seconds,
        reconstruction_sha256=frames_sha256(reconstruction),
        precision=frozen_as.precision,
    )


@torch.inference_mode()
def decompress(
    path: Path, codec: VideoCodec, progress: Progress | None = None, precision: str = STREAM
) -> DecompressedClip:
    """Read a .cvd file back.

    Symbols of an exact codec are the same in any precision, its frames are not: they are the
    encoder's bit by bit in the stream's own alone.

    Args:
        path: file that `compress` wrote.
        codec: the one that wrote it; it is frozen.
        progress: called with (frames done, frames in all).
        precision: that the networks compute in: `stream`, as the header says; `auto`, what is
            fastest on the codec's device; or one of `codec.precision.PRECISIONS`.

    Raises:
        CodecError: the file is damaged or was written by other weights; or the codec is not exact,
            and this machine's arithmetic differs from the writer's, so that other frames came out,
            or `precision` is not `stream`; or that is another than the writer's and more than
            `MOST_DRIFT` frames follow from one intra frame.
    """
    start = time.perf_counter()
    header, payloads = read_stream(path)
    ours = model_hash(codec)
    if header.model != ours:
        raise CodecError(
            f"{path}: written by the codec {header.model}, this checkpoint is {ours}; give the one "
            "that wrote it"
        )
    if header.exact != codec.exact:
        raise CodecError(
            f"{path}: its header {'calls' if header.exact else 'does not call'} this codec exact; "
            "compress it again"
        )
    codec = freeze(codec, header.precision if precision == STREAM else precision)
    frozen_as = _frozen_as(codec)
    if precision != STREAM:
        _check_precision(path, header, precision, frozen_as.precision)
    _check_memory(path, header)
    size = (header.height, header.width)
    references: References | None = None
    frames = torch.empty(header.frames, 3, *size, dtype=torch.uint8)
    device = next(codec.parameters()).device
    with _threads(header.threads):
        for t, (payload, quality) in enumerate(zip(payloads, header.qualities, strict=True)):
            given = None if is_intra(t, header.intra_period) else references
            index = torch.tensor([quality], device=device)
            coded = _read_frame(codec, payload, given, size, index, f"{path}, frame {t}")
            references = coded.references
            frames[t] = _picture(codec, coded.reference, size)
            if progress:
                progress(t + 1, len(payloads))
    identical = _crc32(frames) == header.reconstruction
    if not identical and not header.exact:
        raise CodecError(
            f"{path}: decodes to other frames than its encoder had; decode on the same kind of "
            "device and the same "
            f"versions (it was written with {header.threads} threads), or compress it again here"
        )
    return DecompressedClip(
        frames, header, time.perf_counter() - start, identical, frozen_as.precision
    )


def _frozen_as(codec: VideoCodec) -> FrozenAs:
    """What a codec that `freeze` gave was made from."""
    assert codec.frozen is not None
    return codec.frozen


def _check_memory(path: Path, header: StreamHeader) -> None:
    """Refuse frames that this machine has no memory for: the header may say anything."""
    needed = 3 * header.width * header.height * header.frames
    if needed > memory_total(torch.device("cpu")):
        size = f"{header.frames} frames of {header.width}×{header.height}"
        what = f"{size} take {needed / 1e9:.1f} GB, more than this machine's memory"
        raise CodecError(f"{path}: {what}; decode it on a larger one")


def _check_precision(path: Path, header: StreamHeader, asked: str, precision: str) -> None:
    """Refuse a precision that was asked for where frames would not be nearly the encoder's."""
    remedy = "give precision=stream, the default"
    if not header.exact:
        what = "this codec's symbols are read in the stream's own arithmetic alone"
        raise CodecError(f"{path}: precision={asked}: {what}; {remedy}")
    chain = header.frames if header.intra_period == -1 else min(header.intra_period, header.frames)
    if precision != header.precision and chain > MOST_DRIFT:
        raise CodecError(
            f"{path}: precision={asked}: {chain} frames follow from one intra frame, and what "
            f"{precision} rounds otherwise "
            f"than {header.precision} adds up from frame to frame, little in {MOST_DRIFT} frames, "
            f"more after that; {remedy}, "
            f"or compress it with an intra period of {MOST_DRIFT} or less"
        )


def _check_input(frames: Tensor, quality: int, intra_period: int) -> None:
    check_quality(quality)
    if frames.dim() != 4 or frames.shape[1] != 3 or not len(frames) or frames.dtype != torch.uint8:
        raise CodecError(
            f"compress: frames uint8 (T, 3, H, W) expected; {frames.dtype} {tuple(frames.shape)} "
            "came"
        )
    if intra_period != -1 and intra_period < 1:
        raise CodecError(
            f"intra_period: {intra_period} given; expected -1 (first frame only) or at least 1"
        )
    if frames.shape[-2] * frames.shape[-1] > MOST_PIXELS:
        raise CodecError(
            f"compress: {frames.shape[-1]}×{frames.shape[-2]} given; scale it to {MOST_PIXELS} "
            "pixels a frame or fewer"
        )


def _read_frame(
    codec: VideoCodec,
    payload: bytes,
    references: References | None,
    size: tuple[int, int],
    quality: Tensor,
    where: str,
) -> CodedFrame:
    coder = SymbolDecoder(payload)
    try:
        coded = codec.code_frame(None, references, size, quality, coder)
        coder.finish_frame()
    except CodecError as error:
        raise CodecError(
            f"{where}: {error}; the file does not hold what its header says: compress it again"
        ) from error
    return coded


def frames_sha256(frames: Tensor) -> str:
    """SHA-256 of uint8 frames `(T, 3, H, W)`."""
    return hashlib.sha256(frames.contiguous().numpy().data).hexdigest()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute with `count` threads for a while; 0: with as many as now."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _crc32(frames: Tensor) -> int:
    return zlib.crc32(frames.contiguous().numpy().data)


def _picture(codec: VideoCodec, reference: Reference, size: tuple[int, int]) -> Tensor:
    """uint8 `(3, H, W)` on the CPU, as both sides show it."""
    return (
        codec.colours.to_levels(reference.frame[:1, :, : size[0], : size[1]])[0].cpu().contiguous()
    )
