"""A codec as the words of a training command describe it, untrained."""

from collections.abc import Sequence
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

import codec
from codec.checkpoint import build_codec
from codec.errors import CodecError
from codec.video import VideoCodec

CONF = Path(codec.__file__).parents[1] / "conf"


def configured_codec(overrides: Sequence[str]) -> VideoCodec:
    """Build the codec of conf/train.yaml with Hydra `overrides`, for example `codec=demo`, as
    streams are coded: not training.

    Raises:
        CodecError: there is no conf folder, an override names nothing that is there, or the
            networks do not fit together.
    """
    if not (CONF / "train.yaml").is_file():
        raise CodecError(
            f"{CONF}: no train.yaml there; run corvid from a checkout that is installed with pip "
            "install --editable"
        )
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("train", overrides=list(overrides))
        built = build_codec(OmegaConf.to_container(config.codec, resolve=True))
    except (HydraException, OmegaConfBaseException) as error:
        raise CodecError(
            f"{' '.join(overrides)}: {_one_line(error)}; say it as for train.py, for example "
            "codec=demo"
        ) from error
    return built.eval().to(memory_format=torch.channels_last)


def _one_line(error: BaseException) -> str:
    """What Hydra says, without where it has looked and how to add what nothing reads."""
    text = str(error).split("Config search path")[0].split("To append to your config")[0]
    return " ".join(text.split()).rstrip(".:;")
