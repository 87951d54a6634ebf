"""Train a codec: `python train.py experiment=demo`, or any mix of the groups under conf/. The same command continues a run."""

import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from codec.errors import CodecError
from codec.training.folder import identity, is_free, read_config
from codec.training.run import train
from codec.training.signals import TRY_AGAIN, Stopped
from data.errors import DataError


@hydra.main(config_path="conf", config_name="train", version_base="1.3")
def main(config: DictConfig) -> None:
    """Config -> its run folder -> training there, from the start or from where it stopped."""
    try:
        train(*(run_to_resume(config) if config.resume else run_of(config)))
    except (CodecError, DataError, MissingMandatoryValue, InstantiationException) as error:
        known = error.__cause__ if isinstance(error, InstantiationException) else error
        sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        if sweep or not isinstance(known, CodecError | DataError | MissingMandatoryValue | ImportError):
            raise  # a sweep goes on with its other jobs and ends with this error
        reason = " ".join(str(known).split()) if isinstance(known, ImportError) else str(known).strip()
        if isinstance(known, MissingMandatoryValue):
            reason = f"{known.full_key} has no value; give {known.full_key}=..."
        if "Traceback" in reason:  # a data worker's error comes behind its traceback
            reason = reason.splitlines()[-1]
        print(f"error: {reason}", file=sys.stderr)
        sys.exit(2)
    except Stopped:
        sys.exit(TRY_AGAIN)


def run_of(config: DictConfig) -> tuple[Path, dict[str, Any]]:
    """The folder that this config has, and the config: `run=` of the command line, else a folder of its own below `run`.

    Jobs of a sweep share the command line, so each has a folder of its own below it.
    """
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    exactly = HydraConfig.get().mode == RunMode.RUN and "run" in given()
    return Path(plain["run"]) / ("" if exactly else identity(plain)), plain


def run_to_resume(config: DictConfig) -> tuple[Path, dict[str, Any]]:
    """The folder that `resume=` names, and the config it was started with, with what else is on the command line.

    Raises:
        CodecError: no run there, or the command line has a field that would change what comes out.
    """
    folder = Path(config.resume)
    before = OmegaConf.create(read_config(folder))
    names = [name for name in given() if name != "resume"]
    if changing := [name for name in names if not is_free(name)]:
        raise CodecError(
            f"resume={folder}: {', '.join(changing)} would change what comes out; leave it out, or start a new run, "
            f"which may take the weights of this one with init_from={folder}"
        )
    for name in names:
        OmegaConf.update(before, name, OmegaConf.select(config, name), merge=False, force_add=True)
    return folder, OmegaConf.to_container(before, resolve=True)


def given() -> list[str]:
    """Names of the fields and groups on the command line."""
    overrides = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    return [override.key_or_group for override in overrides]


if __name__ == "__main__":
    main()
