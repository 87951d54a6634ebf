"""A checkpoint of ours as a codec to evaluate: real files, decoded in a fresh process, compared bit
by bit.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codec.anchors.coder import CodedResult, Decoded, check_intra_period
from codec.checkpoint import checkpoint_file, load_codec, model_hash
from codec.errors import CodecError
from codec.evaluation.codecs.isolated_decoder import codec_on, decode_isolated
from codec.evaluation.complexity.benchmark import cost_of_learned
from codec.evaluation.points.cache import outside_sources
from codec.metrics import psnr
from codec.precision import check_precision, resolve_precision, slower_here
from codec.quality import check_quality
from codec.stream import compress, frames_sha256
from codec.video import VideoCodec, is_intra
from data.io.source_clip import SourceClip

log = logging.getLogger(__name__)
SPREAD = (0, 13, 25, 38, 50, 63)


@dataclass(frozen=True)
class LearnedCodec:
    """A trained codec; the checkpoint is read when it is first needed.

    Args:
        checkpoint: file or run folder.
        name: what tables call it.
        intra_period: frames from one intra frame to the next; -1: only the first is intra, 1: all
            are.
        qualities: indices 0..63.
        device: where networks run, in both processes.
        precision: that networks compute in, as `codec.freeze` takes it; None: the checkpoint's own.
        model: hash of the weights, known from `settings` on: weights that change while points are
            made are an error.
        computed_in: one of `codec.precision.PRECISIONS`, known from `settings` on: what `precision`
            means on the machine that began; the processes and nodes that make points follow.
    """

    checkpoint: str
    name: str = "corvid"
    intra_period: int = -1
    qualities: Sequence[int] = SPREAD
    device: str = "cpu"
    tunes: Sequence[str | None] = (None,)
    precision: str | None = None
    model: str = field(default="", compare=False)
    computed_in: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.checkpoint, dict):
            raise CodecError(
                f"{self.name}: one checkpoint expected, several given "
                f"({', '.join(self.checkpoint)}); evaluate one"
            )
        if not self.checkpoint:
            raise CodecError(f"{self.name}: no checkpoint; name one with checkpoint=FILE_OR_RUN")
        try:
            object.__setattr__(
                self, "qualities", tuple(dict.fromkeys(map(check_quality, self.qualities)))
            )
        except CodecError as error:
            raise CodecError(f"{self.name}: qualities: {error}") from error
        check_intra_period(self.name, self.intra_period)
        if self.precision is not None:
            check_precision(self.precision, f"{self.name}: precision")

    def settings(self) -> dict[str, Any]:
        """Which model, and how it was run."""
        file = checkpoint_file(self.checkpoint).resolve()
        codec = load_codec(self.checkpoint)
        object.__setattr__(self, "model", model_hash(codec))
        object.__setattr__(self, "computed_in", self.resolved(codec))
        pattern, outside = codec.quality_pattern, outside_sources(codec.config)
        return {
            "checkpoint": f"{file.parent.name}/{file.name}",
            "model_hash": self.model,
            "precision": self.computed_in,
            "intra_period": self.intra_period,
            **({} if pattern.flat else {"quality_pattern": str(pattern)}),
            **({"plugins": outside} if outside else {}),
            "device": self.device,
            "decoded": "in a fresh process, equal to the encoder's reconstruction",
        }

    def resolved(self, codec: VideoCodec) -> str:
        """What the codec computes in on this machine; a warning where it is much faster in
        something else.
        """
        device, asked = torch.device(self.device), self.precision or codec.precision
        precision = resolve_precision(asked, device)
        if slower := slower_here(precision, device):
            log.warning(
                "%s: %s (precision=%s); evaluation takes longer for it", self.name, slower, asked
            )
        return precision

    def code(self, source: SourceClip, quality: int, tune: str | None, folder: Path) -> CodedResult:
        """Compress in this process, decompress in a fresh one.

        Raises:
            CodecError: the codec failed, or the decoder's frames are not the encoder's
                reconstruction.
        """
        file = folder / f"{source.name}_q{quality}.cvd"
        codec = codec_on(self.checkpoint, self.device)
        if self.model and model_hash(codec) != self.model:
            what = "holds other weights than when the evaluation began"
            raise CodecError(
                f"{self.checkpoint}: {what}; start again, with a copy if it is still trained"
            )
        written = compress(
            codec,
            source.rgb,
            fps=source.fps,
            quality=quality,
            path=file,
            intra_period=self.intra_period,
            precision=self.computed_in or self.precision,
        )
        decoded = decode_isolated(file, self.checkpoint, self.device)
        if frames_sha256(decoded.frames) != written.reconstruction_sha256:
            raise CodecError(self.drift(file))
        kinds = by_frame_type(source.rgb, decoded.frames, written.frame_bytes, self.intra_period)
        return CodedResult(
            file=file,
            bytes=file.stat().st_size,
            decoded=decoded.frames,
            encode_seconds=written.seconds,
            decode_seconds=decoded.seconds,
            extra={"by_kind": kinds},
            frame_bytes=written.frame_bytes,
        )

    def decode(self, file: Path, source: SourceClip) -> Decoded:
        """The frames of a file that was compressed earlier, from a fresh process.

        Raises:
            CodecError: as `code`.
        """
        decoded = decode_isolated(file, self.checkpoint, self.device)
        if not decoded.identical:
            raise CodecError(self.drift(file))
        return Decoded(decoded.frames)

    def complexity(self, source: SourceClip) -> dict[str, Any]:
        """See `Measurable`; at the middle quality."""
        quality = sorted(self.qualities)[len(self.qualities) // 2]
        return cost_of_learned(
            self.checkpoint,
            self.device,
            frames=source.rgb,
            fps=source.fps,
            quality=quality,
            intra_period=self.intra_period,
            precision=self.computed_in or self.precision,
        )

    def drift(self, file: Path) -> str:
        """Why a decoder that is not bit-exact is an error."""
        return (
            f"{file}: a fresh process decodes other frames than the encoder reconstructed; decode "
            "on the same "
            f"device and with the same number of threads, or report it with the file"
        )


def by_frame_type(
    reference: Tensor, decoded: Tensor, frame_bytes: Sequence[int], intra_period: int
) -> dict[str, dict[str, Any]]:
    """What intra and predicted frames cost and gave.

    Args:
        reference, decoded: `(T, 3, H, W)` uint8.
        frame_bytes: payload sizes, one a frame.
        intra_period: of the stream.

    Returns:
        `intra` and, where there are any, `predicted`: `frames`, `bytes` of their payloads, `bpp`,
            and mean `psnr_rgb`.
    """
    decibels = psnr(reference, decoded).tolist()
    pixels = reference.shape[-1] * reference.shape[-2]
    found: dict[str, dict[str, Any]] = {}
    for kind in ("intra", "predicted"):
        chosen = [
            t for t in range(len(frame_bytes)) if is_intra(t, intra_period) == (kind == "intra")
        ]
        if chosen:
            spent = sum(frame_bytes[t] for t in chosen)
            mean = sum(decibels[t] for t in chosen) / len(chosen)
            found[kind] = {
                "frames": len(chosen),
                "bytes": spent,
                "bpp": 8 * spent / pixels / len(chosen),
                "psnr_rgb": mean,
            }
    return found
