"""Train a codec: `python train.py experiment=demo`, or any mix of the groups under conf/. Continue with `resume=RUN`."""

import sys
from pathlib import Path

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue
from pytorch_lightning import seed_everything

from codec.checkpoint import build_codec, load_weights, read_checkpoint, without_weights
from codec.errors import CodecError
from codec.training.fit import fit, resume
from codec.training.keep import KeepCheckpoints
from codec.training.loggers import JsonLinesLogger, finish_wandb, wandb_logger
from codec.training.module import CodecTraining
from codec.training.record import write_record
from codec.training.schedule import Schedule
from data.errors import DataError


@hydra.main(config_path="conf", config_name="train", version_base="1.3")
def main(config: DictConfig) -> None:
    """Config -> data, codec, schedule -> fit -> where everything was written."""
    try:
        folder, config = run_folder(config)
        train(folder, config)
    except (CodecError, DataError, MissingMandatoryValue, InstantiationException) as error:
        known = error.__cause__ if isinstance(error, InstantiationException) else error
        sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        if sweep or not isinstance(known, CodecError | DataError | MissingMandatoryValue | ImportError):
            raise  # a sweep goes on with its other jobs and ends with this error
        reason = " ".join(str(known).split()) if isinstance(known, ImportError) else str(known).strip()
        if "Traceback" in reason:  # a data worker's error comes behind its traceback
            reason = reason.splitlines()[-1]
        print(f"error: {reason}", file=sys.stderr)
        sys.exit(2)


def train(folder: Path, config: DictConfig) -> None:
    """Train what `config` describes, into `folder`."""
    seed_everything(config.seed, verbose=False)
    plain = OmegaConf.to_container(config, resolve=True)
    data = instantiate(config.data)
    schedule = Schedule(plain["schedule"]["stages"])
    resumed = (folder / "last.ckpt").is_file()
    codec = build_codec(without_weights(plain["codec"]) if resumed else plain["codec"])
    if config.start_weights and not resumed:
        load_weights(codec, read_checkpoint(config.start_weights)["codec"], f"start_weights={config.start_weights}")
    module = CodecTraining(codec, instantiate(config.loss), schedule, **plain["training"])
    module.codec.to(memory_format=torch.channels_last)
    keep = KeepCheckpoints(folder, config.checkpoint_every)
    if resumed:
        resume(module, keep, folder)
    numbers = JsonLinesLogger(folder / "metrics.jsonl")
    numbers.forget_after(module.codec_steps)
    loggers = [numbers, wandb_logger(folder, config.name, config.wandb, plain)]
    try:
        fit(module, data, keep, [logger for logger in loggers if logger], plain["trainer"])
    finally:
        finish_wandb()  # or the next run of a sweep would be merged into this one
    print(f"trained {module.codec_steps} steps; checkpoints, config and metrics.jsonl are in {folder}")


def run_folder(config: DictConfig) -> tuple[Path, DictConfig]:
    """The folder of a new run, with its resolved config in it; or the run to resume, with the config it was started with.

    Raises:
        CodecError: nothing to resume there, a resumed run's config was to be changed, or the folder holds another run.
    """
    overrides = HydraConfig.get().overrides.task
    if config.resume:
        folder = Path(config.resume)
        if not (folder / "config.yaml").is_file() or not (folder / "last.ckpt").is_file():
            raise CodecError(f"resume={folder}: no config.yaml and last.ckpt in it; give the folder of a run")
        if changed := [o for o in overrides if not o.startswith("resume=")]:
            raise CodecError(f"resume={folder}: {changed} would change the run; resume alone, or start a new run")
        config = OmegaConf.load(folder / "config.yaml")
    else:
        sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        folder = Path(HydraConfig.get().runtime.output_dir if sweep else config.run)
        if (folder / "last.ckpt").is_file():
            raise CodecError(f"run={folder}: holds a run already; continue it with resume={folder}, or choose another")
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, folder / "config.yaml", resolve=True)
    write_record(folder)
    return folder, config


if __name__ == "__main__":
    main()
