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
from codec.training.logging import Events, TermMeans
from codec.training.optim import WeightAverage, check_rates, parameter_groups, set_rates, thaw
from codec.training.rate_monitor import BitsWatch
from codec.training.schedule import Schedule, Stage
from codec.training.shutdown import Stopped
from codec.training.tasks import WARP, task_named, with_warp
from codec.training.throughput import profiler_of
from codec.video import VideoCodec
from data.loading.clip import Clip

SOLVE_EVERY = 50


class CodecTraining(LightningModule):
    """Trains a codec's parameters with one optimizer, by manual optimisation, over the stages of a
    schedule.

    Everything random in a step follows from `seed`, the number of the step and the numbers of its
    samples, so a resumed run goes on as it would have, and processes that share a batch do what one
    alone would do.

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
        bits_range, bits_jump: see `BitsWatch`.
        compile: fuse networks with `torch.compile`, see `compile_networks`.
        events: where to say what happens.
    """

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
        self.codec, self.loss, self.schedule, self.task = codec, loss, schedule, task_named(task)
        self.seed, self.clip_gradient, self.most_skipped = seed, clip_gradient, most_skipped
        self.log_every, self.val_qualities, self.events = (
            log_every,
            tuple(val_qualities),
            events or Events(),
        )
        self.codec_steps = self.samples = self.skipped = self.skipped_in_a_row = 0
        # True while weights and counters disagree: what is saved then would repeat a step.
        self.stepping = False
        self.data_state: Callable[[int], dict[str, Any]] = (
            lambda samples: {}
        )  # of the data, after so many samples
        self.resumed_data: dict[str, Any] = {}
        self.gauges: list[
            Callable[[], dict[str, float]]
        ] = []  # asked for numbers at every logged row
        self.stop_wanted: Callable[[], str] = lambda: ""  # name of a signal that came
        self.stopping = False
        self.figures: dict[str, float] = {}  # of the last validation
        self.before: dict[str, float] = {}  # of the validation at the stage's start
        self.stages_done = 0  # of which the end was seen to, too
        self.optimizer = torch.optim.AdamW(
            parameter_groups(codec), lr=1e-4, weight_decay=weight_decay, fused=True
        )
        self.average = WeightAverage(codec, ema) if ema else None
        self.watch = BitsWatch(bits_range, bits_jump)
        self.means = TermMeans()  # of what is logged next
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
        return self.codec_steps - self.schedule.start_of(self.stage_index)

    @property
    def validation_loss(self) -> float:
        """Of the last validation."""
        return self.figures.get("val/loss", float("inf"))

    @property
    def best_codec(self) -> VideoCodec:
        """The codec with the weights that are validated and kept."""
        return self.average.codec if self.average else self.codec

    def weights_to_keep(self) -> dict[str, Tensor]:
        """State dict of `best_codec`."""
        return self.best_codec.state_dict()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer

    def on_fit_start(self) -> None:
        if self.average:
            self.average.codec.to(self.device)
        if len(steps := set(gather(self.codec_steps))) > 1:
            raise CodecError(
                f"training: processes found checkpoints of different steps {sorted(steps)}; give "
                "the command again"
            )
        same_weights(self.codec)

    def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
        if self.stopping:  # callbacks have seen the step; KeepCheckpoints saves on the way out
            raise Stopped

    def begin_stage(self, index: int) -> None:
        """Freeze, thaw, weigh and round as stage `index` says; what codec or task hold frozen stays
        so.

        Raises:
            CodecError: the stage names a part that the codec does not have, or trains nothing.
        """
        self.stage_index = index
        stage = self.stage
        check_rates(self.optimizer.param_groups, stage)
        self._trained = thaw(self.codec, stage, self._never_trained)
        self.loss.weigh(**self._loss_weights(stage))
        self.watch.forget()
        set_rounding(self.codec, stage.rounding)

    def _loss_weights(self, stage: Stage) -> dict[str, Any]:
        """What a stage says of the loss, by the names of the loss's own arguments.

        Raises:
            CodecError: the loss has no such argument.
        """
        weights: dict[str, Any] = dict(stage.loss)
        if stage.frame_weights is not None:
            weights["frame_weights"] = stage.frame_weights
        try:
            inspect.signature(self.loss.weigh).bind(**weights)
        except TypeError as error:
            where = f"schedule stage {stage.name!r}: loss {type(self.loss).__name__}"
            raise CodecError(f"{where}: {error}; leave it out, or choose another loss") from error
        return weights

    def training_step(self, clip: Clip, index: int) -> None:
        torch.manual_seed(self.seed * 1_000_003 + self.codec_steps)
        stage, frames = self.stage, clip.frames.float() / 255
        quality, noise = draw(
            self.seed, self.samples + self.global_rank * len(frames), len(frames), self.device
        )
        set_rates(self.optimizer.param_groups, stage, self.step_of_stage)
        self.optimizer.zero_grad()
        part, by_frame = len(frames) // stage.accumulate, stage.update == "frame"
        for some in (slice(start, start + part) for start in range(0, len(frames), part)):
            how = {"noise": noise[some], "checkpointing": stage.checkpointing}
            for piece in self.task.pieces(
                self.codec, frames[some], quality[some], stage.segment, **how
            ):
                result = self.loss(piece.frames, piece.coded, quality[some])
                self._backward(result.loss, 1.0 if by_frame else piece.share / stage.accumulate)
                terms = self.task.named(
                    with_warp(result.terms, self.loss, piece.frames, piece.coded)
                )
                self.means.note(terms, piece.coded)
                if by_frame and not self._update(clip.names):
                    break  # what follows a bad frame would be bad
        if not by_frame:
            self._update(clip.names)
        self.codec_steps += 1
        self.samples += stage.batch
        self._solve_bounds()
        self.stepping = False
        self._log_training(terms)

    def _backward(self, loss: Tensor, share: float) -> None:
        """Add a gradient; whether all is finite is asked once an update, as a device would be
        waited for.
        """
        self._losses.append(loss.detach())
        if loss.requires_grad:  # not where all that it depends on is frozen
            self.manual_backward(loss * share)

    def _update(self, names: list[str]) -> bool:
        """Step, unless loss or gradient is not finite: that is counted, said, and after too many in
        a row fatal.
        """
        trouble = "" if torch.stack(self._losses).isfinite().all() else "loss"
        self._losses = []
        bad, stops = mean_gradients(
            self._trained, [float(bool(trouble)), float(bool(self.stop_wanted()))]
        )
        self.stopping = stops > 0
        if not bad and torch.isfinite(
            torch.nn.utils.clip_grad_norm_(self._trained, self.clip_gradient)
        ):
            self.stepping = True
            optimizer = self.optimizers()
            assert not isinstance(optimizer, list)  # there is one
            optimizer.step()
            self.means.settle(True)
            self.optimizer.zero_grad()
            self.skipped_in_a_row = 0
            if self.average:
                self.average.update(self.codec)
            return True
        self.optimizer.zero_grad()
        self.means.settle(False)
        self._skip(trouble or ("" if bad else "gradient"), names)
        return False

    def _skip(self, trouble: str, names: list[str]) -> None:
        self.skipped += 1
        self.skipped_in_a_row += 1
        told = [(what, clips) for what, clips in gather((trouble, names)) if what]
        clips = [name for _, some in told for name in some]
        what = " and ".join(dict.fromkeys(what for what, _ in told))
        text = (
            f"step {self.codec_steps}: {what} not finite, skipped ({self.skipped} so far): "
            f"{', '.join(clips)}"
        )
        self.events.say("skipped", text, self.codec_steps, what=what, clips=clips)
        if self.skipped_in_a_row >= self.most_skipped:
            raise CodecError(
                f"training: {self.skipped_in_a_row} updates in a row were not finite "
                "(training.most_skipped); the last batch was "
                f"{', '.join(clips)}. Lower the learning rate, or start from an earlier checkpoint "
                "with init_from"
            )

    def _solve_bounds(self) -> None:
        """At fixed steps, so that a resumed run goes on as it would have."""
        if self.codec_steps % SOLVE_EVERY == 0 or self.codec_steps == self.schedule.steps:
            solve_bounds(self.codec)
            if self.average:
                solve_bounds(self.average.codec)

    def _log_training(self, terms: dict[str, Tensor]) -> None:
        shown = {name: terms[name] for name in (*self.task.metrics, WARP, "loss") if name in terms}
        self.log_dict(shown, prog_bar=True, logger=False)
        if self.codec_steps % self.log_every:
            return
        means = self.means.take()
        row = {f"train/{name}": value for name, value in means.items()}
        row |= {
            "stage": self.stage_index,
            "lr": self.optimizer.param_groups[0]["lr"],
            "skipped": self.skipped,
        }
        for gauge in self.gauges:
            row |= gauge()
        self.write(row)
        for text in self.watch.look(means):
            self.events.say(
                "bits",
                f"warning: step {self.codec_steps}: {text}; docs/failures.md says more",
                self.codec_steps,
            )

    def write(self, numbers: dict[str, float]) -> None:
        """Give numbers of this step to all loggers."""
        with profiler_of(self.trainer).profile("logging"):
            for logger in self.loggers:
                logger.log_metrics(numbers, step=self.codec_steps)


def draw(seed: int, first: int, count: int, device: torch.device) -> tuple[Tensor, ClipNoise]:
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
