"""Models of CompressAI's zoo with weights from a local file, a folder or the torch hub's cache;
nothing is fetched.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from compressai.zoo import image as zoo_image
from compressai.zoo import load_state_dict
from compressai.zoo import video as zoo_video
from torch import nn

from codec.errors import CodecError

VIDEO = "ssf2020"
INSIDE = (
    "state_dict",
    "network",
    "model_state_dict",
)  # of checkpoints, as CompressAI's evaluation reads them


def qualities_of(model: str, metric: str) -> tuple[int, ...]:
    """The qualities that the zoo has of a model.

    Raises:
        CodecError: it has no such model, or not for this metric.
    """
    urls = zoo_video.model_urls | zoo_image.model_urls
    if metric not in urls.get(model, {}):
        known = ", ".join(f"{name} ({' or '.join(metrics)})" for name, metrics in urls.items())
        raise CodecError(
            f"model {model!r} for {metric!r}: not in CompressAI's zoo; choose from {known}"
        )
    return tuple(urls[model][metric])


def weights_file(
    model: str, metric: str, quality: int, weights: str | Path | Mapping[Any, str] | None
) -> Path:
    """Where the weights of a model are.

    Args:
        weights: a file by quality, or a folder that holds the zoo's files; without it the torch
            hub's cache is that folder.

    Raises:
        CodecError: there are none; the message says how to get them.
    """
    url = (zoo_video.model_urls | zoo_image.model_urls)[model][metric][quality]
    if isinstance(weights, Mapping):
        named = weights.get(quality, weights.get(str(quality)))
        if named is None:
            raise CodecError(
                f"{model}: no weights for quality {quality}; give weights.{quality}=FILE or leave "
                "the quality out"
            )
        file = Path(named)
    else:
        folder = Path(weights) if weights else Path(torch.hub.get_dir()) / "checkpoints"
        file = folder / url.rsplit("/", 1)[1]
    if not file.is_file():
        where = file if weights else f"{file.name} is not in the torch hub's cache"
        raise CodecError(
            f"{model}: no weights of quality {quality} ({where}); fetch {url} and give "
            "weights=FOLDER that holds it"
        )
    return file


def load_model(model: str, file: Path, device: str = "cpu") -> nn.Module:
    """A model of the zoo in evaluation mode, with its CDF tables.

    Raises:
        CodecError: the file is no state dict of this model.
    """
    kind = (zoo_video.model_architectures | zoo_image.model_architectures)[model]
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        inner = next((content[name] for name in INSIDE if name in content), content)
        built = kind.from_state_dict(load_state_dict(inner))
    except Exception as error:  # torch and compressai raise whatever they like on foreign files
        said = str(error).splitlines()[0]
        raise CodecError(
            f"{file}: no weights of CompressAI's {model} ({said}); give the zoo's file of this "
            "model"
        ) from error
    built.update()
    return built.eval().to(device)
