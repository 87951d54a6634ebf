"""A run's folder: which one a config has, whether it may continue there, that only one process
does, and the record of how it was started.
"""

import fcntl
import hashlib
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_only

from codec import registry
from codec.errors import CodecError
from codec.precision import AUTO
from codec.stored_yaml import read_yaml, write_yaml
from codec.training.distributed import rank_of_start
from common.files import remove_parts, write_text

log = logging.getLogger(__name__)

METRICS, EVENTS = "metrics.jsonl", "events.jsonl"  # in it

# Fields, and all below them, that change where, how fast and how visibly a run goes, but not what
# comes out.
_FREE = (
    "checkpoint_every",
    "data.hold_mb",
    "data.patience",
    "data.record",
    "data.shards",
    "data.stage",
    "data.stage_gb",
    "data.start_method",
    "data.workers",
    "keep_last",
    "logger",
    "name",
    "plugins",
    "resume",
    "run",
    "trainer",
    "training.bits_jump",
    "training.bits_range",
    "training.log_every",
    "training.most_skipped",
    "wandb",
)
# A run may go on in another; one that is told which is another run than one that is not.
_PRECISION = "trainer.precision"
_SHOWN = 8


def is_free(name: str) -> bool:
    """Whether the field of that dotted name may change while a run goes on: it does not change what
    comes out, or only by how it is rounded (`trainer.precision`).
    """
    return any(name == free or name.startswith(free + ".") for free in _FREE)


def identity(config: dict[str, Any]) -> str:
    """8 hexadecimal digits that name a resolved config by the fields that change what comes out.

    A precision that was given is among them, what `auto` means on a machine is not.
    """
    asked = (config.get("trainer") or {}).get("precision", AUTO)
    named = _fixed(config) | ({} if asked == AUTO else {_PRECISION: asked})
    return hashlib.sha256(json.dumps(named, sort_keys=True, default=str).encode()).hexdigest()[:8]


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """`FIELD was OLD, is NEW` of every field that changes what comes out and differs, outer ones
    first; None is as absent.
    """
    old, new = _fixed(before), _fixed(now)
    names = sorted({*old, *new}, key=lambda name: (name.count("."), name))
    return [
        f"{name} was {old.get(name)!r}, is {new.get(name)!r}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def listed(changed: list[str]) -> str:
    """The first of some `differences`, and how many more there are."""
    return "; ".join(changed[:_SHOWN]) + (
        f"; and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The config that the run in `folder` was started with: plain values, nothing is interpolated.

    Raises:
        CodecError: no config.yaml there, or it holds what no run writes.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise CodecError(f"{path} does not exist; give the folder of a run")
    return read_yaml(path)


def check_stored(
    config: dict[str, Any],
    where: Path,
    given: Sequence[str] = (),
    begun: bool = False,
) -> None:
    """Refuse a stored config that names files which only a user may name.

    Args:
        config: that `read_config` gave.
        where: the file, for errors.
        given: dotted names of fields that the user gave, whose stored values do not count.
        begun: there is a checkpoint, which holds what networks once read from files.

    Raises:
        CodecError: a network or loss reads a file, or the data's record lies outside of the run.
    """
    built = {name: config.get(name) for name in (["loss"] if begun else ["loss", "codec"])}
    for name, value in _fixed(built).items():
        if name.rpartition(".")[2] in registry.FILES and name not in given:
            fix = f"a stored config may not name files; if you trust it give {name}={value}"
            raise CodecError(f"{where}: {name} is {value!r}; {fix}")
    record = (config.get("data") or {}).get("record")
    inside = f"{config.get('run')}/"
    elsewhere = not str(record).startswith(inside) or ".." in str(record)
    if record and elsewhere and "data.record" not in given:
        fix = "give data.record=FILE yourself: it is written to"
        what = f"{where}: data.record is {record!r}, which is not in the run's folder"
        raise CodecError(f"{what}; {fix}")


def moved_to(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The config with `folder` as its run, also in the name of the data's record, where that lies
    in the run.
    """
    data, old = config["data"], f"{config['run']}/"
    if str(data.get("record") or "").startswith(old):
        data = data | {"record": str(folder / data["record"].removeprefix(old))}
    return config | {"run": str(folder), "data": data}


def with_precision_of(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The config with the `codec.precision` of the run in `folder` where it says `auto`: older runs
        name one.

    What streams are encoded in is written into checkpoints, and is no reason to refuse to go on.
    """
    asked = config["codec"].get("precision")
    if asked != AUTO or not (folder / "config.yaml").is_file():
        return config
    codec = read_config(folder).get("codec")
    before = codec.get("precision") if isinstance(codec, dict) else None
    if not before:
        return config
    return config | {"codec": config["codec"] | {"precision": before}}


@rank_zero_only
def check_same_run(folder: Path, config: dict[str, Any]) -> None:
    """Raise CodecError where `folder` holds checkpoints of a run with another config."""
    if not (folder / "config.yaml").is_file():
        raise CodecError(
            f"{folder}: holds checkpoints but no config.yaml; choose another folder with run="
        )
    if changed := differences(read_config(folder), config):
        raise CodecError(
            f"{folder}: holds a run with another config: {listed(changed)}. Choose another folder "
            "with run= "
            f"(init_from={folder} takes its weights), or continue it as it was with resume={folder}"
        )


@rank_zero_only
def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write a new run's config."""
    write_text(folder / "config.yaml", write_yaml(config))


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make the folder and keep others out while this process, the first of its run, trains in it.

    The lock is the kernel's: it ends with the process however that ends, and its children do not
    inherit it. A folder that was made here goes again where no stage has begun in it: a mistaken
    command leaves none.

    Raises:
        CodecError: another process trains there, or the folder cannot be made.
    """
    if rank_of_start():
        yield
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a+")
    except OSError as error:
        raise CodecError(
            f"{folder}: cannot be written to ({error.strerror}); choose another folder with run="
        ) from error
    with lock:
        _take(lock, folder)
        remove_parts(folder)
        try:
            yield
        except BaseException:
            if made and not (folder / EVENTS).is_file() and not any(folder.glob("*.ckpt")):
                _remove(made)
            raise


def _remove(made: list[Path]) -> None:
    """Remove the first folder, and those around it that are then empty."""
    shutil.rmtree(made[0], ignore_errors=True)
    with suppress(OSError):
        for path in made[1:]:
            path.rmdir()


def _take(lock: Any, folder: Path) -> None:
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        lock.seek(0)
        raise CodecError(
            f"{folder}: {lock.read().strip()} trains there already; wait for it, or end it"
        ) from None
    except OSError as error:
        log.warning(
            "%s: its file system has no locks (%s); start one process there at a time",
            folder,
            error.strerror,
        )
        return
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {platform.node()}\n")
    lock.flush()


def _fixed(config: Any, name: str = "") -> dict[str, Any]:
    """Values by dotted name, without None and what is free; names of the past as today's."""
    if isinstance(config, dict | list) and config:
        items = _named(config, name) if isinstance(config, dict) else enumerate(config)
        return {
            key: value
            for part, below in items
            for key, value in _fixed(below, f"{name}.{part}".lstrip(".")).items()
        }
    return {} if config is None or is_free(name) else {name: config}


def _named(config: dict[str, Any], name: str) -> Iterable[tuple[str, Any]]:
    """Fields, those that say what is built by its registered name."""
    part = name.partition(".")[0]
    kind = part if part in ("loss", "data", "schedule") else "network"
    if not registry.is_built(kind, config):
        return config.items()
    asked = registry.name_of(kind, config)
    entry = registry.find(kind, asked) if isinstance(asked, str) else None
    fields = {field: value for field, value in config.items() if field not in registry.SAYS_WHAT}
    return (fields | {registry.KEY: entry.name if entry else asked}).items()


_PACKAGES = [
    "torch",
    "pytorch-lightning",
    "hydra-core",
    "compressai",
    "decord",
    "lpips",
    "wandb",
    "numpy",
]


@rank_zero_only
def write_record(folder: Path, step: int = 0, precision: str | None = None) -> None:
    """Append how the run was started to `record.json`: a list, an entry a start. A resume, from
        `step`, adds one.

    `precision` is the trainer's; None: nothing is trained. Warns where the source is not that of
    the first start.
    """
    path = folder / "record.json"
    entries = json.loads(path.read_text()) if path.is_file() else []
    command, commit, threads = (
        [Path(sys.argv[0]).name, *sys.argv[1:]],
        git_commit(),
        torch.get_num_threads(),
    )
    how = {"threads": threads} | ({"precision": precision} if precision else {})
    entries.append(
        {"command": command, "step": step, "commit": commit, **how, "versions": versions()}
    )
    write_text(path, json.dumps(entries, indent=2) + "\n")
    if commit != entries[0]["commit"]:
        log.warning(
            "%s: started with commit %s, goes on with %s; results may differ",
            folder,
            entries[0]["commit"],
            commit,
        )
    if threads != (first := entries[0].get("threads", threads)):
        log.warning(
            "%s: started with %d threads, goes on with %d; weights will not be the same bit by bit",
            folder,
            first,
            threads,
        )


def precision_of_run(folder: Path, start: int = -1) -> str | None:
    """What the run in `folder` computed in when it was last started, or at another `start`; None
    where that is not known.

    Runs older than the record's field say it in their config.
    """
    record, config = folder / "record.json", folder / "config.yaml"
    entries = json.loads(record.read_text()) if record.is_file() else []
    if entries and "precision" in entries[start]:
        return entries[start]["precision"]
    trainer = read_yaml(config).get("trainer") if config.is_file() else None
    asked = trainer.get("precision") if isinstance(trainer, dict) else None
    return None if asked in (None, AUTO) else asked


def versions() -> dict[str, str]:
    """Versions of Python, Corvid and what results depend on."""
    found = {"python": platform.python_version()}
    for package in ["corvid", *_PACKAGES]:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_commit() -> str:
    """The commit of the source, with `+changes` where the working tree differs; `unknown` outside a
    checkout.
    """
    root = Path(__file__).parents[2]
    git = ["git", "-C", str(root)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+changes" if changed else "")
