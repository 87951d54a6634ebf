"""Validation: every clip at several qualities, coded as streams are, between two steps
of training.
"""

import sys
from collections.abc import Iterable
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from codec.training.checkpointing import CheckpointManager
from codec.training.distributed import gather, is_first
from codec.training.logging import bpp_of
from codec.training.module import CodecTraining
from codec.training.tasks import with_warp
from codec.training.throughput import VALIDATION
from common.progress import progress_over
from data.loading.clip import Clip
from data.loading.datamodule import ClipDataModule

_Row = tuple[int, int, dict[str, float]]  # quality, clips, terms


class Validation(Callback):
    """Validates at a stage's start, at fixed steps of it and at its end, wherever the run was
    interrupted. Lightning's own validation loop counts the batches of each `fit` anew.

    Args:
        data: has the validation clips; each process takes some of them.
        keep: is told, to keep the best.
    """

    def __init__(self, data: ClipDataModule, keep: CheckpointManager) -> None:
        self.data = data
        self.keep = keep

    def on_train_start(self, trainer: Trainer, module: CodecTraining) -> None:
        if module.before:
            return  # resumed in the middle of the stage
        last = module.schedule.stages[module.stage_index - 1]
        alike = (last.loss, last.frame_weights) == (module.stage.loss, module.stage.frame_weights)
        if not (module.stage_index and module.figures and alike):
            self._validate(module)
        if not module.global_step:
            module.write(module.figures)
        module.before = dict(module.figures)

    def on_train_batch_end(
        self, trainer: Trainer, module: CodecTraining, outputs: Any, batch: Any, index: int
    ) -> None:
        if module.stage.validates_after(module.step_of_stage):
            self._validate(module)
            module.write(module.figures)
            self.keep.save_if_best(module)

    def _validate(self, module: CodecTraining) -> None:
        with module.stopwatch.timed(VALIDATION):
            module.figures = validate(module, self.data.val_dataloader())
        module.validated_at = module.global_step


@torch.no_grad()
def validate(module: CodecTraining, batches: Iterable[Clip]) -> dict[str, float]:
    """Code clips with the weights that would be kept, at every one of `val_qualities`.

    Args:
        module: gives codec, loss, task and qualities.
        batches: this process's clips.

    Returns:
        Means over qualities of `val/TERM` for all terms of the loss: `val/loss`, `val/bpp`,
        `val/psnr`,
        each component's `val/bpp_...`, and what else it logs; and
        `val/bpp_qNN`, `val/psnr_qNN` (`val/lpips_qNN`); over the clips of all processes.
    """
    codec = module.best_codec
    was_training = codec.training
    codec.eval()
    rows = []
    for clip in progress_over(batches, "validation", "batch", shown=is_first(), stream=sys.stdout):
        frames = clip.frames.to(module.device).float() / 255
        for quality in module.val_qualities:
            given = torch.full((len(frames),), quality, device=module.device)
            with torch.autocast(module.device.type, enabled=False):  # as streams are coded
                rows.append((quality, len(frames), _terms(module, frames, given)))
    codec.train(was_training)
    return _figures([row for some in gather(rows) for row in some])


def _terms(module: CodecTraining, frames: Tensor, quality: Tensor) -> dict[str, float]:
    length = frames.shape[1]
    chunk = next(module.task.chunks(module.best_codec, frames, quality, length, hard=True))
    terms = module.loss(chunk.frames, chunk.coded, quality).terms
    terms = with_warp(terms, module.loss, chunk.frames, chunk.coded)
    return {name: float(value) for name, value in module.task.named(terms).items()}


def _figures(rows: list[_Row]) -> dict[str, float]:
    """Means of rows, which may stand for different numbers of clips."""
    found = {}
    for name in dict.fromkeys(name for _, _, terms in rows for name in terms):
        found[f"val/{name}"] = _mean(rows, name)
    for quality in dict.fromkeys(quality for quality, _, _ in sorted(rows, key=lambda row: row[0])):
        at = [row for row in rows if row[0] == quality]
        for name in ("bpp", "psnr", "lpips", "warp_psnr"):
            if name in at[0][2]:
                found[f"val/{name}_q{quality:02}"] = _mean(at, name)
        if "warp_psnr" in at[0][2]:
            motion = [
                (q, clips, {"motion": bpp_of(terms, "motion") or 0.0}) for q, clips, terms in at
            ]
            found[f"val/bpp_motion_q{quality:02}"] = _mean(motion, "motion")
    return found


def _mean(rows: list[_Row], name: str) -> float:
    """Over clips; a component that a clip has no symbols of costs nothing there."""
    there = [row for row in rows if name in row[2]]
    counted = rows if name.startswith("bpp_") else there
    return sum(clips * terms[name] for _, clips, terms in there) / sum(row[1] for row in counted)
