"""Which checkpoints a run keeps."""

from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from codec.checkpoint import save_checkpoint
from codec.training.module import CodecTraining


class KeepCheckpoints(Callback):
    """`last.ckpt` every so many steps and at the end, `best.ckpt` when validation improves, one at the end of a stage.

    All of them hold everything needed to rebuild the codec and to continue. What is best is asked anew in every stage,
    as losses of different stages do not compare.

    Args:
        folder: of the run.
        every: steps from one `last.ckpt` to the next.
    """

    def __init__(self, folder: Path, every: int = 200) -> None:
        self.folder, self.every = folder, every
        self.best = float("inf")

    def begin_stage(self, best: float = float("inf")) -> None:
        """Forget the best loss; on resume, take up what it was."""
        self.best = best

    def save(self, module: CodecTraining, name: str) -> None:
        """Write `name` into the run's folder."""
        training = module.training_state() | {"best": self.best}
        save_checkpoint(self.folder / name, module.codec, training)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, index: int) -> None:
        if module.codec_steps % self.every == 0 and trainer.is_global_zero:
            self.save(module, "last.ckpt")

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if module.validation_loss < self.best and trainer.is_global_zero:
            self.best = module.validation_loss
            self.save(module, "best.ckpt")

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.is_global_zero:
            self.save(module, "last.ckpt")

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        if trainer.is_global_zero and module.codec_steps and not module.stepping:
            self.save(module, "last.ckpt")
            print(f"\nstopped after step {module.codec_steps}; continue with: python train.py resume={self.folder}")
