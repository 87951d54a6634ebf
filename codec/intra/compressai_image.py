"""Any of CompressAI's image models without an autoregressive context, as an intra coder."""

from pathlib import Path

import torch
from torch import Tensor, nn

from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.factorized import FactorizedEntropy
from codec.entropy.models.gaussian_hyperprior import ImageHyperprior
from codec.errors import CodecError
from codec.intra.network import IntraNetwork
from codec.layers.blocks import downward
from codec.layers.compressai import (
    FactorizedPrior,
    FactorizedPriorReLU,
    MeanScaleHyperprior,
    ScaleHyperprior,
)
from codec.layers.frames import COLOURS, padded
from codec.layers.peer_weights import peer_weights, stored_weights
from codec.layers.steps import QualitySteps
from codec.references import Reference

MODELS = {
    "bmshj2018-factorized": FactorizedPrior,
    "bmshj2018-factorized-relu": FactorizedPriorReLU,
    "bmshj2018-hyperprior": ScaleHyperprior,
    "mbt2018-mean": MeanScaleHyperprior,
}
_AUTOREGRESSIVE = ("mbt2018", "cheng2020-anchor", "cheng2020-attn")


class CompressaiImage(IntraNetwork):
    """Codes a frame by itself with an image model of CompressAI, its latents through our channels.

    With neutral gains, as they start, every quality codes as the image model itself.

    Args:
        model: CompressAI's name for it.
        features: F of the reference state: a projection of the pixels.
        hidden, latent_channels: CompressAI's N and M; its qualities pick them, for example 128 and
            192 for the lower ones.
        weights: file with a state dict of the model, or None for random weights. A checkpoint of
            the codec holds the weights and no longer needs the file.
        frozen: keep the image model as it is; gains and features still learn.
        gains: quantisation steps learned per quality around the model's one rate; False is one
            rate.
        colours: the codec's, `ycc` or `rgb`; the model itself sees RGB.

    Raises:
        CodecError: a model that is not supported or unknown, or a file that is missing or does not
            fit.
    """

    latent_stride = 16

    def __init__(
        self,
        model: str,
        features: int,
        hidden: int = 128,
        latent_channels: int = 192,
        weights: str | None = None,
        frozen: bool = False,
        gains: bool = True,
        colours: str = "ycc",
    ) -> None:
        super().__init__()
        self.model, self.colours, self.made_for = model, COLOURS[colours], colours
        parts = dict(_class_of(model)(hidden, latent_channels).named_children())
        self.g_a, self.g_s = parts["g_a"], parts["g_s"]
        self.entropy: ImageHyperprior | FactorizedEntropy
        if "h_a" in parts:
            means = model == "mbt2018-mean"
            self.entropy = ImageHyperprior(
                latent_channels, hidden, parts["h_a"], parts["h_s"], means, gains
            )
        else:
            self.entropy = FactorizedEntropy(latent_channels, scale=1.0)
        self.steps = QualitySteps(latent_channels, coarsest=1.0, finest=1.0, gains=gains)
        self.to_features = downward(3, features, 8)
        if weights is not None:
            self.load(Path(weights))
        if frozen:
            for part in self._parts().values():
                part.requires_grad_(False)

    def forward(
        self, frame: Tensor | None, size: tuple[int, int], quality: Tensor, coder: SymbolCoder
    ) -> Reference:
        given = None
        if coder.encodes and frame is not None:
            given = self.steps.divide(self.g_a(self.colours.to_rgb(frame)), quality)
        stride = self.latent_stride
        latent_size = (padded(size[0], stride) // stride, padded(size[1], stride) // stride)
        latent = self.entropy.code("intra", given, latent_size, quality, coder)
        rgb = self.g_s(self.steps.multiply(latent, quality)).float()
        reconstruction = self.colours.from_rgb(rgb)
        return Reference(frame=reconstruction, features=self.to_features(reconstruction))

    def load(self, path: Path) -> None:
        """Take over the weights in a file of CompressAI's.

        Raises:
            CodecError: the file is missing or unreadable, or of another model, size or state.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = str(error).splitlines()[0][:200]
            raise CodecError(
                f"intra.weights {path}: cannot be read ({reason}); give a state dict of "
                f"{self.model}"
            ) from error
        if not isinstance(content, dict):
            raise CodecError(
                f"intra.weights {path}: a dictionary of tensors expected, {type(content).__name__} "
                "came"
            )
        parts = self._parts()
        ours = {
            name: value
            for prefix, part in parts.items()
            for name, value in stored_weights(part, prefix).items()
        }
        came = peer_weights(content.get("state_dict", content), ours, self.model)
        for prefix, part in parts.items():
            part.load_state_dict(
                {
                    name.removeprefix(f"{prefix}."): came[name]
                    for name in stored_weights(part, prefix)
                },
                strict=False,
            )

    def _parts(self) -> dict[str, nn.Module]:
        """The image model's modules by CompressAI's names."""
        parts: dict[str, nn.Module] = {"g_a": self.g_a, "g_s": self.g_s}
        parts["entropy_bottleneck"] = self.entropy.density
        return parts | {
            name: getattr(self.entropy, name)
            for name in ("h_a", "h_s")
            if hasattr(self.entropy, name)
        }


def _class_of(model: str) -> type[nn.Module]:
    """CompressAI's class by its name."""
    if model in _AUTOREGRESSIVE:
        raise CodecError(
            f"intra.model: {model!r} decodes one latent after the other (autoregressive context), "
            "which our streams do not do; "
            f"choose from {', '.join(MODELS)}"
        )
    if model not in MODELS:
        raise CodecError(f"intra.model: {model!r} given; choose from {', '.join(MODELS)}")
    return MODELS[model]
