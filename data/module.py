"""ClipDataModule: clips for training and validation, by Lightning's interface."""

from collections.abc import Iterable
from pathlib import Path

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from data.batches import LARGEST, Batches, start_worker
from data.clip import Clip, join_clips
from data.dataset import ClipDataset, check_at_least, check_reader, check_share
from data.errors import DataError
from data.files import find_videos
from data.samples import samples_for
from data.validation import ValidationClips

ENDLESS = 1_000_000_000  # batches
HELD_OUT = 0.1
STUCK = 300  # seconds without a batch from a worker


class ClipDataModule(LightningDataModule):
    """Random clips to train on, fixed clips to validate on; batches are `Clip`, uint8.

    With `exclude_every` files or more, every `exclude_every`-th one is for validation and never trained on. With
    fewer, the last tenth of every file's frames is. The validation clips are the same in all stages.

    Batch `k` is a function of the seed, `k`, and the stage's frames, crop and batch; neither the number of workers
    nor what was read before matters. To continue, `configure(..., start_batch=k)`.

    Args:
        root: anything that `find_videos` takes; None is the sample clips for training.
        frames, crop, batch: of the first stage: frames a clip, pixels, clips a batch.
        stride: the largest step between a clip's frames.
        workers: reading processes; 0 reads in the training process.
        seed: of all draws.
        reader: "decord" or "pyav".
        exclude_every: see above; 0 always takes the last tenth of frames.
        flips, reverse: mirror clips, play them backwards, each for half of them.
        worst_share: 0..1, the share of files that may fail before DataError.
        hold_mb: MiB of decoded frames held in memory, for each worker; for a few small files.
        val_frames, val_crop, val_clips: of the validation set; its batches are of `batch` clips at most.
        start_method: how workers start, "fork", "forkserver" or "spawn".

    Raises:
        DataError: a field is out of range; in `setup`, no video is found.
    """

    def __init__(
        self,
        root: str | Path | Iterable[str | Path] | None = None,
        frames: int = 4,
        crop: int = 160,
        batch: int = 8,
        stride: int = 1,
        workers: int = 0,
        seed: int = 0,
        reader: str = "decord",
        exclude_every: int = 10,
        flips: bool = True,
        reverse: bool = True,
        worst_share: float = 0.1,
        hold_mb: int = 0,
        val_frames: int = 8,
        val_crop: int = 256,
        val_clips: int = 8,
        start_method: str = "fork",
    ) -> None:
        super().__init__()
        check_at_least(0, workers=workers, seed=seed, hold_mb=hold_mb, exclude_every=exclude_every)
        check_at_least(1, stride=stride, val_frames=val_frames, val_crop=val_crop, val_clips=val_clips)
        check_share(worst_share=worst_share)
        check_reader(reader)
        if exclude_every == 1:
            raise DataError("exclude_every=1 leaves no file to train on; give 0, or 2 or more")
        self.root = samples_for("train") if root is None else root
        self.workers, self.exclude_every, self.start_method = workers, exclude_every, start_method
        self._drawing = dict(stride=stride, seed=seed, reader=reader, flips=flips, reverse=reverse, hold_mb=hold_mb)
        self._worst_share = worst_share
        self._validating = (val_frames, val_crop, val_clips)
        self.train_clips: ClipDataset | None = None
        self.val_clips: ValidationClips | None = None
        self.configure(frames, crop, batch)

    def configure(self, frames: int, crop: int, batch: int, start_batch: int = 0, batches: int | None = None) -> None:
        """Set a stage's clips; call it before the stage's `Trainer.fit`.

        Args:
            frames, crop, batch: frames a clip, pixels, clips a batch (4096 at most).
            start_batch: number of the first batch, counted over the whole training (as codec steps are).
            batches: how many batches `train_dataloader` gives; None is without end.
        """
        check_at_least(1, frames=frames, crop=crop, batch=batch, batches=ENDLESS if batches is None else batches)
        check_at_least(0, start_batch=start_batch)
        if batch > LARGEST:
            raise DataError(f"batch={batch}; give {LARGEST} or less")
        self.frames, self.crop, self.batch = frames, crop, batch
        self.start_batch, self.batches = start_batch, batches

    def setup(self, stage: str | None = None) -> None:
        """Find the files and divide them, once."""
        if self.train_clips is not None:
            return
        train, val, held_out = self._divided(find_videos(self.root))
        self.train_clips = ClipDataset(
            train, self.frames, self.crop, held_out=held_out, worst_share=self._worst_share, **self._drawing
        )
        self.val_clips = ValidationClips(val, *self._validating, held_out=held_out, worst_share=self._worst_share)

    def train_dataloader(self) -> DataLoader[Clip]:
        """Batches from `start_batch` on, without end unless `batches` was given."""
        self.setup()
        count = ENDLESS if self.batches is None else self.batches
        several = {}
        if self.workers:
            several = dict(persistent_workers=True, prefetch_factor=2, timeout=STUCK, multiprocessing_context=self.start_method)
        return DataLoader(
            self.train_clips.resized(self.frames, self.crop),
            batch_sampler=Batches(self.start_batch, count, self.batch),
            num_workers=self.workers,
            collate_fn=join_clips,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=start_worker,
            **several,
        )

    def val_dataloader(self) -> DataLoader[Clip]:
        """The validation clips in order, read in this process at first and then held."""
        self.setup()
        return DataLoader(self.val_clips, batch_size=self.batch, collate_fn=join_clips)

    def _divided(self, files: list[Path]) -> tuple[list[Path], list[Path], float]:
        """Files to train on, files to validate on, and the share of their last frames held out of the former."""
        if not self.exclude_every or len(files) < self.exclude_every:
            return files, files, HELD_OUT
        val = files[self.exclude_every - 1 :: self.exclude_every]
        return [file for file in files if file not in set(val)], val, 0.0
