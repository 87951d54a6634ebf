"""Checkpoints: everything needed to rebuild a codec, and for training also to go on."""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from codec import registry
from codec.errors import CodecError
from codec.video import VideoCodec
from common.files import new_version

_FORMAT = "corvid checkpoint 1"
_MOST_ENTRIES = 1_000_000  # of a checkpoint: tensors, numbers, words, and what holds them
_MOST_DEPTH = 32
_MOST_NAME = 512  # characters of a tensor's name
# What building a codec may take: real ones take 1.2 to 1.6 times what their file holds.
_MOST_TIMES, _MOST_BESIDES = 8, 64 << 20
_SHOWN = 3


class DamagedCheckpoint(CodecError):
    """A file that is no checkpoint, or no longer a whole one."""


def build_codec(config: dict[str, Any], plugins: Sequence[str] = ()) -> VideoCodec:
    """The codec that a nested plain dictionary of registered names and their arguments describes.

    It remembers the dictionary, less `weights` files. The dictionary is the user's: of a file it is
    `codec_of` that builds. `plugins` are packages that it names, for the error.

    Raises:
        CodecError: a name that is not registered, or a network refuses its arguments.
    """
    built = registry.build("network", config, "codec", plugins=tuple(plugins))
    return _remember(built, config, "codec")


def _remember(codec: Any, config: dict[str, Any], where: str) -> VideoCodec:
    if not isinstance(codec, VideoCodec):
        what = f"{where}: {registry.name_of('network', config)} is a {type(codec).__name__}"
        raise CodecError(f"{what}, no codec; type: video_codec expected")
    codec.config = without_weights(config)
    return codec


def without_weights(config: dict[str, Any]) -> dict[str, Any]:
    """A codec's config with every `weights` file None: once built, the codec's own state holds what
    was read from them.
    """
    values = {
        name: without_weights(value) if isinstance(value, dict) else value
        for name, value in config.items()
    }
    return values | ({"weights": None} if "weights" in values else {})


def save_checkpoint(
    path: Path,
    codec: VideoCodec,
    training: dict[str, Any] | None = None,
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint atomically: an interrupted write leaves the earlier file as it was.

    Args:
        path: file to write.
        codec: made by `build_codec`; its weights and config are stored.
        training: what training needs to continue (tensors and plain values), or None for weights
            alone.
        weights: stored as the codec's in place of its own, for example their moving average.

    Raises:
        CodecError: the codec is frozen: its weights are rounded, those of its streams are not.
        WriteError: the disk is full, or does not take the file for another reason.
    """
    if codec.frozen:
        raise CodecError(
            f"{path}: the codec is frozen to {codec.frozen.precision}; save the one that it was "
            "made from"
        )
    values = codec.state_dict() if weights is None else weights
    stored = {codec.stored_names.get(name, name): value for name, value in values.items()}
    content: dict[str, Any] = {
        "format": _FORMAT,
        "codec_config": codec.config,
        "codec": stored,
        "training": training,
    }
    if plugins := registry.packages_in("network", codec.config):
        content["plugins"] = plugins  # named in errors where they are missing, never imported
    _write(path, content)


def save_codec_file(path: Path, content: dict[str, Any]) -> None:
    """Write what `read_checkpoint` gave as a file of the codec alone, without what only training
    needs.
    """
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
    """The content of a checkpoint file, or of `best.ckpt` (else `last.ckpt`) of a run folder, on
    the CPU.

    The only way in which checkpoints are opened. Whoever made the file, this runs nothing of it: it
    gives tensors and plain values, all of which lie in the file; `codec_of` builds what they say.

    Raises:
        DamagedCheckpoint: it is cut off, was changed on the disk, or is not one of ours.
        CodecError: there is none, or it cannot be read now.
    """
    path = checkpoint_file(where)
    try:
        with zipfile.ZipFile(path) as file:
            _check_sizes(file, path)
            if damaged := file.testzip():
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError) as error:  # of the machine, not of the file
        raise CodecError(f"checkpoint {path}: cannot be read now ({error!r}); try again") from error
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        if "Weights only load failed" in reason:
            reason = "it asks for more than tensors and plain values"
        fix = "give another file"
        what = f"checkpoint {path}: not a readable checkpoint ({reason})"
        raise DamagedCheckpoint(f"{what}; {fix}") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        fix = "give a file that train.py wrote, or a run folder"
        raise DamagedCheckpoint(f"checkpoint {path}: not a Corvid checkpoint; {fix}")
    _check_content(content, path)
    return content


def _check_sizes(file: zipfile.ZipFile, path: Path) -> None:
    """Our files are not compressed: what is read is no larger than the file."""
    entries = file.infolist()
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise zipfile.BadZipFile("it is compressed, or its entries are larger than the file")


def _check_content(content: dict[str, Any], path: Path) -> None:
    """Raise DamagedCheckpoint where a field is not what `save_checkpoint` writes."""
    fix = "give a file that train.py wrote"
    expected = {"codec_config": dict, "codec": dict, "training": dict | None}
    for name, kind in expected.items():
        if name not in content or not isinstance(content[name], kind):
            came = type(content.get(name)).__name__
            raise DamagedCheckpoint(f"checkpoint {path}: {name} is a {came}; {fix}")
    plugins = content.get("plugins", [])
    if not isinstance(plugins, list) or not all(map(registry.is_package, plugins)):
        raise DamagedCheckpoint(f"checkpoint {path}: plugins is no list of names; {fix}")
    for name, value in content["codec"].items():
        named = isinstance(name, str) and len(name) <= _MOST_NAME and name.isprintable()
        if not named or not isinstance(value, Tensor):
            raise DamagedCheckpoint(f"checkpoint {path}: codec is no dictionary of tensors; {fix}")
    left, waiting = _MOST_ENTRIES, [("", content, 0)]
    while waiting:
        where, value, depth = waiting.pop()
        left -= 1
        if left < 0 or depth > _MOST_DEPTH:
            what = f"checkpoint {path}: {where[:100]} is nested or large beyond reason"
            raise DamagedCheckpoint(f"{what}; {fix}")
        if isinstance(value, Tensor):
            _check_tensor(value, f"checkpoint {path}: {where[:_MOST_NAME]}")
        elif isinstance(value, dict):
            for name, below in value.items():
                if not str(name).isprintable():
                    raise DamagedCheckpoint(
                        f"checkpoint {path}: {str(name)[:100]!r} is no name; {fix}"
                    )
                waiting.append((f"{where}.{name}".lstrip("."), below, depth + 1))
        elif isinstance(value, list | tuple):
            waiting += [(where, below, depth + 1) for below in value]


def _check_tensor(tensor: Tensor, where: str) -> None:
    """Refuse a tensor that seems larger than what the file holds: it would be once it is used."""
    plain = tensor.layout == torch.strided and not tensor.is_quantized
    plain = plain and tensor.device.type == "cpu"
    if not plain or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        what = f"is a tensor {list(tensor.shape)} that the file does not hold"
        raise DamagedCheckpoint(f"{where} {what}; give a file that train.py wrote")


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
    raise CodecError(
        f"checkpoint: {names} does not exist; give a checkpoint file or the folder of a training "
        "run"
    )


def load_codec(where: str | Path) -> VideoCodec:
    """Rebuild the codec of a checkpoint file or run folder, in evaluation mode on the CPU, channels
    last.

    Raises:
        CodecError: no checkpoint, weights that do not fit its own config, or non-finite weights.
    """
    return codec_of(read_checkpoint(where), where)


def codec_of(content: dict[str, Any], where: str | Path) -> VideoCodec:
    """The codec of what `read_checkpoint` gave; `where` names it in errors, which are those of
    `load_codec`.

    It runs registered networks and layers alone, in memory that is some times that of the weights.
    """
    config, field = content["codec_config"], f"checkpoint {where}: codec"
    limit = _MOST_TIMES * _size(content["codec"]) + _MOST_BESIDES
    plugins = tuple(content.get("plugins", ()))
    try:
        with MemoryLimit(limit, f"checkpoint {where}"):
            built = registry.build("network", config, field, stored=True, plugins=plugins)
    except CodecError as error:
        if str(where) in str(error):
            raise
        raise CodecError(f"checkpoint {where}: {error}") from error  # a network's own
    codec = _remember(built, config, field)
    load_weights(codec, content["codec"], f"checkpoint {where}")
    return codec.eval().to(memory_format=torch.channels_last)


def load_weights(codec: VideoCodec, weights: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """Load a state dict whole, or say in one line what does not fit; `where` begins the message.

    Returns:
        The weights under today's names, where the file has names of the past.

    Raises:
        CodecError: names or shapes are another codec's, or values are not finite.
    """
    if not isinstance(weights, dict) or not all(
        isinstance(value, Tensor) for value in weights.values()
    ):
        came = type(weights).__name__
        what = f"{where}: a dictionary of tensors expected, {came} came"
        raise CodecError(f"{what}; give a state dict")
    weights, codec.stored_names = with_todays_names(codec, weights)
    fix = (
        "the weights are another codec's: give those of this codec, or this codec's config",
        "the codec's config differs in a width",
    )
    check_weights(weights, codec.state_dict(), where, *fix)
    codec.load_state_dict(weights)
    return weights


def with_todays_names(
    codec: nn.Module,
    weights: dict[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights of a file under the names that parameters have today, and their stored names by
    these.
    """
    new = registry.renamed(codec.named_modules(), list(weights))
    named = {new.get(name, name): value for name, value in weights.items()}
    return named, {now: stored for stored, now in new.items()}


def model_hash(codec: VideoCodec) -> str:
    """16 hexadecimal digits that name the config and the weights of a codec; a stream carries them.

    Config and names of parameters are those that its file holds, whatever they are called today. A
    frozen codec has the hash of the one that it came from.
    """
    if codec.frozen:
        return codec.frozen.model
    digest = hashlib.sha256(json.dumps(codec.config, sort_keys=True).encode())
    names = codec.stored_names
    stored = {names.get(name, name): value for name, value in codec.state_dict().items()}
    for name, value in sorted(stored.items()):
        if ".prices." in name:  # of decisions at the encoder: any decoder does without
            continue
        digest.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


class MemoryLimit(TorchDispatchMode):
    """Raises, before the memory is taken, where tensors made inside of the `with` outgrow a limit.

    What is freed again still counts, so that the limit is to be several times what is expected.

    Args:
        most: bytes, of all tensors made.
        what: begins the error.

    Raises:
        CodecError: from the operation that would exceed the limit.
    """

    def __init__(self, most: int, what: str) -> None:
        super().__init__()
        self.most = most
        self.what = what
        self.taken = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        self.taken += _bytes_made(func, args, kwargs)
        if self.taken > self.most:
            raise CodecError(
                f"{self.what}: its config asks for more than {self.most / 1e6:.0f} MB, "
                "many times what the file holds; do not use this file"
            )
        return func(*args, **kwargs)


def _bytes_made(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Bytes of the new tensors that an operation makes, asked of the device without memory."""
    schema = func._schema
    if schema.is_mutable or any(made.alias_info is not None for made in schema.returns):
        return 0  # in place, or a view
    args, kwargs = tree_map_only(Tensor, _without_memory, (args, kwargs))
    if any(argument.name == "device" for argument in schema.arguments):
        kwargs = kwargs | {"device": torch.device("meta")}
    try:
        made = func(*args, **kwargs)
    except (NotImplementedError, RuntimeError):  # an operation that needs values: it makes little
        return 0
    tensors = [value for value in tree_leaves(made) if isinstance(value, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _without_memory(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def check_weights(
    came: dict[str, Tensor],
    expected: dict[str, Tensor],
    where: str,
    other_names: str,
    other_shape: str,
) -> None:
    """Raise CodecError, one line, where weights are not those of `expected`: by name, shape, or
        because they are not finite.

    Args:
        came: what was given.
        expected: tensors of the right shapes by name.
        where: begins the message.
        other_names, other_shape: what to do, where names or shapes differ.
    """
    missing, unknown = (
        [name for name in expected if name not in came],
        [name for name in came if name not in expected],
    )
    if missing or unknown:
        raise CodecError(
            f"{where}: {len(missing)} of {len(expected)} names missing ({_few(missing)}), "
            f"{len(unknown)} unknown ({_few(unknown)}); {other_names}"
        )
    for name, value in came.items():
        if value.shape != expected[name].shape:
            shapes = f"{tuple(value.shape)}, this codec's is {tuple(expected[name].shape)}"
            raise CodecError(f"{where}: {name} is {shapes}; {other_shape}")
        if not torch.isfinite(value).all():
            raise CodecError(f"{where}: {name} holds non-finite values; use an earlier checkpoint")


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "") if names else "none"
