"""Where numbers go: a JSON-lines file always, wandb beside it."""

import json
from pathlib import Path
from typing import Any

import wandb
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only


class JsonLinesLogger(Logger):
    """One JSON object a line: the step and what was measured there. A resumed run appends.

    Args:
        path: file to write.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        return "jsonl"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step} | metrics) + "\n")

    def forget_after(self, step: int) -> None:
        """Drop what was logged after `step`, and half a line: a run killed there is about to repeat it."""
        if self.path.is_file():
            rows = [line for line in self.path.read_text().splitlines(keepends=True) if line.endswith("}\n")]
            self.path.write_text("".join(row for row in rows if json.loads(row)["step"] <= step))

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The run folder's config.yaml holds them."""


def wandb_logger(folder: Path, name: str, mode: str, config: dict[str, Any], project: str = "corvid") -> WandbLogger | None:
    """A wandb logger that writes into the run folder.

    Args:
        folder: of the run.
        name: of the run.
        mode: `auto` (online when logged in, else offline), `online`, `offline` or `disabled`.
        config: what wandb shows as the run's config.
    """
    if mode == "disabled":
        return None
    if mode == "auto":
        mode = "online" if _logged_in() else "offline"
    return WandbLogger(name=name, project=project, save_dir=folder, mode=mode, config=config, settings={"silent": True})


def finish_wandb() -> None:
    """End the process's wandb run, if there is one."""
    if wandb.run is not None:
        wandb.finish()


def _logged_in() -> bool:
    return wandb.login(prompt=False, verify=False)
