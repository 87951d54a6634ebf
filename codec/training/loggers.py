"""Where numbers go: a JSON-lines file always, wandb beside it."""

import json
import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

import wandb
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from codec.errors import CodecError
from codec.files import append_line, write_text

STEP = "codec_step"
MODES = ("auto", "online", "offline", "disabled")
INIT_SECONDS, FINISH_SECONDS = 15, 60  # for wandb to answer, and to upload what is left at the end
log = logging.getLogger(__name__)


class _Named(Logger):
    """What Lightning wants of a logger besides numbers; the run folder's config.yaml holds the
    settings.
    """

    @property
    def name(self) -> str:
        return "run"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass


class JsonLinesLogger(_Named):
    """One JSON object a line: the step and what was measured there. A resumed run appends.

    Args:
        path: file to write.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        append_line(self.path, json.dumps({"step": step} | metrics))


class WandbLogger(_Named):
    """Gives numbers to a wandb run, over codec steps; what wandb does wrong never stops training.

    Args:
        run: that wandb has begun.
    """

    def __init__(self, run: wandb.Run) -> None:
        super().__init__()
        self.run: wandb.Run | None = run
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if self.run is None:
            return
        try:
            self.run.log(metrics | {STEP: step})  # without wandb's own step, which may not repeat
        except Exception as error:
            log.warning(
                "wandb: failed at step %s (%s); the run goes on without it, with metrics.jsonl",
                step,
                _short(error),
            )
            self.run = None

    @rank_zero_only
    def finish(self, failed: bool) -> None:
        """End the run, or the next one of this process would be merged into it."""
        if self.run is None:
            return
        try:
            self.run.finish(exit_code=int(failed))
        except Exception as error:
            log.warning(
                "wandb: could not finish (%s); `wandb sync` uploads what is in the run's folder",
                _short(error),
            )


@rank_zero_only
def forget_after(path: Path, step: int) -> None:
    """Drop lines of JSON that are of a later `step`, or broken off: a run killed there is about to
    repeat them.
    """
    if not path.is_file():
        return
    text = path.read_text()
    kept = "".join(
        line
        for line in text.splitlines(keepends=True)
        if (at := _step_of(line)) is not None and at <= step
    )
    if kept != text:
        write_text(path, kept)


def _step_of(line: str) -> int | None:
    with suppress(ValueError):
        return json.loads(line)["step"] if line.endswith("\n") else None
    return None


@rank_zero_only
def wandb_logger(
    folder: Path, name: str, mode: str, config: dict[str, Any], project: str = "corvid"
) -> WandbLogger | None:
    """A wandb run that is one over all stages and resumes of what is in the folder, where it also
    writes.

    When wandb does not answer within seconds there is a warning, and an offline run instead.

    Args:
        folder: of the run.
        name: of the run.
        mode: `auto` (what WANDB_MODE says, else online when logged in, else offline), `online`,
            `offline` or `disabled`.
        config: what wandb shows as the run's config.

    Raises:
        CodecError: another mode.
    """
    if mode not in MODES:
        raise CodecError(f"wandb={mode}: choose from {', '.join(MODES)}")
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or (
            "online" if wandb.login(prompt=False, verify=False) else "offline"
        )
    if mode == "disabled":
        return None
    seconds = float(os.environ.get("WANDB_INIT_TIMEOUT", INIT_SECONDS))
    settings = wandb.Settings(silent=True, init_timeout=seconds, finish_timeout=FINISH_SECONDS)
    told = dict(
        id=_run_id(folder), name=name, project=project, dir=folder, config=config, settings=settings
    )
    try:
        if mode != "online":
            return WandbLogger(wandb.init(mode=mode, **told))
        return WandbLogger(wandb.init(mode=mode, resume="allow", **told))
    except Exception as error:
        log.warning("wandb: %s run could not begin (%s)", mode, _short(error))
    return _offline_instead(folder, told) if mode == "online" else None


def _offline_instead(folder: Path, told: dict[str, Any]) -> WandbLogger | None:
    try:
        wandb.teardown()  # it would say that the run is in use
        made = WandbLogger(wandb.init(mode="offline", **told))
    except Exception as error:
        log.warning(
            "wandb: offline neither (%s); the run goes on with metrics.jsonl alone", _short(error)
        )
        return None
    log.warning(
        "wandb: offline instead; later, `wandb sync %s` uploads it",
        folder / "wandb" / "offline-run-*",
    )
    return made


def _run_id(folder: Path) -> str:
    """wandb's id of what is in the folder, the same after a resume."""
    path = folder / "wandb_id.txt"
    if not path.is_file():
        write_text(path, secrets.token_hex(4) + "\n")
    return path.read_text().strip()


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
