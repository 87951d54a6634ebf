"""What `corvid complexity` is asked to measure, from the words of its command line."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

import codec
from codec.checkpoint import build_codec, load_codec
from codec.errors import CodecError
from codec.evaluation.complexity.profiler import (
    FRAMES,
    Complexity,
    measure_complexity,
    panning_clip,
)
from codec.layers.frames import check_size
from codec.precision import check_precision
from codec.video import VideoCodec
from data.io.source_clip import read_source
from data.sources.discovery import find_videos

_LARGEST_SIDE = 16384
CONF = Path(codec.__file__).parents[1] / "conf"


@dataclass(frozen=True)
class ComplexityJob:
    """One measurement.

    Attributes:
        overrides: Hydra overrides of conf/train.yaml that describe an untrained codec.
        checkpoint: file or run folder, instead of `overrides`.
        size: (width, height); None: that of `clip`, or 1280×720.
        clip: a video; None: `panning_clip`.
        quality, repeats: see `measure_complexity`.
        threads: of torch; None: as it is.
        precision: as `codec.freeze` takes it; None: the codec's own.
        json: file for the numbers, or None.
    """

    overrides: tuple[str, ...] = ()
    checkpoint: str | None = None
    size: tuple[int, int] | None = None
    clip: str | None = None
    quality: int = 32
    repeats: int = 3
    threads: int | None = None
    precision: str | None = None
    json: str | None = None

    @property
    def title(self) -> str:
        """What is measured, in the words that it was asked for."""
        return (
            f"checkpoint={self.checkpoint}"
            if self.checkpoint
            else " ".join(self.overrides) or "the codec of conf/train.yaml"
        )

    def run(self) -> Complexity:
        """Measure.

        Raises:
            CodecError, DataError: the codec cannot be built, or the clip is missing, too short or
                too small.
        """
        frames = self.frames()
        codec = self.codec()
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        try:
            return measure_complexity(codec, frames, self.quality, self.repeats, self.precision)
        finally:
            torch.set_num_threads(before)

    def codec(self) -> VideoCodec:
        """The codec to measure."""
        return load_codec(self.checkpoint) if self.checkpoint else configured_codec(self.overrides)

    def frames(self) -> Tensor:
        """What it codes: uint8 `(3, 3, H, W)`, of a larger clip the upper left part."""
        if self.clip is None:
            return panning_clip(FRAMES, *(self.size or (1280, 720)))
        rgb = read_source(find_videos(self.clip)[0], FRAMES).rgb
        height, width = rgb.shape[-2:]
        wide, tall = self.size or (width, height)
        if len(rgb) < FRAMES or wide > width or tall > height:
            raise CodecError(
                f"clip={self.clip}: {len(rgb)} frames of {width}×{height}; at least {FRAMES} of "
                f"{wide}×{tall} expected: give "
                f"another clip or a smaller size"
            )
        return rgb[..., :tall, :wide]


def job_of(words: Sequence[str]) -> ComplexityJob:
    """The job that words `name=value` describe; those that are none of its own are Hydra overrides.

    Raises:
        CodecError: a word without a value, a number out of range, or a checkpoint beside overrides.
    """
    job = ComplexityJob()
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise CodecError(
                f"{word}: not understood; give words like codec=demo, size=1280x720 or "
                "checkpoint=RUN"
            )
        known = name in _READERS
        job = replace(
            job,
            **(
                {name: _READERS[name](name, value)}
                if known
                else {"overrides": (*job.overrides, word)}
            ),
        )
    if job.checkpoint and job.overrides:
        raise CodecError(
            f"checkpoint={job.checkpoint}: brings its own networks; leave out "
            f"{' '.join(job.overrides)}"
        )
    return job


def _size(name: str, value: str) -> tuple[int, int]:
    sides = value.split("x")
    if len(sides) != 2 or not all(
        side.isdecimal() and int(side) <= _LARGEST_SIDE for side in sides
    ):
        raise CodecError(f"{name}={value}: WIDTHxHEIGHT expected, for example size=1280x720")
    width, height = (int(side) for side in sides)
    check_size(height, width)
    return width, height


def _number(name: str, value: str) -> int:
    if not value.isdecimal() or (name == "threads" and int(value) < 1):
        raise CodecError(
            f"{name}={value}: a whole number expected, at least {int(name == 'threads')}"
        )
    return int(value)


def _text(name: str, value: str) -> str:
    if not value:
        raise CodecError(f"{name}=: empty; give a path or leave it out")
    return value


def _precision(name: str, value: str) -> str:
    return check_precision(value, name)


_READERS: dict[str, Any] = {
    "size": _size,
    "precision": _precision,
    **dict.fromkeys(("quality", "repeats", "threads"), _number),
    **dict.fromkeys(("checkpoint", "clip", "json"), _text),
}


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
        plain = OmegaConf.to_container(config.codec, resolve=True)
        assert isinstance(plain, dict)
        built = build_codec({str(name): value for name, value in plain.items()})
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
