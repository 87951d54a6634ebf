"""Runs a schedule: one `Trainer.fit` a stage, from wherever the codec stands, and looks at what
each stage did.
"""

import copy
import logging
import warnings
from typing import Any

from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from codec.entropy.exact import freeze_exact
from codec.entropy.prices import update_prices
from codec.errors import CodecError
from codec.training.boundary import START, drop_stage_if_worse, stage_line
from codec.training.crops import check_crops
from codec.training.keep import KeepCheckpoints
from codec.training.meter import SpeedMeter
from codec.training.module import CodecTraining
from codec.training.processes import check_processes, count_processes, gather
from codec.training.progress import progress_callback
from codec.training.signals import StopOnSignal
from codec.training.stage import Stage
from codec.training.stopped import Stopped
from codec.training.trainer import make_trainer
from codec.training.validation import Validation
from codec.video import VideoCodec
from data.loading.datamodule import ClipDataModule


def fit(
    module: CodecTraining,
    data: ClipDataModule,
    keep: KeepCheckpoints,
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
    _quieten()
    processes, stages = count_processes(trainer), module.schedule.stages
    if module.resumed_data:
        data.resume(module.resumed_data)
    module.data_state = data.state
    module.stop_wanted = lambda: stop.wanted
    first = module.stages_done
    for index in range(first, len(stages)):
        if index > first and (signal := next(filter(None, gather(stop.wanted)), "")):
            raise Stopped(signal)  # between two stages, where a checkpoint has just been written
        left = module.schedule.start_of(index) + stages[index].steps - module.codec_steps
        _begin_stage(module, keep, index, new=left == stages[index].steps)
        if left:
            _fit_stage(module, data, keep, stop, loggers, trainer, left, processes)
        _end_stage(module, keep, index)


def _begin_stage(module: CodecTraining, keep: KeepCheckpoints, index: int, new: bool) -> None:
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
    keep: KeepCheckpoints,
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
    meter = SpeedMeter(data.workers)
    progress = progress_callback()
    callbacks = [stop, progress, Validation(data, keep, meter.busy), keep, meter]
    bar = {"enable_progress_bar": isinstance(progress, ProgressBar)}  # else Lightning adds its own
    made = make_trainer(stage, left, loggers, callbacks, trainer | bar, processes)
    text = (
        f"{module.schedule.where(module.codec_steps)}: {left} steps of {stage.batch} clips, "
        f"{stage.frames} frames of "
    )
    module.events.say(
        "stage", f"{text}{stage.crop}×{stage.crop}", module.codec_steps, stage=stage.name
    )
    try:
        made.fit(module, data)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning makes an exit of it
            raise KeyboardInterrupt from None
        raise
    if data.trouble:
        text = f"data: {data.trouble}; the warnings say which, and data.record={data.record}"
        module.events.say("data", text, module.codec_steps)
    if module.step_of_stage < stage.steps:
        keep.save_last(module)
        raise Stopped("trainer.max_time")


def _end_stage(module: CodecTraining, keep: KeepCheckpoints, index: int) -> None:
    """Say what the stage did, drop it if it did harm, keep a checkpoint of it."""
    stage = module.stage
    module.events.say(
        "stage end",
        stage_line(stage.name, module.before, module.figures),
        module.codec_steps,
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


def _quieten() -> None:
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.distributed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")  # Lightning's own use of torch
    warnings.filterwarnings("ignore", "Found .* module.* in eval mode")  # LPIPS, which stays so
    warnings.filterwarnings("ignore", "You passed in a `val_dataloader`")  # Validation reads it
    warnings.filterwarnings(
        "ignore", "The `srun` command is available"
    )  # processes are started without it
