"""Where weights are kept so that a .cvd file finds the codec that wrote it."""

import os
from pathlib import Path
from typing import Any

from codec.checkpoint import save_codec_file
from codec.errors import CodecError


def model_folder() -> Path:
    """`$CORVID_HOME/models`, or `~/.cache/corvid/models`."""
    return Path(os.environ.get("CORVID_HOME", Path.home() / ".cache" / "corvid")) / "models"


def remember_model(content: dict[str, Any], model: str) -> Path:
    """Keep what `read_checkpoint` gave, less what only training needs, under the codec's hash
    `model`, once.
    """
    kept = model_folder() / f"{model}.ckpt"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_codec_file(kept, content)
    return kept


def find_model(model: str, stream: Path) -> Path:
    """The kept weights of the hash in a stream's header.

    Raises:
        CodecError: none are kept here.
    """
    kept = model_folder() / f"{model}.ckpt"
    if not kept.is_file():
        raise CodecError(
            f"{stream}: written by the codec {model}, which is not in {kept.parent}; give "
            "--checkpoint"
        )
    return kept
