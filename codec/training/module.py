"""The Lightning module that trains a codec."""

from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from codec.entropy.density import solve_bounds
from codec.entropy.exact import set_rounding
from codec.errors import CodecError
from codec.losses.rate_distortion import RateDistortionLoss
from codec.quality import QUALITIES
from codec.training.schedule import Schedule
from codec.video import VideoCodec
from data.clip import Clip

SOLVE_EVERY = 50


class CodecTraining(LightningModule):
    """Trains all parameters of a codec with one optimizer, by manual optimisation, over the stages of a schedule.

    Everything random in a step follows from `seed` and the number of the step, so a resumed run goes on as it would have.

    Args:
        codec: what is trained.
        loss: rate, distortion and perception.
        schedule: stages; the module asks it for the learning rate of each step.
        seed: of qualities and quantisation noise.
        clip_gradient: largest norm of the gradient.
        weight_decay: of AdamW.
        most_skipped: so many steps in a row with a non-finite loss or gradient end the run.
        log_every: steps from one logged mean to the next.
        val_qualities: qualities at which validation codes every clip.
    """

    def __init__(
        self,
        codec: VideoCodec,
        loss: RateDistortionLoss,
        schedule: Schedule,
        seed: int = 0,
        clip_gradient: float = 1.0,
        weight_decay: float = 0.0,
        most_skipped: int = 20,
        log_every: int = 10,
        val_qualities: tuple[int, ...] = (4, 22, 41, 59),
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.codec, self.loss, self.schedule = codec, loss, schedule
        self.seed, self.clip_gradient, self.most_skipped = seed, clip_gradient, most_skipped
        self.log_every, self.val_qualities = log_every, tuple(val_qualities)
        self.codec_steps = self.samples = self.skipped = self.skipped_in_a_row = 0
        self.data_state: Callable[[int], dict[str, Any]] = lambda samples: {}  # of the data, after so many samples
        self.resumed_data: dict[str, Any] = {}
        self.processes = 1
        self.stepping = False
        self.validation_loss = float("inf")
        self.optimizer = torch.optim.AdamW(codec.parameters(), lr=1e-4, weight_decay=weight_decay, fused=True)
        self._never_trained = {name for name, p in codec.named_parameters() if not p.requires_grad}
        self._sums: dict[str, list[Tensor]] = {}
        self._validation: list[dict[str, Any]] = []
        for index in reversed(range(len(schedule.stages))):
            self.begin_stage(index)  # what a late stage lacks is said now, not after days

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer

    def on_fit_start(self) -> None:
        self.processes = self.trainer.world_size

    def begin_stage(self, index: int) -> None:
        """Freeze, thaw, weigh and round as stage `index` says; what the codec itself holds frozen stays so.

        Raises:
            CodecError: the stage freezes a part that the codec does not have.
        """
        stage = self.schedule.stages[index]
        for part in stage.frozen:
            if not any(name == part or name.startswith(part + ".") for name, _ in self.codec.named_modules()):
                raise CodecError(f"schedule stage {stage.name!r}: frozen names {part!r}, which the codec does not have")
        for name, parameter in self.codec.named_parameters():
            frozen = name in self._never_trained or any(name.startswith(part + ".") for part in stage.frozen)
            parameter.requires_grad_(not frozen)
        self.loss.weigh(**stage.loss)
        set_rounding(self.codec, stage.rounding)

    def training_step(self, clip: Clip, index: int) -> None:
        torch.manual_seed(self.seed * 1_000_003 + self.codec_steps)
        frames = clip.frames.float() / 255
        quality = torch.randint(0, QUALITIES, (len(frames),)).to(self.device)
        result = self.loss(frames, self.codec(frames, quality), quality)
        self._update(result.loss, clip.names)
        self.codec_steps += 1
        self.samples += len(frames) * self.processes
        if self.codec_steps % SOLVE_EVERY == 0 or self.codec_steps == self.schedule.steps:
            solve_bounds(self.codec)
        self.stepping = False
        self._log_training(result.terms)

    def _update(self, loss: Tensor, names: list[str]) -> None:
        """Step, unless loss or gradient is not finite: that is counted, said, and after too many in a row fatal."""
        stage_index, stage = self.schedule.at(self.codec_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = stage.rate(self.codec_steps - self.schedule.start_of(stage_index))
        self.optimizer.zero_grad()
        finite = bool(torch.isfinite(loss))
        if finite:
            self.manual_backward(loss)
            finite = bool(torch.isfinite(torch.nn.utils.clip_grad_norm_(self.codec.parameters(), self.clip_gradient)))
        if finite:
            self.stepping = True  # until the step is counted: what is saved in between would repeat it
            self.optimizers().step()
            self.skipped_in_a_row = 0
            return
        self.skipped += 1
        self.skipped_in_a_row += 1
        self.print(f"step {self.codec_steps}: loss or gradient not finite, skipped ({self.skipped} so far): {', '.join(names)}")
        if self.skipped_in_a_row >= self.most_skipped:
            raise CodecError(
                f"training: {self.skipped_in_a_row} steps in a row were not finite (most_skipped); the last batch was "
                f"{', '.join(names)}. Lower the learning rate, or resume from an earlier checkpoint"
            )

    def _log_training(self, terms: dict[str, Tensor]) -> None:
        for name, value in terms.items():
            self._sums.setdefault(name, []).append(value)
        shown = {name: terms[name] for name in ("bpp", "psnr", "loss")}
        self.log_dict(shown, prog_bar=True, logger=False)
        if self.codec_steps % self.log_every == 0:
            index, stage = self.schedule.at(self.codec_steps - 1)
            means = {f"train/{name}": torch.stack(values).mean().item() for name, values in self._sums.items()}
            extra = {"stage": index, "lr": self.optimizer.param_groups[0]["lr"], "skipped": self.skipped}
            self._write(means | extra)
            self._sums = {}

    def validation_step(self, clip: Clip, index: int) -> None:
        frames = clip.frames.float() / 255
        for quality in self.val_qualities:
            index = torch.full((len(frames),), quality, device=self.device)
            with torch.autocast(self.device.type, enabled=False):  # as streams are coded
                terms = self.loss(frames, self.codec(frames, index, hard=True), index).terms
            self._validation.append(terms | {"quality": quality, "clips": len(frames)})

    def on_validation_epoch_end(self) -> None:
        metrics: dict[str, Any] = {}
        for quality in self.val_qualities:
            rows = [row for row in self._validation if row["quality"] == quality]
            for name in ("bpp", "psnr", "lpips"):
                if name in rows[0]:
                    metrics[f"val/{name}_q{quality:02}"] = _mean(rows, name)
        self.validation_loss = _mean(self._validation, "loss")
        self._validation = []
        self._write(metrics | {"val/loss": self.validation_loss})

    def _write(self, metrics: dict[str, float]) -> None:
        for logger in self.loggers:
            logger.log_metrics(metrics, step=self.codec_steps)

    def training_state(self) -> dict[str, Any]:
        """What a checkpoint must hold, besides the codec, for training to go on."""
        counts = {"codec_steps": self.codec_steps, "samples": self.samples, "skipped": self.skipped}
        return counts | {"data": self.data_state(self.samples), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a `training_state`."""
        if "samples" not in state:
            raise CodecError("resume: the checkpoint is of an earlier version; take its weights with start_weights=RUN")
        self.codec_steps, self.samples, self.skipped = state["codec_steps"], state["samples"], state["skipped"]
        self.resumed_data = state["data"]
        self.optimizer.load_state_dict(state["optimizer"])


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    """Mean over clips of what batches, which may differ in size, gave."""
    return sum(float(row[name]) * row["clips"] for row in rows) / sum(row["clips"] for row in rows)
