"""Lightning's Trainer: what a config may say of it, and what cannot be had here."""

import inspect
from typing import Any

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from codec.device import GPU_NAMES, accelerators
from codec.errors import CodecError
from codec.precision import AUTO
from codec.training.processes import count_processes, strategy_and_plugins
from codec.training.stage import PRECISIONS, Stage

ACCELERATORS = ("auto", "cpu", *GPU_NAMES, "mps")
_ALL = inspect.signature(Trainer).parameters
_OURS = (
    "max_epochs",
    "limit_train_batches",
    "limit_val_batches",
    "logger",
    "callbacks",
    "num_sanity_val_steps",
    "strategy",
)
_OURS += (
    "enable_checkpointing",
    "log_every_n_steps",
    "enable_model_summary",
    "plugins",
    "accumulate_grad_batches",
    "profiler",
)


def check_trainer(trainer: dict[str, Any]) -> None:
    """Refuse what could not be trained with, before anything is begun.

    Args:
        trainer: arguments of `pytorch_lightning.Trainer`: accelerator, devices, num_nodes,
            precision, ...

    Raises:
        CodecError: a precision that training cannot step in, an accelerator or devices that are not
            there, or a field that the Trainer does not have or schedules decide.
    """
    if unknown := sorted(name for name in trainer if name not in _ALL or name in _OURS):
        raise CodecError(
            f"trainer.{unknown[0]}: not a field to give, schedules and conf/trainer say the rest; "
            "remove it"
        )
    for name, known in (("precision", (AUTO, *PRECISIONS)), ("accelerator", ACCELERATORS)):
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
