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
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from codec.errors import CodecError
from codec.training.distributed import gather, is_first
from codec.training.schedule import Stage
from codec.training.tasks import WARP
from codec.video import CodedClip
from common.files import WriteError, append_line, write_text
from common.progress import Progress, duration, is_terminal

if TYPE_CHECKING:
    from codec.training.module import CodecTraining

log = logging.getLogger(__name__)

FRAMES = "frames"


class TermMeans:
    """Adds up terms with the number of frames that each is a mean of; nothing waits for a device
    before `take`.
    """

    def __init__(self) -> None:
        self._sums: dict[str, list[tuple[Tensor, int]]] = {}
        self._noted: list[tuple[str, Tensor, int]] = []
        self._restored: dict[str, tuple[float, int]] = {}

    def note(self, terms: dict[str, Tensor], coded: CodedClip) -> None:
        """Note the terms, means over samples and frames, that the loss gave for `coded`; they count
        once an update does.
        """
        intra, samples = sum(coded.intra), len(coded.frames)
        predicted = len(coded.intra) - intra
        counts = {"psnr_intra": intra, "psnr_predicted": predicted, WARP: predicted}
        self._noted.append((FRAMES, torch.ones(()), samples * len(coded.intra)))
        for name, value in terms.items():
            self._noted.append((name, value, samples * counts.get(name, len(coded.intra))))

    def settle(self, updated: bool) -> None:
        """Add what was noted, or forget it where the update was skipped."""
        for name, value, count in self._noted if updated else ():
            self._sums.setdefault(name, []).append((value, count))
        self._noted = []

    def take(self) -> dict[str, float]:
        """Means over all processes since the last call; every process must call it.

        Bits of components are means over all frames, those too that a component does not code.
        """
        mine = self.state()
        self._sums, self._restored = {}, {}
        everyone = gather(mine)
        names = dict.fromkeys(name for part in everyone for name in part)  # in order
        pairs = {name: [part[name] for part in everyone if name in part] for name in names}
        sums = {name: tuple(map(sum, zip(*found, strict=True))) for name, found in pairs.items()}
        frames = sums.pop(FRAMES, (0.0, 0))[1]
        return {
            name: value / (frames if name.startswith("bpp_") else count)
            for name, (value, count) in sums.items()
        }

    def state(self) -> dict[str, tuple[float, int]]:
        """Sums and counts so far, of this process, for a checkpoint."""
        names = dict.fromkeys([*self._restored, *self._sums])
        return {
            name: _added(self._sums.get(name, []), *self._restored.get(name, (0.0, 0)))
            for name in names
        }

    def restore(self, state: dict[str, tuple[float, int]]) -> None:
        """Go on from a `state`."""
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


STEP = "codec_step"
MODES = ("auto", "online", "offline", "disabled")
INIT_SECONDS, FINISH_SECONDS = 15, 60  # for wandb to answer, and to upload what is left at the end


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
    told: dict[str, Any] = dict(
        id=_run_id(folder), name=name, project=project, dir=folder, config=config, settings=settings
    )
    try:
        if mode != "online":
            return WandbLogger(wandb.init(**(told | {"mode": mode})))
        return WandbLogger(wandb.init(**(told | {"mode": mode, "resume": "allow"})))
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
