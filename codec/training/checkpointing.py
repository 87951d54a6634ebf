"""Checkpoints of a run: which are kept, what they hold, going on from one, and starting with the
weights of another run.
"""

import logging
import os
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from codec.checkpoint import (
    DamagedCheckpoint,
    load_weights,
    read_checkpoint,
    save_checkpoint,
    with_todays_names,
)
from codec.errors import CodecError
from codec.training.logging import Events
from codec.training.module import CodecTraining
from codec.training.run_dir import EVENTS
from codec.training.throughput import CHECKPOINTS
from codec.video import VideoCodec
from common.files import WriteError, sync_folder

log = logging.getLogger(__name__)

NEXT, LAST, BROKEN = "next.ckpt", "last.ckpt", ".broken"


class CheckpointManager(Callback):
    """`last.ckpt` every so many steps, `best.ckpt` when validation improves, others when told to.

    All of them hold everything needed to rebuild the codec and to continue. What is best is asked
    anew in every stage, as losses of different stages do not compare. Of several processes the
    first writes.

    Lightning's `ModelCheckpoint` knows neither the run's lock and events nor which moments a run
    can go on from bit by bit, and its files are read by unpickling.

    Args:
        folder: of the run.
        every: steps from one `last.ckpt` to the next.
        keep_last: so many of them are kept: `last.ckpt`, `last-1.ckpt` from before it, and so on.
    """

    def __init__(self, folder: Path, every: int = 200, keep_last: int = 3) -> None:
        if keep_last < 1 or every < 1:
            raise CodecError(
                f"checkpoint_every={every}, keep_last={keep_last}: at least 1 expected"
            )
        self.folder, self.every, self.keep_last = folder, every, keep_last
        self.best = float("inf")
        self.last_step: int | None = None  # that `last.ckpt` is of

    def begin_stage(self) -> None:
        """Forget the best loss."""
        self.best = float("inf")

    def restore(self, module: CodecTraining, content: dict[str, Any]) -> None:
        """Load the weights, the optimizer and the step of what `read_checkpoint` gave.

        Raises:
            CodecError: the weights are not this codec's.
        """
        weights = load_weights(module.codec, content["codec"], f"{self.folder}")
        try:
            load_training_state(module, weights, content["training"])
            self.best = float(content["training"]["best"])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            reason = f"{type(error).__name__}: {reason}"
            what = f"{self.folder}: its checkpoint's training state does not fit ({reason})"
            raise CodecError(f"{what}; take its weights with init_from={self.folder}") from error
        self.last_step = module.global_step

    @rank_zero_only
    def save(self, module: CodecTraining, name: str) -> None:
        """Write `name` into the run's folder; a new `last.ckpt` leaves those before it numbered.

        Raises:
            WriteError: the disk is full, or does not take it for another reason; earlier
                checkpoints are still there.
        """
        with module.stopwatch.timed(CHECKPOINTS):
            training = training_state(module) | {"best": self.best}
            path = self.folder / (NEXT if name == LAST else name)
            save_checkpoint(path, module.codec, training, module.weights_to_keep())
            if name == LAST:
                rotate(self.folder, self.keep_last)

    def save_last(self, module: CodecTraining) -> None:
        """Write `last.ckpt`; errors are those of `save`."""
        self.save(module, LAST)
        self.last_step = module.global_step

    def save_if_best(self, module: CodecTraining) -> None:
        """Keep the best; to be called after every validation, and before the step's `last.ckpt` is
        written.
        """
        if module.validation_loss < self.best:
            self.best = module.validation_loss
            self.save(module, "best.ckpt")

    def on_train_batch_end(
        self, trainer: Trainer, module: CodecTraining, outputs: Any, batch: Any, index: int
    ) -> None:
        if module.global_step % self.every == 0:
            self.save_last(module)

    def on_exception(
        self, trainer: Trainer, module: CodecTraining, exception: BaseException
    ) -> None:
        unsaved = module.global_step not in (0, self.last_step) and module.is_consistent
        if unsaved and not isinstance(exception, WriteError):
            try:
                self.save_last(module)
            except WriteError as error:  # the first exception says why training stopped
                module.events.say("disk", f"warning: {error}", self.last_step or 0)


@rank_zero_only
def rotate(folder: Path, keep_last: int) -> None:
    """Make a complete `next.ckpt` the last one: older ones move on by a number, those beyond
    `keep_last` go.
    """
    if not (folder / NEXT).is_file():
        return
    for path in reversed(_numbered(folder)):
        number = _number(path)
        if number + 1 >= keep_last:
            path.unlink()
        else:
            os.replace(path, folder / f"last-{number + 1}.ckpt")
    if (folder / LAST).is_file() and keep_last > 1:
        os.replace(folder / LAST, folder / "last-1.ckpt")
    os.replace(folder / NEXT, folder / LAST)
    sync_folder(folder)


def find_newest(folder: Path) -> dict[str, Any] | None:
    """The content of a run's newest complete checkpoint, None where it has none yet.

    A damaged one is warned of, noted among the run's events and renamed to `NAME.broken`, and the
    one before it is taken.

    Raises:
        CodecError: there are some, and all are damaged, now or when they were last looked at; or
            one cannot be read now.
    """
    candidates = [
        path for path in (folder / NEXT, folder / LAST, *_numbered(folder)) if path.is_file()
    ]
    passed_over: dict[str, str] = {}
    for path in candidates:
        try:
            content = read_checkpoint(path)
            if not content["training"]:
                raise DamagedCheckpoint(
                    f"checkpoint {path}: holds weights alone, training cannot go on from them"
                )
            steps = content["training"].get("codec_steps")
            if type(steps) is not int or steps < 0:
                what = f"checkpoint {path}: training.global_step is {steps!r:.100}"
                what = f"{what}, no number of steps"
                raise DamagedCheckpoint(f"{what}; training cannot go on from it")
            _note(folder, passed_over, content["training"]["codec_steps"])
            return content
        except DamagedCheckpoint as error:
            passed_over[path.name] = (
                f"{error}. It is kept as {path.name}.broken, and the one before it is looked at"
            )
            log.warning("%s", passed_over[path.name])
            _quarantine(path)
    _note(folder, passed_over, 0)
    broken = [path.name.removesuffix(BROKEN) for path in sorted(folder.glob(f"last*{BROKEN}"))]
    if names := ", ".join([path.name for path in candidates] or broken):
        raise CodecError(
            f"{folder}: none of {names} can be read (they are kept as *.broken); start a new run "
            "in another folder, "
            "with init_from= one of its other checkpoints"
        )
    return None


def _note(folder: Path, passed_over: dict[str, str], step: int) -> None:
    """Events of the step that training goes on from: those of later ones are about to
    be forgotten.
    """
    for name, text in passed_over.items():
        Events(folder / EVENTS).write("broken checkpoint", text, step, file=name)


@rank_zero_only
def _quarantine(path: Path) -> None:
    os.replace(path, path.with_name(path.name + BROKEN))


def _numbered(folder: Path) -> list[Path]:
    """Earlier last checkpoints, newest first."""
    return sorted(
        (path for path in folder.glob("last-*.ckpt") if path.stem[5:].isdigit()), key=_number
    )


def _number(path: Path) -> int:
    return int(path.stem[5:])


# What a checkpoint's training state holds as it is: its name there, the module's, and its type.
_FIELDS = {
    "codec_steps": ("global_step", int),
    "samples": ("samples", int),
    "skipped": ("skipped", int),
    "skipped_in_a_row": ("skipped_in_a_row", int),
    "stages_done": ("stages_done", int),
    "figures": ("figures", dict),
    "before": ("before", dict),
}


def training_state(module: CodecTraining) -> dict[str, Any]:
    """What a checkpoint must hold besides the weights to keep: counts, figures, the optimizer,
    where the data stands, and the weights themselves where an average of them is kept.
    """
    state = {name: getattr(module, attribute) for name, (attribute, _) in _FIELDS.items()}
    state["stage"] = module.stage.name
    state["means"] = module.accumulator.state_dict()
    if module.ema:
        state["weights"] = module.codec.state_dict()
        state["average"] = module.ema.state_dict()
    state["data"] = module.data_state(module.samples)
    state["optimizer"] = module.optimizer.state_dict()
    return state


def load_training_state(
    module: CodecTraining, weights: dict[str, Tensor], state: dict[str, Any]
) -> None:
    """Go on from what a checkpoint held: the weights that were kept, and a `training_state`.

    Raises:
        CodecError: the checkpoint is of an earlier version, or of a run with other settings.
    """
    if "means" not in state:
        raise CodecError(
            "resume: the checkpoint is of an earlier version; take its weights with init_from=RUN"
        )
    for name, (_, kind) in _FIELDS.items():
        if type(state[name]) is not kind or (kind is int and state[name] < 0):
            raise TypeError(f"{name} is {state[name]!r:.100}")
    load_weights_and_optimizer(module, weights, state)
    for name, (attribute, _) in _FIELDS.items():
        setattr(module, attribute, state[name])
    module.accumulator.load_state_dict(state["means"])
    module.resumed_data = state["data"]


def load_weights_and_optimizer(
    module: CodecTraining, weights: dict[str, Tensor], state: dict[str, Any]
) -> None:
    """Load weights, their average and the optimizer, but no counts."""
    weights, _ = with_todays_names(module.codec, weights)
    own, _ = with_todays_names(module.codec, state.get("weights", weights))
    module.codec.load_state_dict(own)
    if module.ema:
        module.ema.load_state_dict(weights, state["average"])
    module.optimizer.load_state_dict(state["optimizer"])


_SHOWN = 12


def init_from(codec: VideoCodec, where: str) -> str:
    """Load the weights of a checkpoint file or run folder that match by name and shape; the rest
    stays as it is.

    Returns:
        What matched and what did not, in a few lines.

    Raises:
        CodecError: no checkpoint there, nothing matches, or a weight that does is not finite.
    """
    came, _ = with_todays_names(codec, read_checkpoint(where)["codec"])
    own = codec.state_dict()
    taken = {
        name: value
        for name, value in came.items()
        if name in own and value.shape == own[name].shape
    }
    if not taken:
        raise CodecError(
            f"init_from={where}: none of its {len(came)} tensors has a name and shape of this "
            "codec; remove it"
        )
    for name, value in taken.items():
        if not torch.isfinite(value).all():
            raise CodecError(
                f"init_from={where}: {name} holds non-finite values; give an earlier checkpoint"
            )
    codec.load_state_dict(taken, strict=False)
    reshaped = [name for name in own if name in came and name not in taken]
    kinds = {
        "of another shape there, left as they are": _modules(reshaped, own, came),
        "not there, left as they are": _modules([name for name in own if name not in came], own),
        "there but not in this codec, not used": _modules(
            [name for name in came if name not in own], came
        ),
    }
    return "\n".join(
        [
            f"init_from={where}: {len(taken)} of {len(own)} tensors taken",
            *(_few(k, v) for k, v in kinds.items() if v),
        ]
    )


def _modules(
    names: list[str], all_of_them: dict[str, Tensor], there: dict[str, Tensor] | None = None
) -> list[str]:
    """Names with shapes; those of a module, all of whose tensors are among them, are one entry."""
    listed = set(names)
    groups: dict[str, list[str]] = {}
    others = [name for name in all_of_them if name not in listed]
    for name in names:
        parts = name.split(".")
        prefixes = [".".join(parts[:depth]) + "." for depth in range(1, len(parts))]
        group = next(
            (
                prefix
                for prefix in prefixes
                if not any(other.startswith(prefix) for other in others)
            ),
            name,
        )
        groups.setdefault(group, []).append(name)
    return [_entry(group, members, all_of_them, there) for group, members in groups.items()]


def _entry(
    group: str, members: list[str], shapes: dict[str, Tensor], there: dict[str, Tensor] | None
) -> str:
    first = members[0]
    shape = f"{tuple(shapes[first].shape)}" + (
        f", there {tuple(there[first].shape)}" if there else ""
    )
    return (
        f"{first} {shape}"
        if len(members) == 1
        else f"{group}* ({len(members)} tensors, as {first} {shape})"
    )


def _few(kind: str, entries: list[str]) -> str:
    more = f"; and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return f"  {kind}: " + "; ".join(entries[:_SHOWN]) + more
