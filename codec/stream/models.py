"""Where weights are kept so that a .cvd file finds the codec that wrote it."""

import os
from pathlib import Path

from codec.checkpoint import checkpoint_file, read_checkpoint, save_codec_file
from codec.errors import CodecError


def model_folder() -> Path:
    """`$CORVID_HOME/models`, or `~/.cache/corvid/models`."""
    return Path(os.environ.get("CORVID_HOME", Path.home() / ".cache" / "corvid")) / "models"


def remember_model(checkpoint: str | Path, model: str) -> Path:
    """Keep the weights of `checkpoint` under the hash `model`, once."""
    kept = model_folder() / f"{model}.ckpt"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_codec_file(kept, read_checkpoint(checkpoint_file(checkpoint)))
    return kept


def find_model(model: str, stream: Path) -> Path:
    """The kept weights of the hash in a stream's header.

    Raises:
        CodecError: none are kept here.
    """
    kept = model_folder() / f"{model}.ckpt"
    if not kept.is_file():
        raise CodecError(f"{stream}: written by the codec {model}, which is not in {kept.parent}; give --checkpoint")
    return kept
