"""Runs a schedule: one `Trainer.fit` a stage, from wherever the codec stands, and looks at what
each stage did.
"""

import copy
import inspect
import logging
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import LambdaCallback, ProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import PyTorchProfiler, SimpleProfiler
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from codec.checkpoint import read_checkpoint
from codec.device import GPU_NAMES, accelerators
from codec.entropy.coding.prices import update_prices
from codec.entropy.models.integer_layers import freeze_exact
from codec.errors import CodecError
from codec.precision import AUTO
from codec.training.checkpointing import CheckpointManager, load_weights_and_optimizer
from codec.training.distributed import (
    check_processes,
    count_processes,
    gather,
    strategy_and_plugins,
    wait_for_all,
)
from codec.training.logging import progress_callback
from codec.training.module import CodecTraining
from codec.training.schedule import PRECISIONS, Stage
from codec.training.shutdown import StopOnSignal, Stopped
from codec.training.throughput import ThroughputMeter
from codec.training.validation import Validation
from codec.video import VideoCodec
from data.io.readers import open_reader
from data.loading.datamodule import ClipDataModule


def fit(
    module: CodecTraining,
    data: ClipDataModule,
    keep: CheckpointManager,
    loggers: list[Logger],
    trainer: dict[str, Any],
    stop: StopOnSignal,
) -> None:
    """Train through all stages that are not done yet.

    Args:
        module: with its schedule, possibly restored from a checkpoint.
        data: is told each stage's frames, crop, batch and first sample.
        keep: writes the checkpoints.
        loggers: get the same numbers.
        trainer: arguments of `pytorch_lightning.Trainer`: accelerator, devices, num_nodes,
            precision.
        stop: listens for signals already.

    Raises:
        CodecError: training cannot go on.
        KeyboardInterrupt: Ctrl-C; a checkpoint was written.
        Stopped: a signal or a time limit asked for it; a checkpoint was written.
    """
    _silence_lightning()
    processes = count_processes(trainer)
    stages = module.schedule.stages
    if module.resumed_data:
        data.resume(module.resumed_data)
    module.data_state = data.state
    module.stop_wanted = lambda: stop.wanted
    first = module.stages_done
    for index in range(first, len(stages)):
        if index > first and (signal := next(filter(None, gather(stop.wanted)), "")):
            raise Stopped(signal)  # between two stages, where a checkpoint has just been written
        left = module.schedule.start_of(index) + stages[index].steps - module.global_step
        _begin_stage(module, keep, index, new=left == stages[index].steps)
        if left:
            _fit_stage(module, data, keep, stop, loggers, trainer, left, processes)
        _end_stage(module, keep, index)


def _begin_stage(module: CodecTraining, keep: CheckpointManager, index: int, new: bool) -> None:
    module.begin_stage(index)
    if new:
        update_prices(module.codec)  # what stages before noted
        keep.begin_stage()
        module.before = {}
        if not index and module.stage.rollback is not None:
            keep.save(module, START)


def _fit_stage(
    module: CodecTraining,
    data: ClipDataModule,
    keep: CheckpointManager,
    stop: StopOnSignal,
    loggers: list[Logger],
    trainer: dict[str, Any],
    left: int,
    processes: int,
) -> None:
    """One stage, or what is left of it."""
    stage = module.stage
    data.configure(
        stage.frames,
        stage.crop,
        stage.batch // processes,
        start_sample=module.samples,
        batches=left,
    )
    meter = ThroughputMeter(data.workers)
    progress = progress_callback()
    signals = LambdaCallback(
        on_train_start=lambda *_: stop.listen(),
        on_train_batch_end=lambda *_: stop.step_done(),
    )
    callbacks = [meter, signals, progress, Validation(data, keep), keep]
    bar = {"enable_progress_bar": isinstance(progress, ProgressBar)}  # else Lightning adds its own
    if trainer.get("profiler"):
        profiler = PROFILERS[trainer["profiler"]]
        trainer = trainer | {"profiler": profiler(keep.folder, f"profile-{stage.name}")}
    made = make_trainer(stage, left, loggers, callbacks, trainer | bar, processes)
    text = (
        f"{module.schedule.where(module.global_step)}: {left} steps of {stage.batch} clips, "
        f"{stage.frames} frames of {stage.crop}×{stage.crop}"
    )
    module.events.say("stage", text, module.global_step, stage=stage.name)
    try:
        made.fit(module, data)
    except SystemExit as error:
        # Lightning exits after Ctrl-C; here whoever starts runs decides what follows.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    if data.trouble:
        text = f"data: {data.trouble}; the warnings say which, and data.record={data.record}"
        module.events.say("data", text, module.global_step)
    if module.step_of_stage < stage.steps:
        keep.save_last(module)
        raise Stopped("trainer.max_time")


def _end_stage(module: CodecTraining, keep: CheckpointManager, index: int) -> None:
    """Say what the stage did, drop it if it did harm, keep a checkpoint of it."""
    stage = module.stage
    module.events.say(
        "stage end",
        stage_line(stage.name, module.before, module.figures),
        module.global_step,
        stage=stage.name,
    )
    drop_stage_if_worse(module, keep)
    module.stages_done = index + 1
    keep.save(module, f"stage_{stage.name}.ckpt")
    keep.save_last(module)
    warn_of_sums(module.best_codec)


@rank_zero_only
def warn_of_sums(codec: VideoCodec) -> None:
    """Say now what would be an error when a stream is coded."""
    try:
        freeze_exact(copy.deepcopy(codec).cpu())
    except CodecError as error:
        print(f"warning: this checkpoint cannot code streams: {error}")


def check(module: CodecTraining, data: ClipDataModule, trainer: dict[str, Any]) -> None:
    """Look at what the parts of a run must have of each other, before anything is said of stages.

    Raises:
        CodecError: other processes were started than the run has, a stage's batch cannot be shared
            among them, or crops are too large for the videos.
        DataError: there are none.
    """
    processes = count_processes(trainer)
    check_processes(processes)
    for stage in module.schedule.stages:
        check_batch(stage, processes)
    data.setup()
    check_crops(data, module.schedule.stages)


def check_batch(stage: Stage, processes: int) -> None:
    """Raise CodecError unless a stage's batch is a whole number of clips for each process and each
    part.
    """
    if stage.batch % (processes * stage.accumulate):
        raise CodecError(
            f"schedule stage {stage.name!r}: batch {stage.batch} is of all processes together and "
            "cannot be divided by "
            f"{processes} processes x {stage.accumulate} (accumulate); choose a multiple"
        )


def _silence_lightning() -> None:
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.distributed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")  # Lightning's own use of torch
    warnings.filterwarnings("ignore", "Found .* module.* in eval mode")  # LPIPS, which stays so
    warnings.filterwarnings("ignore", "You passed in a `val_dataloader`")  # Validation reads it
    warnings.filterwarnings(
        "ignore", "The `srun` command is available"
    )  # processes are started without it


START = "start.ckpt"  # weights before the first stage, where it may be dropped


def stage_line(name: str, before: dict[str, float], after: dict[str, float]) -> str:
    """What a stage did to the validation clips, for example

    `stage chains: loss 1.310 -> 1.102; PSNR 33.10 -> 33.85 dB; bpp 0.5210 -> 0.4733 (intra 0.2101
        -> 0.2050, ...)`.

    Args:
        name: of the stage.
        before, after: figures of `validate`; both with the stage's weights of the loss.
    """
    parts = [_change("loss", "val/loss", before, after, 3)]
    for word, key in (("PSNR", "val/psnr"), ("PSNR of the prediction", "val/warp_psnr")):
        if key in after:
            parts.append(_change(word, key, before, after, 2) + " dB")
    if "val/lpips" in after:
        parts.append(_change("LPIPS", "val/lpips", before, after, 4))
    bits = [key for key in after if key.startswith("val/bpp_") and not key.startswith("val/bpp_q")]
    families = list(dict.fromkeys(key.split(".")[0] for key in bits))
    # kinds of one component side by side
    bits.sort(key=lambda key: families.index(key.split(".")[0]))
    components = ", ".join(
        _change(key.removeprefix("val/bpp_"), key, before, after, 4)
        for key in bits
        if "_q" not in key
    )
    total = "val/bpp" if "val/bpp" in after else ""
    if total:
        parts.append(
            _change("bpp", total, before, after, 4) + (f" ({components})" if components else "")
        )
    elif components:
        parts.append(f"bpp of {components}")
    return f"stage {name}: " + "; ".join(parts)


def drop_stage_if_worse(module: CodecTraining, keep: CheckpointManager) -> bool:
    """Go back to the weights from before the stage where its `rollback` says so; its own are kept
    in a file.

    Counts of steps and samples stay. Says so; returns whether it was done.
    """
    stage, before, after = module.stage, module.before, module.figures
    if stage.rollback is None or after["val/loss"] <= before["val/loss"] * (1 + stage.rollback):
        return False
    dropped = f"dropped_{stage.name}.ckpt"
    keep.save(module, dropped)
    wait_for_all()
    content = read_checkpoint(keep.folder / _start_of(module))
    load_weights_and_optimizer(module, content["codec"], content["training"])
    module.figures = dict(before)
    keep.best = float("inf")
    keep.save_if_best(module)  # or the best would be one of the dropped
    text = (
        f"stage {stage.name}: validation loss rose from {before['val/loss']:.4f} to "
        f"{after['val/loss']:.4f}, by more than "
        f"rollback: {stage.rollback}; back to the weights from before it. Those that it ended with "
        f"are in {keep.folder / dropped}"
    )
    module.events.say("rollback", text, module.global_step, stage=stage.name)
    return True


def _start_of(module: CodecTraining) -> str:
    """The checkpoint with the weights that the stage started from."""
    return (
        f"stage_{module.schedule.stages[module.stage_index - 1].name}.ckpt"
        if module.stage_index
        else START
    )


def _change(
    word: str, key: str, before: dict[str, float], after: dict[str, float], digits: int
) -> str:
    return f"{word} {before.get(key, float('nan')):.{digits}f} -> {after[key]:.{digits}f}"


# A crop in shorter sides of the largest video: smaller videos are padded by reflection up to there.
MOST = 2


def check_crops(data: ClipDataModule, stages: Sequence[Stage]) -> None:
    """Compare the crops of all stages, and that of validation, with the videos that validation is
    going to read.

    Raises:
        CodecError: a crop is more than `MOST` times the shorter side of each of them.
    """
    found = _sizes(data)
    if not found:  # reading them says why
        return
    width, height, path = max(found, key=lambda size: min(size[:2]))
    most = MOST * min(width, height)
    assert data.val_clips is not None
    crops = [(f"schedule stage {stage.name!r}: crop", stage.crop) for stage in stages] + [
        ("data.val_crop", data.val_clips.crop)
    ]
    for field, crop in crops:
        if crop > most:
            raise CodecError(
                f"{field} is {crop}; the largest video of {len(found)} looked at, {path}, is "
                f"{width}×{height}, and videos are "
                f"padded to at most {MOST} times their shorter side: give {most} or less, or "
                "larger videos"
            )


def _sizes(data: ClipDataModule) -> list[tuple[int, int, str]]:
    """Width, height and file of videos spread over those of validation; what cannot be opened is
    left out.
    """
    assert data.val_clips is not None
    sequences = data.val_clips.sequences
    found: list[tuple[int, int, str]] = []
    count = min(data.val_clips.count, len(sequences))
    for k in range(count):
        sequence = sequences[k * len(sequences) // count]
        # damaged files make libraries raise many kinds; they are set aside when they are drawn
        with suppress(Exception):
            known = sequence.timing or open_reader(sequence, "pyav")
            found.append((known.width, known.height, str(sequence.path)))
    return found


ACCELERATORS = ("auto", "cpu", *GPU_NAMES, "mps")
_ALL = inspect.signature(Trainer).parameters
_DECIDED_HERE = (
    "accumulate_grad_batches",
    "callbacks",
    "enable_checkpointing",
    "enable_model_summary",
    "limit_train_batches",
    "limit_val_batches",
    "log_every_n_steps",
    "logger",
    "max_epochs",
    "num_sanity_val_steps",
    "overfit_batches",
    "plugins",
    "strategy",
)
PROFILERS = {"simple": SimpleProfiler, "pytorch": PyTorchProfiler}


def check_trainer(trainer: dict[str, Any]) -> None:
    """Refuse what could not be trained with, before anything is begun.

    Args:
        trainer: arguments of `pytorch_lightning.Trainer`: accelerator, devices, num_nodes,
            precision, ...

    Raises:
        CodecError: a precision that training cannot step in, an accelerator or devices that are not
            there, or a field that the Trainer does not have or schedules decide.
    """
    if unknown := sorted(name for name in trainer if name not in _ALL or name in _DECIDED_HERE):
        raise CodecError(
            f"trainer.{unknown[0]}: not a field to give, schedules and conf/trainer say the rest; "
            "remove it"
        )
    for name, known in (
        ("precision", (AUTO, *PRECISIONS)),
        ("accelerator", ACCELERATORS),
        ("profiler", (None, *PROFILERS)),
    ):
        if name in trainer and trainer[name] not in known:
            shown = ", ".join(value for value in known if value)
            raise CodecError(f"trainer.{name}: {trainer[name]} given; choose from {shown}")
    if trainer.get("devices", 1) == AUTO:
        trainer = trainer | {"devices": 1}
    count_processes(trainer)
    _check_devices(trainer.get("accelerator", "auto"), trainer.get("devices", 1))


def _check_devices(accelerator: str, devices: int | list[int]) -> None:
    there, wanted = len(accelerators()), max(devices) + 1 if isinstance(devices, list) else devices
    if accelerator in GPU_NAMES and not there:
        raise CodecError(
            f"trainer.accelerator={accelerator}: torch can use no GPU here (corvid doctor says "
            "why); "
            "trainer.accelerator=auto takes what there is"
        )
    if there and accelerator in ("auto", *GPU_NAMES) and wanted > there:
        raise CodecError(
            f"trainer.devices={devices}: torch can use {there} GPU here; give "
            f"trainer.devices={there} or less"
        )


def make_trainer(
    stage: Stage,
    steps: int,
    loggers: list[Logger],
    callbacks: list[Callback],
    trainer: dict[str, Any],
    processes: int,
) -> Trainer:
    """A Trainer for `steps` of a stage.

    Raises:
        CodecError: Lightning refuses the settings.
    """
    given = (
        trainer
        | strategy_and_plugins(processes)
        | ({"precision": stage.precision} if stage.precision else {})
    )
    try:
        return Trainer(
            max_epochs=1,
            limit_train_batches=steps,
            limit_val_batches=0,
            logger=loggers,
            callbacks=callbacks,
            num_sanity_val_steps=0,
            enable_checkpointing=False,
            log_every_n_steps=1,
            enable_model_summary=False,
            **given,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise CodecError(f"trainer: {' '.join(str(error).split())}; correct trainer.*") from error
