"""One run: from a config and a folder to a trained codec, from the start or from where the folder's
run stopped.
"""

from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import seed_everything
from pytorch_lightning.utilities import rank_zero_only

from codec import registry
from codec.checkpoint import build_codec, without_weights
from codec.device import set_tf32
from codec.errors import CodecError
from codec.precision import AUTO
from codec.training.checkpointing import CheckpointManager, find_newest, init_from, rotate
from codec.training.distributed import (
    are_started_outside,
    best_precision,
    check_nodes,
    choose_devices,
    choose_precision,
    count_processes,
    rank_of_start,
    run_in_processes,
)
from codec.training.logging import Events, finish_loggers, forget_after, make_loggers
from codec.training.loop import check, check_trainer, fit
from codec.training.module import CodecTraining
from codec.training.run_dir import (
    EVENTS,
    METRICS,
    alone_in,
    check_same_run,
    check_stored,
    differences,
    identity,
    is_free,
    listed,
    moved_to,
    precision_of_run,
    read_config,
    with_precision_of,
    write_config,
    write_record,
)
from codec.training.schedule import schedule_of
from codec.training.shutdown import StopOnSignal, Stopped, StoppedEarly
from common.files import WriteError
from common.resources import keep_freed_memory


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
        keep = CheckpointManager(folder, config["checkpoint_every"], config.get("keep_last", 3))
        if found:
            keep.restore(module, found)
        check(module, data, config["trainer"])  # before wandb hears of a run that cannot be
        loggers = make_loggers(folder, config, module.global_step)
        failed = True
        try:
            fit(module, data, keep, loggers, config["trainer"], stop)
            failed = False
        except BaseException as error:
            say_stop(module, keep, error, stop.wanted)
            raise
        finally:
            finish_loggers(loggers, failed)
    _say(
        f"trained {module.global_step} steps; checkpoints, config and metrics.jsonl are in {folder}"
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
    if rank_of_start():  # the first process tells what it chose (`UnwrappedDDPStrategy`)
        return config | {"trainer": trainer | {"precision": best_precision(trainer)}}
    chosen = choose_precision(trainer, precision_of_run(folder), sweep)
    _say(chosen.line)
    write_record(folder, step, chosen.name)
    return config | {"trainer": trainer | {"precision": chosen.name}}


def _with_devices(config: dict[str, Any]) -> dict[str, Any]:
    """The config with the number of processes in place of `auto`; more than one are said."""
    trainer = config["trainer"]
    devices = choose_devices(trainer, schedule_of(config["schedule"]).stages)
    if trainer.get("devices", 1) == AUTO and isinstance(devices, int) and devices > 1:
        _say(
            f"processes: {devices}, which share each batch (trainer.devices=auto; 1 is one process)"
        )
    return config | {"trainer": trainer | {"devices": devices}}


def _first_step(folder: Path, config: dict[str, Any]) -> int | None:
    """Get the folder ready and say what is going to happen: the step to go on from; None where its
    run is finished.
    """
    rotate(folder, config.get("keep_last", 3))
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
    return found is not None and found["training"].get("stages_done", 0) >= len(
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


def plain_config(config: DictConfig, complete: bool = False) -> dict[str, Any]:
    """A config as dictionaries and lists, its interpolations resolved.

    Raises:
        MissingMandatoryValue: a field is `???`, where it is to be `complete`.
    """
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=complete)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def run_of(config: DictConfig) -> tuple[Path, dict[str, Any]]:
    """The folder that this config has, and the config: `run=` of the command line, else a folder of
        its own below `run`.

    Jobs of a sweep share the command line, so each has a folder of its own below it.
    """
    plain = plain_config(config, complete=True)
    exactly = HydraConfig.get().mode == RunMode.RUN and "run" in given()
    return Path(plain["run"]) / ("" if exactly else identity(plain)), plain


def run_to_resume(config: DictConfig) -> tuple[Path, dict[str, Any]]:
    """The folder that `resume=` names, and the config it was started with, with what else is on the
    command line.

    Raises:
        CodecError: no run there, or the command line has a field whose value would change what
            comes out.
    """
    folder = Path(config.resume)
    before, names, choices = read_config(folder), given(), HydraConfig.get().runtime.choices
    check_stored(before, folder / "config.yaml", names, begun=any(folder.glob("*.ckpt")))
    groups = [name for name in names if name in choices and not is_free(name)]
    merged = OmegaConf.create(before)
    if (
        "trainer.precision" not in names
    ):  # then it is what the run computed in last, whatever it was first told
        OmegaConf.update(merged, "trainer.precision", AUTO, force_add=True)
    for name in names:
        if name not in ("resume", *groups):
            value = OmegaConf.select(config, name)
            OmegaConf.update(merged, name, value, merge=False, force_add=True)
    now = plain_config(merged)
    # A group sets fields beyond its own name: with one, the whole command line must be that of the
    # run.
    changed = differences(before, plain_config(config) if groups else now)
    if changed:
        what = f"with {' and '.join(groups)} the command is of another run: " if groups else ""
        raise CodecError(
            f"resume={folder}: {what}{listed(changed)}. This would change what comes out: leave it "
            "out, or start a new run, "
            f"which may take the weights of this one with init_from={folder}"
        )
    return folder, now


def sweep_folder() -> Path | None:
    """The folder of the sweep that this command is a job of; None: it is a run by itself."""
    settings = HydraConfig.get()
    return Path(settings.sweep.dir) if settings.mode == RunMode.MULTIRUN else None


def given() -> list[str]:
    """Names of the fields and groups on the command line."""
    overrides = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    return [override.key_or_group for override in overrides]


@rank_zero_only
def say_stop(
    module: CodecTraining, keep: CheckpointManager, error: BaseException, signal: str
) -> None:
    """Say why training stopped and where the same command goes on; nothing where no stage had
    begun.

    The event is of the step from which it goes on: those of later steps are forgotten then. `at` is
    the step that was reached, `cause` one of `signal` (a time limit, too), `interrupt`, `disk` and
    `error`.

    Args:
        module, keep: of the run.
        error: that ended it.
        signal: name of the signal that had come to this process, or "".
    """
    if not (keep.folder / EVENTS).is_file():
        return
    cause, why, facts = "error", type(error).__name__, {"reason": str(error)}
    if isinstance(error, Stopped):
        cause, why, facts = "signal", str(error) or signal or "a signal to another process", {}
    elif isinstance(error, KeyboardInterrupt):
        cause, why, facts = "interrupt", "Ctrl-C", {}
    elif isinstance(error, WriteError):
        cause, why = "disk", "a file could not be written"
    there = keep.last_step is not None
    goes_on = (
        f"continues from step {keep.last_step}"
        if there
        else "begins again: there is no checkpoint yet"
    )
    text = (
        f"stopped at step {module.global_step} ({why}); the same command, or python train.py "
        f"resume={keep.folder}, {goes_on}"
    )
    if not isinstance(error, StoppedEarly):  # which has been said
        print(f"\n{text}", flush=True)  # below the progress bar
    module.events.write(
        "stop", text, keep.last_step or 0, cause=cause, at=module.global_step, **facts
    )
