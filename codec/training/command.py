"""What a command line of train.py asks for: a folder, and the config of the run in it."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from codec.errors import CodecError
from codec.precision import AUTO
from codec.training.folder import check_stored, differences, identity, is_free, listed, read_config


def run_of(config: DictConfig) -> tuple[Path, dict[str, Any]]:
    """The folder that this config has, and the config: `run=` of the command line, else a folder of
        its own below `run`.

    Jobs of a sweep share the command line, so each has a folder of its own below it.
    """
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
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
    now = OmegaConf.create(before)
    if (
        "trainer.precision" not in names
    ):  # then it is what the run computed in last, whatever it was first told
        OmegaConf.update(now, "trainer.precision", AUTO, force_add=True)
    for name in names:
        if name not in ("resume", *groups):
            OmegaConf.update(now, name, OmegaConf.select(config, name), merge=False, force_add=True)
    now = OmegaConf.to_container(now, resolve=True)
    # A group sets fields beyond its own name: with one, the whole command line must be that of the
    # run.
    changed = differences(before, OmegaConf.to_container(config, resolve=True) if groups else now)
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
