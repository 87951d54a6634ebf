"""What is trained: the whole codec, or one kind of its networks alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from codec.entropy.coding.symbol_coder import RateEstimator
from codec.entropy.models.base import EntropyNetwork
from codec.entropy.noise import ClipNoise
from codec.errors import CodecError
from codec.layers.frames import pad_frames
from codec.references import References
from codec.video import CodedClip, VideoCodec


@dataclass
class CodedChunk:
    """What a task made of some frames of a clip.

    Attributes:
        frames: `(B, T, 3, H, W)` what `coded` is to be compared with.
        coded: reconstructions, or predictions in their place, and bits.
        share: of the step's loss, 0..1.
    """

    frames: Tensor
    coded: CodedClip
    share: float


class CodecTask:
    """Trains everything; the others leave out what they do not train, or run it as it is."""

    metrics = ("bpp", "psnr")

    def trains(self, codec: VideoCodec) -> set[str]:
        """Names of the parameters that are trained."""
        return {name for name, _ in codec.named_parameters()}

    def chunks(
        self, codec: VideoCodec, frames: Tensor, quality: Tensor, bptt_length: int, **how: Any
    ) -> Iterator[CodedChunk]:
        """Code clips a chunk after the other; gradients end where chunks do, and a consumer may
        update weights in between.

        Args:
            codec: with the networks.
            frames: `(B, T, 3, H, W)` RGB in 0..1.
            quality: `(B,)` indices 0..63.
            bptt_length: frames of a chunk.
            how: arguments of `VideoCodec.forward`: `hard`, `noise`, `checkpointing`.
        """
        before = None
        for start in range(0, frames.shape[1], bptt_length):
            part = frames[:, start : start + bptt_length]
            coded = codec(part, quality, before=before, **how)
            yield CodedChunk(part, coded, part.shape[1] / frames.shape[1])
            before = coded
            before.references = coded.references.detach()

    def named(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Terms of the loss under the names by which the task logs them."""
        return terms


class MotionTask(CodecTask):
    """Trains the motion network alone to predict each frame from the last one as the intra coder
    codes it; what predictions leave is not coded.
    """

    metrics = ("warp_psnr", "bpp_motion")

    def trains(self, codec: VideoCodec) -> set[str]:
        names = _below(codec, ("motion",))
        if not names:
            raise CodecError(
                "task=motion: this codec's motion network has nothing to train; choose another, as "
                "motion=block_matching"
            )
        return names

    def chunks(
        self, codec: VideoCodec, frames: Tensor, quality: Tensor, bptt_length: int, **how: Any
    ) -> Iterator[CodedChunk]:
        if frames.shape[1] < 2:
            raise CodecError(
                "task=motion: clips of 1 frame; a prediction needs 2 or more (frames of the stage)"
            )
        for start in range(1, frames.shape[1], bptt_length):
            last = min(start + bptt_length, frames.shape[1])
            found = [_predicted(codec, frames, t, quality, **how) for t in range(start, last)]
            predicted = torch.stack([pictures[0] for pictures, _ in found], 1)
            estimated = [own for (_, own), _ in found if own is not None]
            none = torch.zeros(len(frames), device=frames.device)
            names = dict.fromkeys(name for _, spent in found for name in spent) or [
                "motion"
            ]  # where nothing is coded
            bits = {
                name: torch.stack([spent.get(name, none) for _, spent in found], 1)
                for name in names
            }
            qualities = torch.stack(
                [codec.quality_pattern.at(quality, t) for t in range(start, last)], 1
            )
            coded = CodedClip(
                frames=predicted,
                bits=bits,
                predict=partial(_same, predicted),
                intra=(False,) * len(found),
                quality=qualities,
                lambdas=codec.lambdas,
                first=start,
                warped_uncoded=torch.stack(estimated, 1) if estimated else None,
            )
            yield CodedChunk(frames[:, start:last], coded, len(found) / (frames.shape[1] - 1))

    def named(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        new = {
            "psnr": "warp_psnr",
            "psnr_predicted": "warp_psnr",
            "lpips": "warp_lpips",
            "bpp": "bpp_motion",
        }
        return {
            new.get(name, name): value for name, value in terms.items() if name in (*new, "loss")
        }


class ResidualTask(CodecTask):
    """Trains the residual network; motion and entropy networks and the intra coder run
    as they are.
    """

    metrics = ("bpp_residual", "psnr_predicted")

    def trains(self, codec: VideoCodec) -> set[str]:
        return _below(codec, ("residual",))


class EntropyTask(CodecTask):
    """Trains every entropy network; transforms and motion run as they are; pictures change where
    other symbols are skipped.
    """

    metrics = ("bpp", "bpp_residual")

    def trains(self, codec: VideoCodec) -> set[str]:
        return _below(
            codec,
            tuple(
                name for name, module in codec.named_modules() if isinstance(module, EntropyNetwork)
            ),
        )


TASKS = {"codec": CodecTask, "motion": MotionTask, "residual": ResidualTask, "entropy": EntropyTask}


def task_named(name: str) -> CodecTask:
    """The task of `TASKS` with that name; CodecError for another."""
    if name not in TASKS:
        raise CodecError(f"task: {name!r} given; choose from {', '.join(TASKS)}")
    return TASKS[name]()


def _below(codec: VideoCodec, parts: tuple[str, ...]) -> set[str]:
    """Names of the parameters of some parts."""
    return {
        name
        for name, _ in codec.named_parameters()
        if any(name.startswith(part + ".") for part in parts)
    }


def _predicted(
    codec: VideoCodec,
    frames: Tensor,
    t: int,
    quality: Tensor,
    hard: bool = False,
    noise: ClipNoise | None = None,
    checkpointing: bool = False,
) -> tuple[tuple[Tensor, Tensor | None], dict[str, Tensor]]:
    """Frame `t` as the motion network predicts it from the intra-coded frame before, as its
    estimate would, and the bits.
    """
    with torch.no_grad():
        coder = RateEstimator(hard, None if noise is None else noise.frame(t - 1))
        pattern = codec.quality_pattern
        height, width = frames.shape[-2:]
        intra = codec.code_frame(
            frames[:, t - 1], None, (height, width), pattern.at(quality, 0), coder, t - 1
        )
    given = (codec, frames[:, t], t, intra.references, pattern.at(quality, t), hard, noise)
    return checkpoint(_moved, *given, use_reentrant=False) if checkpointing else _moved(*given)


def _moved(
    codec: VideoCodec,
    frame: Tensor,
    t: int,
    references: References,
    quality: Tensor,
    hard: bool,
    noise: ClipNoise | None,
) -> tuple[tuple[Tensor, Tensor | None], dict[str, Tensor]]:
    """Frame number `t` as it is predicted from references; the same again when it is computed
    again.
    """
    height, width = frame.shape[-2:]
    size = (height, width)
    coder = RateEstimator(hard, None if noise is None else noise.frame(t))
    context = codec.motion(
        pad_frames(codec.colours.from_rgb(frame.float()), codec.block), references, quality, coder
    )
    estimate = (
        None if context.warped_uncoded is None else codec.picture(context.warped_uncoded, size)
    )
    return (codec.picture(context.prediction, size), estimate), coder.take_bits()


def _same(predicted: Tensor) -> Tensor:
    return predicted


WARP = "warp_psnr"


def with_warp(
    terms: dict[str, Tensor], loss: nn.Module, frames: Tensor, coded: CodedClip
) -> dict[str, Tensor]:
    """The terms, with the PSNR of the prediction (dB) where the loss weighs the prediction or the
    motion's estimate.

    Where the estimate is weighed it is that of the estimate: what motion, not yet coded, would
    predict. Without a predicted frame there is none.

    Args:
        terms: that the loss gave, by name.
        loss: with the weights of the stage, `prediction` and `estimate`; one that has neither
            weighs neither.
        frames: `(B, T, 3, H, W)` RGB in 0..1.
        coded: what coding them gave.
    """
    estimate, prediction = (getattr(loss, name, 0.0) for name in ("estimate", "prediction"))
    predicted = [t for t, intra in enumerate(coded.intra) if not intra]
    if not (estimate or prediction) or not predicted:
        return terms
    pictures = coded.warped_uncoded if estimate else coded.predictions
    if pictures is None:
        return terms
    missed = (frames[:, predicted] - pictures[:, predicted].detach()).square().mean((2, 3, 4))
    return terms | {WARP: -10 * missed.clamp(min=1e-10).log10().mean()}
