"""TrainingProgress: how far a stage is; a bar at a terminal, a line every half minute in a log."""

import sys
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar

from codec.training.module import CodecTraining
from codec.training.processes import is_first
from codec.training.stage import Stage
from data.progress import Progress, duration, is_terminal


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

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        stages, index = module.schedule.stages, module.stage_index

        def note() -> str:
            numbers = [
                f"{name} {float(value):.4g}"
                for name, value in trainer.progress_bar_metrics.items()
                if name != "v_num"
            ]
            return "; ".join(filter(None, [in_all(), ", ".join(numbers)]))

        def in_all() -> str:
            """What is left with later stages, if their pixels take as long as this one's."""
            left, stage = self.progress.seconds_left(), stages[index]
            own = (stage.steps - self.progress.done) * pixels(stage)
            later = sum(stage.steps * pixels(stage) for stage in stages[index + 1 :])
            if not (left and own and later):
                return ""
            return f"with later stages about {duration(left * (1 + later / own))}"

        title = f"stage {index + 1}/{len(stages)} {module.stage.name}"
        how = {
            "done": module.step_of_stage,
            "note": note,
            "shown": is_first(),
            "stream": sys.stdout,
        }
        self.progress = Progress(title, module.stage.steps, "step", **how)
        self.progress.__enter__()

    def on_train_batch_end(
        self, trainer: Trainer, module: CodecTraining, outputs: Any, batch: Any, index: int
    ) -> None:
        self.progress.update()

    def on_fit_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._close()

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
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
