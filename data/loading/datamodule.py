"""ClipDataModule: clips for training and validation, by Lightning's interface."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Subset

from data.errors import DataError, check_at_least
from data.index.table import IndexedSequences
from data.loading.clip import Clip, join_clips
from data.loading.dataloader import ClipLoader
from data.loading.dataset import ClipDataset, ValidationClips
from data.loading.samplers import ClipBatchSampler
from data.loading.split import split_sequences
from data.loading.stream import ShardStream
from data.sequences import Sequences
from data.shards.staging import ShardLocation
from data.sources.discovery import Places, find_sequences
from data.sources.manifest import is_index
from data.sources.sample_clips import sample_clips_for

ENDLESS = 1_000_000_000  # batches
HELD_OUT = 0.1
log = logging.getLogger(__name__)


class ClipDataModule(LightningDataModule):
    """Random clips to train on, fixed clips to validate on; batches are `Clip`, uint8.

    With `exclude_every` files or more, one in `exclude_every` is for validation and never trained
    on (see `split_sequences`). With fewer, the last tenth of every sequence's frames is. The
    validation clips are the same in all stages.

    Samples are numbered through the whole training, and sample `i` is a function of the seed, `i`,
    and the stage's frames and crop; neither the number of workers nor what was read before matters.
    Every sequence comes once in as many samples as there are sequences. To continue,
    `configure(..., start_sample=i)`.

    Args:
        root: anything that `open_sequences` takes; None is the sample clips for training.
        frames, crop, batch: of the first stage: frames a clip, pixels, clips a batch of one
            process.
        stride: the largest step between a clip's frames.
        workers: reading processes; 0 reads in the training process.
        seed: of all draws.
        reader: "auto", "decord" or "pyav", see `open_reader`.
        exclude_every: see above; 0 always takes the last tenth of frames.
        flips, reverse: mirror clips, play them backwards, each for half of them.
        worst_share: 0..1, the share of sequences that may fail before DataError.
        hold_mb: MiB of decoded frames held in memory, for each worker; for a few small files.
        val_frames, val_crop, val_clips: of the validation set; its batches are of `batch` clips at
            most.
        start_method: how workers start, "fork", "forkserver" or "spawn".
        patience: seconds without a batch after which a worker is taken to hang, and is started
            again.
        record: file that gets a line for every sequence that is set aside; None keeps none.
        shards: folder or URL (s3://...) of a packed set's shards; None is where its index says.
        stage: folder on a disk of the node, to which shards are copied first; None reads them where
            they are.
        stage_gb: bytes / 1e9 that they may take there.
        stream: read shards front to back, for object storage and slow disks; see `ShardStream`.
            Samples are then in another order, which depends on the number of processes and workers.
        buffer: sequences that each worker holds, encoded, to draw among when it streams.
        overfit_batches: so many batches are trained on over and over, to see whether a model can
            learn them; nothing is held out then, validation has clips of them. None: off.

    Raises:
        DataError: a field is out of range (some are looked at in `setup`); in `setup`, no video is
            found, or shards cannot be staged.
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
        reader: str = "auto",
        exclude_every: int = 10,
        flips: bool = True,
        reverse: bool = True,
        worst_share: float = 0.1,
        hold_mb: int = 0,
        val_frames: int = 8,
        val_crop: int = 256,
        val_clips: int = 8,
        start_method: str = "fork",
        patience: float = 300,
        record: str | Path | None = None,
        shards: str | None = None,
        stage: str | Path | None = None,
        stage_gb: float = 100,
        stream: bool = False,
        buffer: int = 128,
        overfit_batches: int | None = None,
    ) -> None:
        super().__init__()
        check_at_least(0, workers=workers, exclude_every=exclude_every)
        check_at_least(1, patience=patience, buffer=buffer)
        if overfit_batches is not None:
            check_at_least(1, overfit_batches=overfit_batches)
            if stream:
                raise DataError("overfit_batches: not with stream=true; give stream=false")
        if exclude_every == 1:
            raise DataError("exclude_every=1 leaves no file to train on; give 0, or 2 or more")
        self.root = sample_clips_for("train") if root is None else root
        self.workers = workers
        self.exclude_every = exclude_every
        self.overfit_batches = overfit_batches
        self.seed = seed
        self._starting: dict[str, Any] = dict(start_method=start_method, patience=patience)
        self._drawing: dict[str, Any] = dict(
            stride=stride, seed=seed, reader=reader, flips=flips, reverse=reverse, hold_mb=hold_mb
        )
        self._worst_share = worst_share
        self.record = None if record is None else Path(record)
        self._validating = (val_frames, val_crop, val_clips)
        self._placing = ShardLocation(shards, stage=stage, stage_gb=stage_gb, stream=stream)
        self._streaming: dict[str, Any] = dict(
            seed=seed, workers=workers, buffer=buffer, worst_share=worst_share, record=self.record
        )
        self.streams = stream
        self._stream: ShardStream | None = None
        self._stream_state: dict[str, Any] | None = None
        self._loader: ClipLoader | None = None
        self.train_clips: ClipDataset | None = None
        self.val_clips: ValidationClips | None = None
        self.configure(frames, crop, batch)

    def configure(
        self, frames: int, crop: int, batch: int, start_sample: int = 0, batches: int | None = None
    ) -> None:
        """Set a stage's clips; call it before the stage's `Trainer.fit`.

        Args:
            frames, crop, batch: frames a clip, pixels, clips a batch of one process.
            start_sample: number of the first sample, counted over the whole training and all
                processes.
            batches: how many batches `train_dataloader` gives; None is without end.
        """
        check_at_least(
            1,
            frames=frames,
            crop=crop,
            batch=batch,
            batches=ENDLESS if batches is None else batches,
        )
        check_at_least(0, start_sample=start_sample)
        if self._stream is not None:
            self._stream_state = self._stream.state_dict(self._batches_before(start_sample))
        self.frames = frames
        self.crop = crop
        self.batch = batch
        self.start_sample = start_sample
        self.batches = ENDLESS if batches is None else batches

    def setup(self, stage: str | None = None) -> None:
        """Find the sequences and divide them, once."""
        if self.train_clips is not None:
            return
        sequences = open_sequences(self.root)
        self._placing.place(sequences)
        if self.overfit_batches:
            train = val = sequences
            held_out = 0.0
        else:
            train, val = split_sequences(sequences, self.exclude_every or ENDLESS)
            held_out = HELD_OUT if val is train else 0.0
        self.train_clips = ClipDataset(
            train,
            self.frames,
            self.crop,
            held_out=held_out,
            worst_share=self._worst_share,
            record=self.record,
            **self._drawing,
        )
        self.val_clips = ValidationClips(
            val, *self._validating, held_out=held_out, worst_share=self._worst_share
        )

    def train_dataloader(self) -> ClipLoader:
        """Batches from `start_sample` on, without end unless `batches` was given; of this process,
        where there are several.
        """
        self.setup()
        rank, ranks = self._processes()
        batches = ClipBatchSampler(
            self.start_sample,
            count=self.batches,
            batch=self.batch,
            rank=rank,
            ranks=ranks,
            repeat=self.overfit_batches,
        )
        assert self.train_clips is not None
        drawn = self.train_clips.resized(self.frames, self.crop)
        clips: ClipDataset | ShardStream = drawn
        if self.streams:
            self._stream = clips = ShardStream(
                drawn.sequences,
                drawn.draw,
                self.batch,
                rank=rank,
                ranks=ranks,
                where=self._placing.where,
                **self._streaming,
            )
            if self._stream_state is not None:
                self._stream.load_state_dict(self._stream_state)
        self._loader = ClipLoader(
            clips, batches, self.workers, pin_memory=self._on_accelerator(), **self._starting
        )
        return self._loader

    def val_dataloader(self) -> DataLoader[Clip]:
        """The validation clips in order, of several processes each takes its part; read in this
        process and then held.
        """
        self.setup()
        assert self.val_clips is not None
        rank, ranks = self._processes()
        part = Subset(self.val_clips, range(rank, len(self.val_clips), ranks))
        return DataLoader(part, batch_size=self.batch, collate_fn=join_clips)

    @property
    def trouble(self) -> str:
        """What has gone wrong with files and, in this stage, with workers, in a line; "" when
        nothing has.
        """
        if self._loader is None:
            return ""
        counts = {
            "sequences set aside": self._loader.clips.quarantine.count,
            "restarts of the workers": self._loader.restarts,
        }
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)

    def state(self, samples: int = 0) -> dict[str, Any]:
        """What a checkpoint must hold, after so many samples of the whole training, for it to go on
        with the right ones.
        """
        self.setup()
        assert self.train_clips is not None
        stream = self._stream and self._stream.state_dict(self._batches_before(samples))
        return {"sequences": len(self.train_clips), "seed": self.seed, "stream": stream}

    def resume(self, before: dict[str, Any]) -> None:
        """Take up a `state`, before the first `configure`; warn when other samples would follow
        than would have.
        """
        now = self.state()
        compared = ("sequences", "seed")
        changed = [
            f"{name} were {before[name]} and are {now[name]}"
            for name in compared
            if before[name] != now[name]
        ]
        if self.streams != (before["stream"] is not None):
            changed.append(f"data.stream was {not self.streams} and is {self.streams}")
        if changed:
            log.warning(
                "data: %s since the checkpoint; samples of this epoch may come twice or not at all",
                ", ".join(changed),
            )
        self._stream_state = before["stream"] if self.streams else None

    def _batches_before(self, sample: int) -> int:
        """Batches of this process since `configure`, up to a sample of all processes."""
        return (sample - self.start_sample) // (self.batch * self._processes()[1])

    def _on_accelerator(self) -> bool:
        """Whether batches go to another memory than the processor's."""
        return self.trainer is not None and self.trainer.strategy.root_device.type not in (
            "cpu",
            "mps",
        )

    def _processes(self) -> tuple[int, int]:
        """Which of how many training processes this is."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


def open_sequences(root: Places) -> Sequences:
    """An index, or anything that `find_sequences` takes.

    Raises:
        DataError: nothing is there; see `IndexedSequences` and `find_sequences`.
    """
    if isinstance(root, str | Path) and is_index(root):
        return IndexedSequences(root)
    return find_sequences(root)
