"""What a run says: means of the loss's terms, events, loggers and progress."""

import json
import logging
import os
import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import wandb
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from codec.errors import CodecError
from codec.training.distributed import gather, is_first, rank_of_start
from codec.training.run_dir import METRICS
from codec.training.schedule import Stage
from codec.training.tasks import WARP
from codec.video import CodedClip
from common.files import WriteError, append_line, write_text
from common.progress import Progress, duration, is_terminal

if TYPE_CHECKING:
    from codec.training.module import CodecTraining

log = logging.getLogger(__name__)

FRAMES = "frames"


class MetricAccumulator:
    """Means of a loss's terms over steps, chunks and processes, weighted by frames.

    Nothing waits for a device before `compute`. Lightning's own `self.log` cannot replace it: what
    it has added up is lost where a run stops between two logged rows.
    """

    def __init__(self) -> None:
        self._sums: dict[str, list[tuple[Tensor, int]]] = {}
        self._pending: list[tuple[str, Tensor, int]] = []
        self._restored: dict[str, tuple[float, int]] = {}

    def add(self, terms: dict[str, Tensor], coded: CodedClip) -> None:
        """Take the terms, means over samples and frames, that the loss gave for `coded`; they count
        from `commit` on.
        """
        samples, frames = len(coded.frames), len(coded.intra)
        predicted = frames - sum(coded.intra)
        counts = {"psnr_intra": sum(coded.intra), "psnr_predicted": predicted, WARP: predicted}
        self._pending.append((FRAMES, torch.ones(()), samples * frames))
        for name, value in terms.items():
            self._pending.append((name, value, samples * counts.get(name, frames)))

    def commit(self) -> None:
        """Count what was added since the last update."""
        for name, value, count in self._pending:
            self._sums.setdefault(name, []).append((value, count))
        self._pending = []

    def discard(self) -> None:
        """Forget what was added since the last update, which was skipped."""
        self._pending = []

    def compute(self) -> dict[str, float]:
        """Means over all processes since the last call; every process must call it.

        Bits of components are means over all frames, those too that a component does not code.
        """
        own = self.state_dict()
        self._sums, self._restored = {}, {}
        by_process = gather(own)
        names = dict.fromkeys(name for sums in by_process for name in sums)  # in order
        found: dict[str, tuple[float, int]] = {}
        for name in names:
            there = [sums[name] for sums in by_process if name in sums]
            found[name] = sum(value for value, _ in there), sum(count for _, count in there)
        _, frames = found.pop(FRAMES, (0.0, 0))
        return {
            name: value / (frames if name.startswith("bpp_") else count)
            for name, (value, count) in found.items()
        }

    def state_dict(self) -> dict[str, tuple[float, int]]:
        """Sums and counts so far, of this process, for a checkpoint."""
        names = dict.fromkeys([*self._restored, *self._sums])
        return {
            name: _added(self._sums.get(name, []), *self._restored.get(name, (0.0, 0)))
            for name in names
        }

    def load_state_dict(self, state: dict[str, tuple[float, int]]) -> None:
        """Go on from a `state_dict`."""
        self._sums, self._restored = {}, dict(state)


def bpp_of(terms: Mapping[str, float], component: str) -> float | None:
    """Bits a pixel of a component and of all below it, or None where there is no such component.

    Args:
        terms: means, `bpp_COMPONENT` among them.
        component: for example `motion`, which is the sum of `motion.split`, `motion.vector`, …
    """
    names = f"bpp_{component}", f"bpp_{component}."
    found = [
        value for name, value in terms.items() if name == names[0] or name.startswith(names[1])
    ]
    return sum(found) if found else None


def _added(values: list[tuple[Tensor, int]], total: float, frames: int) -> tuple[float, int]:
    for value, count in values:
        total += float(value) * count
    return total, frames + sum(count for _, count in values)


class Events:
    """Prints what happens and appends it to a file; of several processes the first does.

    Args:
        path: of the file, or None to print only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path

    @rank_zero_only
    def say(self, kind: str, text: str, step: int, **facts: Any) -> None:
        """Print `text`; write it with its kind, the codec step, the time and `facts`."""
        print(text, flush=True)
        self.write(kind, text, step, **facts)

    @rank_zero_only
    def write(self, kind: str, text: str, step: int, **facts: Any) -> None:
        """Write what is said elsewhere; a warning where the disk does not take it, for the event
        may be that it is full.
        """
        if not self.path:
            return
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            append_line(
                self.path,
                json.dumps({"time": now, "step": step, "kind": kind, "text": text} | facts),
            )
        except WriteError as error:
            log.warning("%s", error)


MODES = ("auto", "online", "offline", "disabled")
LOGGERS = {  # beside metrics.jsonl: names, and their fields of a config
    "wandb": ("project", "entity", "group", "job_type", "tags", "notes"),
    "csv": ("prefix",),
    "tensorboard": ("prefix", "flush_secs", "max_queue"),
}
INIT_SECONDS, FINISH_SECONDS = 15, 60  # for wandb to answer, and to upload what is left at the end


class JsonLinesLogger(Logger):
    """One JSON object a line: the step and what was measured there. A resumed run appends.

    Args:
        path: file to write.
    """

    name, version = "run", ""  # the run folder's config.yaml holds the settings

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        append_line(self.path, json.dumps({"step": step} | metrics))


class SafeWandbLogger(WandbLogger):
    """Lightning's, and what wandb does wrong never stops training."""

    failed = False

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self.failed:
            return
        try:
            super().log_metrics(metrics, step)
        except Exception as error:
            log.warning(
                "wandb: failed at step %s (%s); the run goes on without it, with metrics.jsonl",
                step,
                _short(error),
            )
            self.failed = True

    @rank_zero_only
    def finish(self, exit_code: int) -> None:
        """End the run, or the next one of this process would be merged into it."""
        if self.failed:
            return
        try:
            self.experiment.finish(exit_code=exit_code)
        except Exception as error:
            log.warning(
                "wandb: could not finish (%s); `wandb sync` uploads what is in the run's folder",
                _short(error),
            )


def make_loggers(folder: Path, config: dict[str, Any], step: int = 0) -> list[Logger]:
    """What gets a run's numbers: `metrics.jsonl` always, and what the config's `logger` names.

    Args:
        folder: of the run, where all of them write.
        config: of the run: `logger` holds settings by name (`LOGGERS`), `wandb` the mode of that
            one. Runs of before have no `logger`: theirs is wandb.
        step: that the run goes on from.

    Raises:
        CodecError: an unknown logger or setting, or one whose package is not installed.
    """
    chosen = config.get("logger", {"wandb": {}})
    for name, settings in chosen.items():
        if name not in LOGGERS:
            raise CodecError(f"logger.{name}: no logger; choose from {', '.join(LOGGERS)}")
        if unknown := sorted(set(settings or {}) - set(LOGGERS[name])):
            what = f"logger.{name}.{unknown[0]}: not a field to give"
            raise CodecError(f"{what}; known are {', '.join(LOGGERS[name])}")
    loggers: list[Logger] = [JsonLinesLogger(folder / METRICS)]
    if rank_of_start():
        return loggers
    for name, settings in chosen.items():
        made = _make_logger(name, folder, config, step, settings or {})
        if made is not None:
            loggers.append(made)
    return loggers


def _make_logger(
    name: str, folder: Path, config: dict[str, Any], step: int, settings: dict[str, Any]
) -> Logger | None:
    if name == "wandb":
        mode = config.get("wandb", "auto")
        return wandb_logger(folder, config["name"], mode, config, **settings)
    if name == "csv":  # a folder a start, csv/version_0, ...; a row is on disk when it is logged
        return CSVLogger(folder, name="csv", flush_logs_every_n_steps=1, **settings)
    try:
        return TensorBoardLogger(
            folder,
            name="tensorboard",
            version="",
            default_hp_metric=False,
            purge_step=step + 1,  # rows of a resumed run that come again
            **settings,
        )
    except ModuleNotFoundError as error:
        raise CodecError(
            "logger=tensorboard: not installed; pip install tensorboard, or choose logger=csv"
        ) from error


def finish_loggers(loggers: list[Logger], failed: bool) -> None:
    """End what has to be ended when a run ends; those of Lightning end with every stage."""
    for logger in loggers:
        if isinstance(logger, SafeWandbLogger):
            logger.finish(exit_code=int(failed))


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
    folder: Path,
    name: str,
    mode: str,
    config: dict[str, Any],
    project: str = "corvid",
    **settings: Any,
) -> SafeWandbLogger | None:
    """A wandb run that is one over all stages and resumes of what is in the folder, where it also
    writes.

    When wandb does not answer within seconds there is a warning, and an offline run instead.

    Args:
        folder: of the run.
        name: of the run.
        mode: `auto` (what WANDB_MODE says, else online when logged in, else offline), `online`,
            `offline` or `disabled`.
        config: what wandb shows as the run's config.
        project: of wandb's.
        settings: further arguments of `wandb.init`.

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
    settings |= dict(
        name=name,
        save_dir=folder,
        id=_run_id(folder),
        project=project,
        config=config,
        settings=wandb.Settings(silent=True, init_timeout=seconds, finish_timeout=FINISH_SECONDS),
    )
    try:
        return _begun(mode=mode, resume="allow" if mode == "online" else None, **settings)
    except Exception as error:
        log.warning("wandb: %s run could not begin (%s)", mode, _short(error))
    if mode != "online":
        return None
    try:
        wandb.teardown()  # it would say that the run is in use
        logger = _begun(mode="offline", resume=None, **settings)
    except Exception as error:
        log.warning(
            "wandb: offline neither (%s); the run goes on with metrics.jsonl alone", _short(error)
        )
        return None
    log.warning(
        "wandb: offline instead; later, `wandb sync %s` uploads it",
        folder / "wandb" / "offline-run-*",
    )
    return logger


def _begun(**settings: Any) -> SafeWandbLogger:
    """Lightning begins a run where its `experiment` is first asked for."""
    logger = SafeWandbLogger(**settings)
    _ = logger.experiment
    return logger


def _run_id(folder: Path) -> str:
    """wandb's id of what is in the folder, the same after a resume."""
    path = folder / "wandb_id.txt"
    if not path.is_file():
        write_text(path, secrets.token_hex(4) + "\n")
    return path.read_text().strip()


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def progress_callback() -> Callback:
    """What shows a stage's progress on standard output."""
    return _Bar(refresh_rate=10) if is_terminal(sys.stdout) else TrainingProgress()


class TrainingProgress(Callback):
    """Writes lines such as `stage 2/3 chains: 96 of 240 steps, 1.4 steps/s, about 2 min left; loss
    0.91`.

    It is to be called before callbacks that validate, so that the wait for these is told, too. Of
    several processes the first writes.
    """

    progress: Progress | None = None

    def on_train_start(self, trainer: Trainer, module: "CodecTraining") -> None:
        stages, index = module.schedule.stages, module.stage_index
        title = f"stage {index + 1}/{len(stages)} {module.stage.name}"

        def note() -> str:
            numbers = [
                f"{name} {float(value):.4g}"
                for name, value in trainer.progress_bar_metrics.items()
                if name != "v_num"
            ]
            return "; ".join(filter(None, [in_all(), ", ".join(numbers)]))

        def in_all() -> str:
            """What is left with later stages, if their pixels take as long as this one's."""
            left, stage = progress.seconds_left(), stages[index]
            own = (stage.steps - progress.done) * pixels(stage)
            later = sum(stage.steps * pixels(stage) for stage in stages[index + 1 :])
            if not (left and own and later):
                return ""
            return f"with later stages about {duration(left * (1 + later / own))}"

        self.progress = progress = Progress(
            title,
            module.stage.steps,
            "step",
            done=module.step_of_stage,
            note=note,
            shown=is_first(),
            stream=sys.stdout,
        )
        progress.__enter__()

    def on_train_batch_end(
        self, trainer: Trainer, module: "CodecTraining", outputs: Any, batch: Any, index: int
    ) -> None:
        if self.progress:
            self.progress.update()

    def on_fit_end(self, trainer: Trainer, module: "CodecTraining") -> None:
        self._close()

    def on_exception(
        self, trainer: Trainer, module: "CodecTraining", exception: BaseException
    ) -> None:
        self._close(exception)

    def _close(self, error: BaseException | None = None) -> None:
        if self.progress:
            self.progress.__exit__(type(error) if error else None)
            self.progress = None


def pixels(stage: Stage) -> int:
    """That a step of `stage` goes through."""
    return stage.batch * stage.frames * stage.crop**2


class _Bar(TQDMProgressBar):
    """A progress bar without the loggers' version."""

    def get_metrics(self, *args: Any) -> dict[str, Any]:
        return {
            name: value for name, value in super().get_metrics(*args).items() if name != "v_num"
        }
