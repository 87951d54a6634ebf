"""The Lightning module that trains a codec."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from codec.entropy.models.base import EntropyNetwork
from codec.entropy.models.factorized import solve_bounds
from codec.entropy.models.integer_layers import set_rounding
from codec.entropy.noise import ClipNoise
from codec.errors import CodecError
from codec.layers.blocks import Network
from codec.losses.rate_distortion import RateDistortionLoss
from codec.quality import QUALITIES
from codec.training.distributed import gather, mean_gradients, same_weights
from codec.training.logging import Events, MetricAccumulator
from codec.training.optim import (
    EMA,
    check_learning_rates,
    param_groups,
    set_learning_rates,
    set_trainable,
)
from codec.training.rate_monitor import RateMonitor
from codec.training.schedule import Schedule, Stage
from codec.training.shutdown import Stopped
from codec.training.tasks import WARP, task_named, with_warp
from codec.training.throughput import DATA, LOGGING, OTHER, Stopwatch
from codec.video import VideoCodec
from data.loading.clip import Clip

SOLVE_EVERY = 50


class CodecTraining(LightningModule):
    """Trains a codec's parameters with one optimizer, by manual optimisation, over the stages of a
    schedule.

    Everything random in a step follows from `seed`, the number of the step and the numbers of its
    samples, so a resumed run goes on as it would have, and processes that share a batch do what one
    alone would do.

    Beyond Lightning: optimisation is manual, as a step may have many backward passes and updates;
    terms are averaged by `MetricAccumulator`, as Lightning's own results do not survive a stop
    between two logged rows.

    Args:
        codec: what is trained.
        loss: rate, distortion and perception.
        schedule: stages; the module asks it for the learning rate of each step.
        task: `codec`, or `motion`, `residual`, `entropy`: these networks alone.
        seed: of qualities and quantisation noise.
        clip_gradient: largest norm of the gradient.
        weight_decay: of AdamW.
        ema: decay of the weights' moving average, which is validated, kept and exported; 0: the
            weights themselves are.
        most_skipped: so many updates in a row with a non-finite loss or gradient end the run.
        log_every: steps from one logged mean to the next.
        val_qualities: qualities at which validation codes every clip.
        bits_range, bits_jump: see `RateMonitor`.
        compile: fuse networks with `torch.compile`, see `compile_networks`.
        events: where to say what happens.
    """

    # Steps over all stages and resumes; Lightning's own count starts anew with every Trainer.
    global_step = 0

    def __init__(
        self,
        codec: VideoCodec,
        loss: RateDistortionLoss,
        schedule: Schedule,
        task: str = "codec",
        seed: int = 0,
        clip_gradient: float = 1.0,
        weight_decay: float = 0.0,
        ema: float = 0.0,
        most_skipped: int = 20,
        log_every: int = 10,
        val_qualities: tuple[int, ...] = (4, 22, 41, 59),
        bits_range: dict[str, list[float]] | None = None,
        bits_jump: float = 4.0,
        compile: bool = False,
        events: Events | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.codec = codec
        self.loss = loss
        self.schedule = schedule
        self.task = task_named(task)
        self.seed = seed
        self.clip_gradient = clip_gradient
        self.most_skipped = most_skipped
        self.log_every = log_every
        self.val_qualities = tuple(val_qualities)
        self.events = events or Events()
        self.samples = 0
        self.skipped = 0
        self.skipped_in_a_row = 0
        self._updated_in = -1  # the step whose update is the last that was taken
        self.validated_at = -1  # the step that `figures` are of
        # of the data, after so many samples
        self.data_state: Callable[[int], dict[str, Any]] = lambda samples: {}
        self.resumed_data: dict[str, Any] = {}
        self.stopwatch = Stopwatch()
        # asked for numbers at every logged row
        self.gauges: list[Callable[[], dict[str, float]]] = []
        self.stop_wanted: Callable[[], str] = lambda: ""  # name of a signal that came
        self.stopping = False
        self.figures: dict[str, float] = {}  # of the last validation
        self.before: dict[str, float] = {}  # of the validation at the stage's start
        self.stages_done = 0  # of which the end was seen to, too
        self.optimizer = torch.optim.AdamW(
            param_groups(codec), lr=1e-4, weight_decay=weight_decay, fused=True
        )
        self.ema = EMA(codec, ema) if ema else None
        self.rate_monitor = RateMonitor(bits_range, bits_jump)
        self.accumulator = MetricAccumulator()  # of what is logged next
        self._losses: list[Tensor] = []  # since the last update
        if compile:
            compile_networks(codec)
        wanted = self.task.trains(codec)
        self._never_trained = {
            name
            for name, p in codec.named_parameters()
            if not p.requires_grad or name not in wanted
        }
        for index in reversed(range(len(schedule.stages))):
            self.begin_stage(index)  # what a late stage lacks is said now, not after days

    @property
    def stage(self) -> Stage:
        """The stage that the next step belongs to; at its end, still that stage until
        `begin_stage`.
        """
        return self.schedule.stages[self.stage_index]

    @property
    def step_of_stage(self) -> int:
        """Steps since the stage's start."""
        return self.global_step - self.schedule.start_of(self.stage_index)

    @property
    def is_consistent(self) -> bool:
        """Whether weights, counts and figures are of one step: what is saved otherwise would go on
        with a step taken twice, or without its validation.
        """
        half_a_step = self._updated_in == self.global_step
        validates = self.step_of_stage > 0 and self.stage.validates_after(self.step_of_stage)
        return not half_a_step and not (validates and self.validated_at != self.global_step)

    @property
    def validation_loss(self) -> float:
        """Of the last validation."""
        return self.figures.get("val/loss", float("inf"))

    @property
    def best_codec(self) -> VideoCodec:
        """The codec with the weights that are validated and kept."""
        return self.ema.codec if self.ema else self.codec

    def weights_to_keep(self) -> dict[str, Tensor]:
        """State dict of `best_codec`."""
        return self.best_codec.state_dict()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer

    def on_fit_start(self) -> None:
        if self.ema:
            self.ema.codec.to(self.device)
        if len(steps := set(gather(self.global_step))) > 1:
            raise CodecError(
                f"training: processes found checkpoints of different steps {sorted(steps)}; give "
                "the command again"
            )
        same_weights(self.codec)

    def on_train_start(self) -> None:
        self.stopwatch.switch(DATA)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.stopwatch.switch(OTHER)
        return batch

    def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
        self.stopwatch.switch(DATA)
        if self.stopping:  # callbacks have seen the step; CheckpointManager saves on the way out
            raise Stopped

    def begin_stage(self, index: int) -> None:
        """Freeze parts, set the loss's weights and rounding as stage `index` says; what codec or
        task hold frozen stays so.

        Raises:
            CodecError: the stage names a part that the codec does not have, or trains nothing.
        """
        self.stage_index = index
        stage = self.stage
        check_learning_rates(self.optimizer.param_groups, stage)
        self._trained = set_trainable(self.codec, stage, self._never_trained)
        self._set_loss_weights(stage)
        self.rate_monitor.reset()
        set_rounding(self.codec, stage.rounding)

    def _set_loss_weights(self, stage: Stage) -> None:
        """Tell the loss what a stage says of it, by the names of the loss's own arguments.

        Raises:
            CodecError: the loss has no such argument.
        """
        weights: dict[str, Any] = dict(stage.loss)
        if stage.frame_weights is not None:
            weights["frame_weights"] = stage.frame_weights
        # Losses of other packages may still call it `weigh`, as it was called once.
        name = "set_weights" if hasattr(self.loss, "set_weights") else "weigh"
        set_weights: Callable[..., None] = getattr(self.loss, name)
        try:
            inspect.signature(set_weights).bind(**weights)
        except TypeError as error:
            where = f"schedule stage {stage.name!r}: loss {type(self.loss).__name__}"
            raise CodecError(f"{where}: {error}; leave it out, or choose another loss") from error
        set_weights(**weights)

    def training_step(self, clip: Clip, index: int) -> None:
        """One codec step: code the batch in chunks, add up their gradients, update the weights."""
        stage = self.stage
        torch.manual_seed(self.seed * 1_000_003 + self.global_step)
        set_learning_rates(self.optimizer.param_groups, stage, self.step_of_stage)
        frames = clip.frames.float() / 255
        first = self.samples + self.global_rank * len(frames)
        quality, noise = sample_quality_and_noise(self.seed, first, len(frames), self.device)
        update_per_frame = stage.update == "frame"
        part_size = len(frames) // stage.accumulate

        self.optimizer.zero_grad()
        for start in range(0, len(frames), part_size):
            part = slice(start, start + part_size)
            for chunk in self.task.chunks(
                self.codec,
                frames[part],
                quality[part],
                stage.bptt_length,
                noise=noise[part],
                checkpointing=stage.checkpointing,
            ):
                result = self.loss(chunk.frames, chunk.coded, quality[part])
                self._losses.append(result.loss.detach())
                if result.loss.requires_grad:  # not where all that it depends on is frozen
                    share = 1.0 if update_per_frame else chunk.share / stage.accumulate
                    self.manual_backward(result.loss * share)
                terms = with_warp(result.terms, self.loss, chunk.frames, chunk.coded)
                terms = self.task.named(terms)
                self.accumulator.add(terms, chunk.coded)
                if update_per_frame and not self._update(clip.names):
                    break  # what follows a bad frame would be bad
        if not update_per_frame:
            self._update(clip.names)

        self.samples += stage.batch
        self._solve_bounds(self.global_step + 1)
        self.global_step += 1  # last: from here on the state is that of the next step
        self._log_training(terms)

    def _update(self, names: list[str]) -> bool:
        """Average gradients over the processes and step, unless loss or gradient is not finite.

        That is asked once an update, as a device would be waited for. What is skipped is counted,
        said, and after too many in a row fatal.
        """
        trouble = "" if torch.stack(self._losses).isfinite().all() else "loss"
        self._losses = []
        flags = [float(bool(trouble)), float(bool(self.stop_wanted()))]
        not_finite, stops = mean_gradients(self._trained, flags)
        self.stopping = stops > 0
        if not not_finite:
            norm = torch.nn.utils.clip_grad_norm_(self._trained, self.clip_gradient)
            if torch.isfinite(norm):
                self._updated_in = self.global_step
                optimizer = self.optimizers()
                assert not isinstance(optimizer, list)  # there is one
                optimizer.step()
                self.accumulator.commit()
                self.optimizer.zero_grad()
                self.skipped_in_a_row = 0
                if self.ema:
                    self.ema.update(self.codec)
                return True
            trouble = "gradient"
        self.optimizer.zero_grad()
        self.accumulator.discard()
        self._skip(trouble, names)
        return False

    def _skip(self, trouble: str, names: list[str]) -> None:
        self.skipped += 1
        self.skipped_in_a_row += 1
        troubled = [(what, clips) for what, clips in gather((trouble, names)) if what]
        clips = [name for _, some in troubled for name in some]
        what = " and ".join(dict.fromkeys(what for what, _ in troubled))
        text = (
            f"step {self.global_step}: {what} not finite, skipped ({self.skipped} so far): "
            f"{', '.join(clips)}"
        )
        self.events.say("skipped", text, self.global_step, what=what, clips=clips)
        if self.skipped_in_a_row >= self.most_skipped:
            raise CodecError(
                f"training: {self.skipped_in_a_row} updates in a row were not finite "
                "(training.most_skipped); the last batch was "
                f"{', '.join(clips)}. Lower the learning rate, or start from an earlier checkpoint "
                "with init_from"
            )

    def _solve_bounds(self, step: int) -> None:
        """At fixed steps, so that a resumed run goes on as it would have."""
        if step % SOLVE_EVERY == 0 or step == self.schedule.steps:
            solve_bounds(self.codec)
            if self.ema:
                solve_bounds(self.ema.codec)

    def _log_training(self, terms: dict[str, Tensor]) -> None:
        shown = {name: terms[name] for name in (*self.task.metrics, WARP, "loss") if name in terms}
        self.log_dict(shown, prog_bar=True, logger=False)
        if self.global_step % self.log_every:
            return
        means = self.accumulator.compute()
        row = {f"train/{name}": value for name, value in means.items()}
        row["stage"] = self.stage_index
        row["lr"] = self.optimizer.param_groups[0]["lr"]
        row["skipped"] = self.skipped
        for gauge in self.gauges:
            row |= gauge()
        self.write(row)
        for warning in self.rate_monitor.check(means):
            text = f"warning: step {self.global_step}: {warning}; docs/failures.md says more"
            self.events.say("bits", text, self.global_step)

    def write(self, numbers: dict[str, float]) -> None:
        """Give numbers of this step to all loggers."""
        with self.stopwatch.timed(LOGGING):
            for logger in self.loggers:
                logger.log_metrics(numbers, step=self.global_step)


def sample_quality_and_noise(
    seed: int, first: int, count: int, device: torch.device
) -> tuple[Tensor, ClipNoise]:
    """Qualities `(count,)` on `device` and quantisation noise of the samples `first`, `first + 1`,
    ...

    They follow from the seed and the sample's number alone: its batch, process and place in them
    change nothing.
    """
    keys = [(seed, number) for number in range(first, first + count)]
    qualities = [int(np.random.default_rng(key).integers(QUALITIES)) for key in keys]
    return torch.tensor(qualities, device=device), ClipNoise(keys)


def compile_networks(codec: VideoCodec, backend: str = "inductor") -> list[str]:
    """Let `torch.compile` fuse the networks between two transmissions, in place; names in the state
    dict stay.

    Entropy networks are left alone: exact ones must not be fused, and the others are small. The
    first steps of every size take a minute more. Results differ in the last bits from those of a
    run without it, and after a resume from those of a run that went on, as code is compiled anew.

    Args:
        codec: whose `Network`s are compiled.
        backend: of `torch.compile`.

    Returns:
        The names of the networks.

    Raises:
        CodecError: the codec has none.
    """
    within = {
        inner
        for network in codec.modules()
        if isinstance(network, EntropyNetwork)
        for inner in network.modules()
    }
    found = {
        name: part
        for name, part in codec.named_modules()
        if isinstance(part, Network) and part not in within
    }
    if not found:
        raise CodecError(
            "training.compile=true: no part of this codec is a codec.layers.blocks.Network; use "
            "training.compile=false"
        )
    for part in found.values():
        part.compile_for(backend)
    return list(found)
