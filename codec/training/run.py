"""One run: from a config and a folder to a trained codec, from the start or from where the folder's
run stopped.
"""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import seed_everything
from pytorch_lightning.utilities import rank_zero_only

from codec import registry
from codec.allocator import keep_freed_memory
from codec.checkpoint import build_codec, without_weights
from codec.device import set_tf32
from codec.errors import CodecError
from codec.precision import AUTO
from codec.training.ending import say_stop
from codec.training.events import EVENTS, Events
from codec.training.fit import check, fit
from codec.training.folder import (
    alone_in,
    check_same_run,
    moved_to,
    with_precision_of,
    write_config,
)
from codec.training.initial import init_from
from codec.training.keep import KeepCheckpoints, find_newest, settle
from codec.training.loggers import JsonLinesLogger, forget_after, wandb_logger
from codec.training.module import CodecTraining
from codec.training.precision import best_precision, choose_precision
from codec.training.processes import (
    are_started_outside,
    check_nodes,
    choose_devices,
    count_processes,
    run_in_processes,
)
from codec.training.record import precision_of_run, write_record
from codec.training.schedule import schedule_of
from codec.training.signals import StopOnSignal
from codec.training.trainer import check_trainer

METRICS = "metrics.jsonl"


def train(folder: Path, config: dict[str, Any], sweep: Path | None = None) -> CodecTraining | None:
    """Train what `config` describes, into `folder`, or go on with it there.

    Args:
        folder: made where it does not exist, and removed again where a mistake ends the run before
            its first stage; may hold a run with the same config, except for fields that `is_free`
            names.
        config: resolved, plain; as conf/train.yaml.
        sweep: folder of the sweep that the run is a job of; None: it is no job of one.

    Returns:
        What was trained; None where the folder's run is finished, or other processes trained it.

    Raises:
        CodecError: the folder holds another run or one that another process trains, or training
            cannot begin or go on.
        Stopped: a signal asked for it; there is a checkpoint.
    """
    check_trainer(config["trainer"])
    check_nodes(config["trainer"].get("num_nodes", 1))
    config = with_precision_of(folder, moved_to(folder, config))
    with alone_in(folder):
        step = _first_step(folder, config)
        if step is None:
            return None
        config = _with_devices(_with_precision(folder, config, step, sweep))
        processes = count_processes(config["trainer"]) // config["trainer"].get("num_nodes", 1)
        if processes == 1 or are_started_outside():
            return train_from_here(folder, config)
        run_in_processes(processes, train_from_here, folder, config)
        if not _is_finished(find_newest(folder), config):
            raise CodecError(
                f"{folder}: its processes ended before the last stage; the same command continues"
            )
        return None


def train_from_here(folder: Path, config: dict[str, Any]) -> CodecTraining:
    """Train in a folder that this process, or the one that started it, has to itself."""
    keep_freed_memory()  # a step frees what the next one needs
    with StopOnSignal() as stop:
        seed_everything(config["seed"], verbose=False)
        set_tf32(True)
        found = find_newest(folder)
        data = registry.build("data", config["data"], "data")
        module = _module(folder, config, new=not found)
        keep = KeepCheckpoints(folder, config["checkpoint_every"], config.get("keep_last", 3))
        if found:
            keep.take_up(module, found)
        check(module, data, config["trainer"])  # before wandb hears of a run that cannot be
        tracking = wandb_logger(folder, config["name"], config["wandb"], config)
        loggers = [logger for logger in (JsonLinesLogger(folder / METRICS), tracking) if logger]
        failed = True
        try:
            fit(module, data, keep, loggers, config["trainer"], stop)
            failed = False
        except BaseException as error:
            say_stop(module, keep, error, stop.wanted)
            raise
        finally:
            if tracking:
                tracking.finish(failed)
    _say(
        f"trained {module.codec_steps} steps; checkpoints, config and metrics.jsonl are in {folder}"
    )
    return module


def _module(folder: Path, config: dict[str, Any], new: bool) -> CodecTraining:
    """The training module of a config, its codec with the weights that a new run starts with."""
    described = config["codec"] if new else without_weights(config["codec"])
    codec = build_codec(described, config.get("plugins") or ())
    codec = codec.to(memory_format=torch.channels_last)
    if config.get("init_from") and new:
        _say(init_from(codec, config["init_from"]))
    loss, schedule = registry.build("loss", config["loss"], "loss"), schedule_of(config["schedule"])
    events = Events(folder / EVENTS)
    return CodecTraining(codec, loss, schedule, events=events, **config["training"])


def _with_precision(
    folder: Path, config: dict[str, Any], step: int, sweep: Path | None
) -> dict[str, Any]:
    """The config with what the trainer computes in, which is said and recorded, in
    place of `auto`.
    """
    trainer = config["trainer"]
    if (
        rank_zero_only.rank
    ):  # started beside the first process, which will tell what it chose (`GradientMean`)
        return config | {"trainer": trainer | {"precision": best_precision(trainer)}}
    chosen = choose_precision(trainer, precision_of_run(folder), sweep)
    _say(chosen.line)
    write_record(folder, step, chosen.name)
    return config | {"trainer": trainer | {"precision": chosen.name}}


def _with_devices(config: dict[str, Any]) -> dict[str, Any]:
    """The config with the number of processes in place of `auto`; more than one are said."""
    trainer = config["trainer"]
    devices = choose_devices(trainer, schedule_of(config["schedule"]).stages)
    if trainer.get("devices", 1) == AUTO and devices > 1:
        _say(
            f"processes: {devices}, which share each batch (trainer.devices=auto; 1 is one process)"
        )
    return config | {"trainer": trainer | {"devices": devices}}


def _first_step(folder: Path, config: dict[str, Any]) -> int | None:
    """Get the folder ready and say what is going to happen: the step to go on from; None where its
    run is finished.
    """
    settle(folder, config.get("keep_last", 3))
    found = find_newest(folder)
    if found or any(folder.glob("*.ckpt")):
        check_same_run(folder, config)
    if not found:
        _begin(folder, config)
        return 0
    step = found["training"]["codec_steps"]
    if _is_finished(found, config):
        _say(f"{folder}: finished, after {step} steps; nothing to do")
        return None
    _say(f"continues {folder} at step {step}, {schedule_of(config['schedule']).where(step)}")
    _forget_after(folder, step)
    return step


def _is_finished(found: dict[str, Any] | None, config: dict[str, Any]) -> bool:
    """Whether a checkpoint is of a run that has seen the end of its last stage."""
    return bool(found) and found["training"].get("stages_done", 0) >= len(
        config["schedule"]["stages"]
    )


@rank_zero_only
def _begin(folder: Path, config: dict[str, Any]) -> None:
    started = (folder / "config.yaml").is_file()
    _say(
        f"begins again in {folder}, where no checkpoint is yet"
        if started
        else f"new run in {folder}"
    )
    write_config(folder, config)
    (folder / "record.json").unlink(missing_ok=True)
    _forget_after(folder, -1)


def _forget_after(folder: Path, step: int) -> None:
    for name in (METRICS, EVENTS):
        forget_after(folder / name, step)


@rank_zero_only
def _say(text: str) -> None:
    print(text, flush=True)
