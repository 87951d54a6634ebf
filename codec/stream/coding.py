"""Frames to packets and back, one at a time, through the codec's one path; clips to files and back.

An `Encoder` and a `Decoder` keep what the next frame is predicted from and nothing else, so memory
does not grow with the length of a video.
"""

from __future__ import annotations

import hashlib
import itertools
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codec.checkpoint import model_hash
from codec.device import memory_total
from codec.entropy.coding.symbol_coder import SymbolDecoder, SymbolEncoder
from codec.errors import CodecError
from codec.freeze import freeze
from codec.precision import STREAM
from codec.quality import QualityPattern, check_quality
from codec.references import Reference, References
from codec.stream.container import (
    MOST_PIXELS,
    IndexEntry,
    Limits,
    Packet,
    StreamEnd,
    StreamError,
    StreamHeader,
    StreamWriter,
    open_stream,
)
from codec.video import FrozenAs, VideoCodec
from common.files import new_version

Progress = Callable[[int, int], None]
# Frames of a chain that may be decoded in another precision: so far the drift is measured to be
# small.
MOST_DRIFT = 120


class Encoder:
    """Codes frames one after another.

    Args:
        codec: it is frozen.
        width, height: of the frames, 16×16 or larger.
        fps: frames a second.
        quality: 0..63.
        intra_period: frames from one intra frame to the next; -1: only the first is intra; 1: all.
        precision: as `freeze` takes it; the header says which it was.
        pattern: how the quality of frames differs from that of the clip; None: the codec's own.
        described: further fields of the header: `model_name`, `matrix`, `full_range`.

    Attributes:
        header: of the stream.
        frames: coded so far.
        crc32: of their reconstructions.
        reconstruction: uint8 `(3, H, W)`, what a decoder will make of the last packet.

    Raises:
        CodecError: quality, intra period or size out of range (a frame has at most 2^26 pixels).
    """

    def __init__(
        self,
        codec: VideoCodec,
        *,
        width: int,
        height: int,
        fps: Fraction,
        quality: int = 32,
        intra_period: int = -1,
        precision: str | None = None,
        pattern: QualityPattern | None = None,
        **described: Any,
    ) -> None:
        self.quality, self._intra_period = check_quality(quality), intra_period
        if intra_period != -1 and intra_period < 1:
            raise CodecError(
                f"intra_period: {intra_period} given; expected -1 (first frame only) or at least 1"
            )
        if height * width > MOST_PIXELS:
            raise CodecError(
                f"compress: {width}×{height} given; scale it to {MOST_PIXELS} pixels a frame or "
                "fewer"
            )
        self._codec = freeze(codec, precision)
        frozen = _frozen_as(self._codec)
        self.pattern = pattern or codec.quality_pattern
        self.header = StreamHeader(
            width=width,
            height=height,
            fps=fps,
            model=frozen.model,
            padding=codec.block,
            precision=frozen.precision,
            threads=0 if codec.exact else torch.get_num_threads(),
            intra_period=intra_period,
            **described,
        )
        self._device = next(self._codec.parameters()).device
        self._references: References | None = None
        self._since_intra = 0
        self.frames = self.crc32 = 0
        self.reconstruction = torch.empty(0, dtype=torch.uint8)

    @torch.inference_mode()
    def encode(self, frame: Tensor, quality: int | None = None, intra: bool = False) -> Packet:
        """Code the next frame.

        Args:
            frame: uint8 `(3, H, W)` RGB.
            quality: 0..63 of this frame; None: by the pattern.
            intra: code it without a reference, whatever the period says: at a scene cut.

        Raises:
            CodecError: another size or type, a quality out of range, or non-finite values.
        """
        header, number = self.header, self.frames
        if frame.dtype != torch.uint8 or frame.shape != (3, header.height, header.width):
            expected = f"uint8 (3, {header.height}, {header.width}) expected"
            raise CodecError(
                f"compress: frame {number} is {frame.dtype} {tuple(frame.shape)}; {expected}"
            )
        period = self._intra_period
        intra = intra or not number or (period > 0 and self._since_intra >= period)
        if intra:
            self._since_intra = 0
        if quality is None:
            quality = self.pattern.quality_at(self.quality, self._since_intra)
        coder = SymbolEncoder()
        coded = self._codec.code_frame(
            frame[None].to(self._device).float() / 255,
            None if intra else self._references,
            (header.height, header.width),
            torch.tensor([check_quality(quality)], device=self._device),
            coder,
            number,
        )
        payload = coder.finish_frame()
        if not torch.isfinite(coded.reference.frame).all():
            what = f"frame {number} at quality {quality} became non-finite"
            raise CodecError(f"compress: {what}; this checkpoint is broken")
        self._references = coded.references
        self._since_intra += 1
        self.frames += 1
        self.reconstruction = _picture(self._codec, coded.reference, header)
        self.crc32 = crc32(self.reconstruction, self.crc32)
        return Packet(payload=payload, quality=quality, intra=intra, time=number)

    def packets(self, frames: Iterable[Tensor]) -> Iterator[Packet]:
        """Code frames as they come."""
        return map(self.encode, frames)


class Encoding:
    """Frames that are coded as they are asked for.

    Args:
        codec: it is frozen.
        frames: uint8 `(3, H, W)` RGB each, at least one.
        fps: frames a second.
        how: others of `Encoder`.

    Attributes:
        header: of the stream.
        encoder: that codes them.

    Raises:
        CodecError: there is no frame; as `Encoder`.
    """

    def __init__(
        self, codec: VideoCodec, frames: Iterable[Tensor], fps: Fraction | float, **how: Any
    ) -> None:
        rest = iter(frames)
        first = next(rest, None)
        if first is None or first.dim() != 3:
            given = "no frame" if first is None else f"a frame {tuple(first.shape)}"
            raise CodecError(f"encode: {given} came; uint8 (3, H, W) each expected")
        height, width = first.shape[-2:]
        rate = Fraction(fps).limit_denominator(1_000_000)
        self.encoder = Encoder(codec, width=width, height=height, fps=rate, **how)
        self.header = self.encoder.header
        self._frames = itertools.chain([first], rest)

    def __iter__(self) -> Iterator[Packet]:
        """The packets; once."""
        return self.encoder.packets(self._frames)


class Decoder:
    """Decodes packets one after another.

    Symbols of an exact codec are the same in any precision, its frames are not: they are the
    encoder's bit by bit in the stream's own alone.

    Args:
        codec: the one that wrote the stream; it is frozen.
        header: of the stream.
        name: what errors call the stream.
        precision: that the networks compute in: `stream`, as the header says; `auto`, what is
            fastest on the codec's device; or one of `codec.precision.PRECISIONS`.

    Attributes:
        frames: decoded so far.
        crc32: of them.
        precision: that the networks compute in.

    Raises:
        CodecError: the stream was written by other weights; or the codec is not exact and
            `precision` is not `stream`.
    """

    def __init__(
        self,
        codec: VideoCodec,
        header: StreamHeader,
        *,
        name: str = "stream",
        precision: str = STREAM,
    ) -> None:
        ours = model_hash(codec)
        if header.model != ours:
            raise CodecError(
                f"{name}: written by the codec {header.model_name or header.model}, this "
                f"checkpoint is {ours}; give the one that wrote it ({header.model})"
            )
        if header.exact != codec.exact:
            raise CodecError(
                f"{name}: its header {'calls' if header.exact else 'does not call'} this codec "
                "exact; compress it again"
            )
        if precision != STREAM and not header.exact:
            what = "this codec's symbols are read in the stream's own arithmetic alone"
            raise CodecError(
                f"{name}: precision={precision}: {what}; give precision=stream, the default"
            )
        self.header, self.name, self._asked = header, name, precision
        self._codec = freeze(codec, header.precision if precision == STREAM else precision)
        self.precision = _frozen_as(self._codec).precision
        self._device = next(self._codec.parameters()).device
        self._references: References | None = None
        self._since_intra = 0
        self.frames = self.crc32 = 0

    @torch.inference_mode()
    def decode(self, packet: Packet) -> Tensor:
        """The frame of the next packet, uint8 `(3, H, W)` RGB.

        Raises:
            StreamError: the payload is damaged, or a predicted frame came first.
            CodecError: the precision is another than the writer's and more than `MOST_DRIFT` frames
                follow from one intra frame.
        """
        header, where = self.header, f"{self.name}, frame {self.frames}"
        if not packet.intra and self._references is None:
            raise StreamError(f"{where}: it is predicted; begin at an intra frame", self.frames)
        self._since_intra = 0 if packet.intra else self._since_intra + 1
        self._check_drift(self._since_intra + 1)
        coder = SymbolDecoder(packet.payload)
        try:
            with _threads(header.threads):
                coded = self._codec.code_frame(
                    None,
                    None if packet.intra else self._references,
                    (header.height, header.width),
                    torch.tensor([packet.quality], device=self._device),
                    coder,
                    packet.time,
                )
                coder.finish_frame()
        except CodecError as error:
            raise StreamError(
                f"{where}: {error}; the file does not hold what its header says: compress it again",
                self.frames,
            ) from error
        self._references = coded.references
        picture = _picture(self._codec, coded.reference, header)
        self.frames += 1
        self.crc32 = crc32(picture, self.crc32)
        return picture

    def check_chains(self, index: Sequence[IndexEntry], frames: int) -> None:
        """Refuse before the work, where the places of intra frames are known, what `decode` would
        refuse in the middle of it.
        """
        starts = [entry.frame for entry in index] + [frames]
        chains = [end - start for start, end in itertools.pairwise(starts)]
        self._check_drift(max(chains, default=0))

    def _check_drift(self, chain: int) -> None:
        """Refuse another precision after so many frames from one intra frame on."""
        if self.precision != self.header.precision and chain > MOST_DRIFT:
            raise CodecError(
                f"{self.name}: precision={self._asked}: {chain} frames follow from one intra "
                f"frame, and what {self.precision} rounds otherwise than {self.header.precision} "
                f"adds up from frame to frame, little in {MOST_DRIFT} frames, more after that; "
                "give precision=stream, the default, or compress it with an intra period of "
                f"{MOST_DRIFT} or less"
            )

    def decode_all(self, packets: Iterable[Packet]) -> Iterator[Tensor]:
        """Decode packets as they come."""
        return map(self.decode, packets)

    def check_end(self, end: StreamEnd) -> bool:
        """Whether the frames were the encoder's bit by bit; all of the stream must be decoded.

        Raises:
            CodecError: they are not, and the codec is not exact: other symbols may have been read.
        """
        identical = self.crc32 == end.reconstruction
        if not identical and not self.header.exact:
            raise CodecError(
                f"{self.name}: decodes to other frames than its encoder had; decode on the same "
                "kind of device and the same versions (it was written with "
                f"{self.header.threads} threads), or compress it again here"
            )
        return identical


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
        qualities: 0..63, of each frame.
    """

    frames: Tensor
    header: StreamHeader
    seconds: float
    identical: bool
    precision: str
    qualities: tuple[int, ...] = field(default=())


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
    """Write a clip that is held in memory to a .cvd file.

    Args:
        codec: it is frozen.
        frames: uint8 `(T, 3, H, W)` RGB, at least one, 16×16 or larger.
        fps, quality, intra_period, precision, pattern: as `Encoder`.
        path: file to write; whole or not there.
        progress: called with (frames done, frames in all).
        qualities: 0..63, one for each frame, in place of what the pattern gives: the encoder's own
            choice.

    Raises:
        CodecError: as `Encoder`; or qualities that are not one for each frame.
    """
    start = time.perf_counter()
    if frames.dim() != 4 or frames.shape[1] != 3 or not len(frames) or frames.dtype != torch.uint8:
        raise CodecError(
            f"compress: frames uint8 (T, 3, H, W) expected; {frames.dtype} {tuple(frames.shape)} "
            "came"
        )
    check_quality(quality)
    _check_frame_qualities(qualities, len(frames))
    encoder = Encoder(
        codec,
        width=frames.shape[-1],
        height=frames.shape[-2],
        fps=fps,
        quality=quality,
        intra_period=intra_period,
        precision=precision,
        pattern=pattern,
    )
    frame_bytes, hashed = [], hashlib.sha256()
    with new_version(path) as file:
        writer = StreamWriter(file, encoder.header)
        for t, frame in enumerate(frames):
            packet = encoder.encode(frame, None if qualities is None else qualities[t])
            writer.write(packet)
            frame_bytes.append(len(packet.payload))
            hashed.update(_bytes(encoder.reconstruction))
            if progress:
                progress(t + 1, len(frames))
        writer.finish(encoder.crc32)
    return CompressedFile(
        path=path,
        bytes=writer.bytes,
        frame_bytes=frame_bytes,
        seconds=time.perf_counter() - start,
        reconstruction_sha256=hashed.hexdigest(),
        precision=encoder.header.precision,
    )


def decompress(
    path: Path,
    codec: VideoCodec,
    progress: Progress | None = None,
    precision: str = STREAM,
    limits: Limits | None = None,
) -> DecompressedClip:
    """Read a .cvd file back, all frames into memory.

    Args:
        path: file that `compress` wrote.
        codec, precision: as `Decoder`.
        progress: called with (frames done, frames in all; 0 where the file does not say).
        limits: of what the file may ask for.

    Raises:
        StreamError: the file is damaged or cut off.
        CodecError: as `Decoder` and `Decoder.check_end`; or this machine has no memory for all
            frames.
    """
    start = time.perf_counter()
    with open_stream(path, limits) as reader:
        decoder = Decoder(codec, reader.header, name=str(path), precision=precision)
        end = reader.read_end()
        if end is not None:
            _check_memory(path, reader.header, end.frames)
            decoder.check_chains(reader.index() or (), end.frames)
        pictures, qualities = [], []
        for packet in reader:
            pictures.append(decoder.decode(packet))
            qualities.append(packet.quality)
            if progress:
                progress(decoder.frames, end.frames if end else 0)
        if not pictures:
            raise StreamError(f"{path}: holds no frame; compress it again")
        identical = reader.end is not None and decoder.check_end(reader.end)
    return DecompressedClip(
        frames=torch.stack(pictures),
        header=reader.header,
        seconds=time.perf_counter() - start,
        identical=identical,
        precision=decoder.precision,
        qualities=tuple(qualities),
    )


def frames_sha256(frames: Tensor) -> str:
    """SHA-256 of uint8 frames `(T, 3, H, W)`."""
    return hashlib.sha256(_bytes(frames)).hexdigest()


def _check_frame_qualities(qualities: Sequence[int] | None, frames: int) -> None:
    """Raise CodecError where there are qualities, and not one in 0..63 for each of `frames`."""
    if qualities is None:
        return
    if len(qualities) != frames:
        given = f"{len(qualities)} given for {frames} frames"
        raise CodecError(f"qualities: {given}; give one for each, or none")
    for quality in qualities:
        check_quality(quality)


def _check_memory(path: Path, header: StreamHeader, frames: int) -> None:
    """Refuse frames that this machine has no memory for."""
    needed = 2 * 3 * header.width * header.height * frames  # the frames, and all in one tensor
    if needed > memory_total(torch.device("cpu")):
        size = f"{frames} frames of {header.width}×{header.height}"
        what = f"{size} take {needed / 1e9:.1f} GB at once, more than this machine's memory"
        raise CodecError(f"{path}: {what}; decode it frame by frame (`corvid decompress`)")


def crc32(frames: Tensor, before: int = 0) -> int:
    """CRC-32 of the frames that came before and of uint8 `frames`."""
    return zlib.crc32(_bytes(frames), before)


def _bytes(frames: Tensor) -> memoryview:
    return frames.contiguous().numpy().data


def _frozen_as(codec: VideoCodec) -> FrozenAs:
    assert codec.frozen is not None, "a codec from `freeze`"
    return codec.frozen


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute with `count` threads for a while; 0: with as many as now."""
    before = torch.get_num_threads()
    if count and count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count and count != before:
            torch.set_num_threads(before)


def _picture(codec: VideoCodec, reference: Reference, header: StreamHeader) -> Tensor:
    """uint8 `(3, H, W)` on the CPU, as both sides show it."""
    shown = reference.frame[:1, :, : header.height, : header.width]
    return codec.colours.to_levels(shown)[0].cpu().contiguous()
