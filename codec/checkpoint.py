"""Checkpoints: everything needed to rebuild a codec, and for training also to go on."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import Tensor, nn

from codec.errors import CodecError
from codec.files import new_version
from codec.layers.weights import check_weights
from codec.video import VideoCodec

_FORMAT = "corvid checkpoint 1"


class DamagedCheckpoint(CodecError):
    """A file that is no checkpoint, or no longer a whole one."""


def build_codec(config: dict[str, Any]) -> VideoCodec:
    """The codec that a nested plain dictionary with `_target_`s describes; it remembers the dictionary, less `weights` files.

    Raises:
        CodecError: a `_target_` cannot be imported, or a network refuses its arguments.
    """
    try:
        codec = instantiate(_renamed(config))
    except InstantiationException as error:
        reason = " ".join(str(error.__cause__ or error).split())
        if isinstance(error.__cause__, ImportError):
            reason += " A package of your own must be installed, or its folder be on PYTHONPATH"
        raise CodecError(reason if isinstance(error.__cause__, CodecError) else f"codec: {reason}") from error
    codec.config = without_weights(config)
    return codec


# Names that checkpoints of earlier versions hold; `model_hash` goes by what is stored.
_RENAMED = {"codec.motion.searched.SearchedMotion": "codec.motion.fixed_block_matching.FixedBlockMatching"}


def _renamed(config: dict[str, Any]) -> dict[str, Any]:
    values = {name: _renamed(value) if isinstance(value, dict) else value for name, value in config.items()}
    if values.get("_target_") in _RENAMED:
        values["_target_"] = _RENAMED[values["_target_"]]
    return values


def without_weights(config: dict[str, Any]) -> dict[str, Any]:
    """A codec's config with every `weights` file None: once built, the codec's own state holds what was read from them."""
    values = {name: without_weights(value) if isinstance(value, dict) else value for name, value in config.items()}
    return values | ({"weights": None} if "weights" in values else {})


def save_checkpoint(
    path: Path, codec: VideoCodec, training: dict[str, Any] | None = None, weights: dict[str, Tensor] | None = None
) -> None:
    """Write a checkpoint atomically: an interrupted write leaves the earlier file as it was.

    Args:
        path: file to write.
        codec: made by `build_codec`; its weights and config are stored.
        training: what training needs to continue (tensors and plain values), or None for weights alone.
        weights: stored as the codec's in place of its own, for example their moving average.

    Raises:
        CodecError: the codec is frozen: its weights are rounded, those of its streams are not.
        WriteError: the disk is full, or does not take the file for another reason.
    """
    if codec.frozen:
        raise CodecError(f"{path}: the codec is frozen to {codec.frozen.precision}; save the one that it was made from")
    stored = codec.state_dict() if weights is None else weights
    _write(path, {"format": _FORMAT, "codec_config": codec.config, "codec": stored, "training": training})


def save_codec_file(path: Path, content: dict[str, Any]) -> None:
    """Write what `read_checkpoint` gave as a file of the codec alone, without what only training needs."""
    _write(path, content | {"training": None})


def _write(path: Path, content: dict[str, Any]) -> None:
    with new_version(path, _size(content)) as file:
        torch.save(content, file)


def _size(content: Any) -> int:
    """Bytes of the tensors in nested dictionaries and lists, each counted once."""
    found: dict[int, int] = {}
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            found[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)
    return sum(found.values())


def read_checkpoint(where: str | Path) -> dict[str, Any]:
    """The content of a checkpoint file, or of `best.ckpt` (else `last.ckpt`) of a run folder, on the CPU.

    Raises:
        DamagedCheckpoint: it is cut off, was changed on the disk, or is not one of ours.
        CodecError: there is none, or it cannot be read now.
    """
    path = checkpoint_file(where)
    try:
        with zipfile.ZipFile(path) as file:
            if damaged := file.testzip():
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError) as error:  # of the machine, not of the file
        raise CodecError(f"checkpoint {path}: cannot be read now ({error!r}); try again") from error
    except Exception as error:
        reason = str(error).splitlines()[0][:200]
        raise DamagedCheckpoint(f"checkpoint {path}: not a readable checkpoint ({reason}); give another file") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise DamagedCheckpoint(f"checkpoint {path}: not a Corvid checkpoint; give a file that train.py wrote, or a run folder")
    return content


def checkpoint_file(where: str | Path) -> Path:
    """The file that `where`, a checkpoint file or a run folder, stands for.

    Raises:
        CodecError: it does not exist.
    """
    path = Path(where)
    candidates = [path / "best.ckpt", path / "last.ckpt"] if path.is_dir() else [path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    names = " or ".join(str(c) for c in candidates)
    raise CodecError(f"checkpoint: {names} does not exist; give a checkpoint file or the folder of a training run")


def load_codec(where: str | Path) -> VideoCodec:
    """Rebuild the codec of a checkpoint file or run folder, in evaluation mode on the CPU, channels last.

    Raises:
        CodecError: no checkpoint, weights that do not fit its own config, or non-finite weights.
    """
    return codec_of(read_checkpoint(where), where)


def codec_of(content: dict[str, Any], where: str | Path) -> VideoCodec:
    """The codec of what `read_checkpoint` gave; `where` names it in errors, which are those of `load_codec`."""
    codec = build_codec(content["codec_config"])
    load_weights(codec, content["codec"], f"checkpoint {where}")
    return codec.eval().to(memory_format=torch.channels_last)


def load_weights(codec: nn.Module, weights: dict[str, Tensor], where: str) -> None:
    """Load a state dict whole, or say in one line what does not fit; `where` begins the message.

    Raises:
        CodecError: names or shapes are another codec's, or values are not finite.
    """
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CodecError(f"{where}: a dictionary of tensors expected, {type(weights).__name__} came; give a state dict")
    fix = (
        "the weights are another codec's: give those of this codec, or this codec's config",
        "the codec's config differs in a width",
    )
    check_weights(weights, codec.state_dict(), where, *fix)
    codec.load_state_dict(weights)


def model_hash(codec: VideoCodec) -> str:
    """16 hexadecimal digits that name the config and the weights of a codec; a stream carries them.

    A frozen codec has the hash of the one that it came from.
    """
    if codec.frozen:
        return codec.frozen.model
    digest = hashlib.sha256(json.dumps(codec.config, sort_keys=True).encode())
    for name, value in sorted(codec.state_dict().items()):
        if ".prices." in name:  # of decisions at the encoder: any decoder does without
            continue
        digest.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
