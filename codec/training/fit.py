"""Runs a schedule: one `Trainer.fit` a stage, from wherever the codec stands."""

import copy
import logging
import warnings
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from codec.checkpoint import read_checkpoint
from codec.entropy.exact import freeze_exact
from codec.errors import CodecError
from codec.training.keep import KeepCheckpoints
from codec.training.module import CodecTraining
from codec.video import VideoCodec
from data.module import ClipDataModule


def fit(
    module: CodecTraining, data: ClipDataModule, keep: KeepCheckpoints, loggers: list[Logger], trainer: dict[str, Any]
) -> None:
    """Train through all stages that are not done yet.

    Args:
        module: with its schedule, possibly restored from a checkpoint.
        data: is told each stage's frames, crop, batch and first sample.
        keep: writes the checkpoints.
        loggers: get the same numbers.
        trainer: arguments of `pytorch_lightning.Trainer`: accelerator, devices, precision.
    """
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")  # Lightning's own use of torch
    warnings.filterwarnings("ignore", "Found .* module.* in eval mode")  # LPIPS, which stays so
    data.setup()  # before anything is said of stages: it may take long, or fail
    if module.resumed_data:
        data.resume(module.resumed_data)
    module.data_state = data.state
    schedule = module.schedule
    for index, stage in enumerate(schedule.stages):
        left = schedule.start_of(index) + stage.steps - module.codec_steps
        if left <= 0:
            continue
        module.begin_stage(index)
        if left == stage.steps:
            keep.begin_stage()
        data.configure(stage.frames, stage.crop, stage.batch, start_sample=module.samples, batches=left)
        print(
            f"stage {index + 1}/{len(schedule.stages)} {stage.name}: {left} steps of {stage.batch} clips, "
            f"{stage.frames} frames of {stage.crop}×{stage.crop}"
        )
        Trainer(
            max_epochs=1,
            limit_train_batches=left,
            val_check_interval=_interval(left, stage.validate_every),
            logger=loggers,
            callbacks=[keep, _Bar(refresh_rate=10)],
            num_sanity_val_steps=0,
            enable_checkpointing=False,
            log_every_n_steps=1,
            enable_model_summary=False,
            **trainer,
        ).fit(module, data)
        if data.trouble:
            print(f"data: {data.trouble}; the warnings say which, and data.record={data.record}")
        keep.save(module, f"stage_{stage.name}.ckpt")
        warn_of_sums(module.codec)


def resume(module: CodecTraining, keep: KeepCheckpoints, folder: Path) -> None:
    """Take up the weights, the optimizer and the step of a run's `last.ckpt`."""
    content = read_checkpoint(folder / "last.ckpt")
    module.codec.load_state_dict(content["codec"])
    module.restore(content["training"])
    keep.begin_stage(content["training"]["best"])


@rank_zero_only
def warn_of_sums(codec: VideoCodec) -> None:
    """Say now what would be an error when a stream is coded."""
    try:
        freeze_exact(copy.deepcopy(codec).cpu())
    except CodecError as error:
        print(f"warning: this checkpoint cannot code streams: {error}")


def _interval(steps: int, wanted: int) -> int:
    """An interval near `wanted` that ends close to the last of `steps`."""
    return steps // max(1, round(steps / wanted))


class _Bar(TQDMProgressBar):
    """A progress bar without the loggers' version."""

    def get_metrics(self, *args: Any) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(*args).items() if name != "v_num"}
