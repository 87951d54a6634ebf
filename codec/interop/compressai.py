"""CompressAI's models in Corvid: their weights to and from ours, and its image models as intra
coders.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from codec.checkpoint import check_weights
from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.factorized import FactorizedEntropy
from codec.entropy.models.gaussian_hyperprior import ImageHyperprior, MeanScaleHyperprior
from codec.errors import CodecError
from codec.intra.base import IntraCoder, IntraNetwork
from codec.layers import compressai as peers
from codec.layers.blocks import downward
from codec.layers.compressai import ScaleSpaceFlow, get_scale_table
from codec.layers.frames import COLOURS, padded
from codec.layers.quality import QualitySteps
from codec.motion.scale_space import ScaleSpaceMotion
from codec.quality import check_quality
from codec.references import Reference
from codec.residual.pixel import PixelResidual
from codec.video import VideoCodec

# What CompressAI stores and we compute, by the end of its name.
_COMPUTED = (
    "._offset",
    "._quantized_cdf",
    "._cdf_length",
    ".bound",
    ".target",
    ".scale_table",
    ".scale_bound",
)
_OLD_NAMES = {"_bias": "biases", "_matrix": "matrices", "_factor": "factors"}
MODELS = {
    "bmshj2018-factorized": peers.FactorizedPrior,
    "bmshj2018-factorized-relu": peers.FactorizedPriorReLU,
    "bmshj2018-hyperprior": peers.ScaleHyperprior,
    "mbt2018-mean": peers.MeanScaleHyperprior,
}
_AUTOREGRESSIVE = ("mbt2018", "cheng2020-anchor", "cheng2020-attn")


def load_compressai_ssf(codec: VideoCodec, state_dict: dict[str, Tensor]) -> None:
    """Give a `codec=ssf` the weights of CompressAI's `ssf2020`; at every quality it then codes as
    that one model does.

    Args:
        codec: changed in place, whole or not at all.
        state_dict: of `compressai.zoo.ssf2020(...)`, or the entry `state_dict` of a checkpoint of
            it.

    Raises:
        CodecError: codec or state dict are another model's, or a weight has another shape or is not
            finite.
    """
    parts = dict(_modules(codec))
    ours = {
        name: value
        for module, part in parts.items()
        for name, value in stored_weights(part, module).items()
    }
    came = peer_weights(state_dict, ours, "ssf2020")
    for module, part in parts.items():
        part.load_state_dict(
            {name.removeprefix(f"{module}."): came[name] for name in stored_weights(part, module)},
            strict=False,
        )
    for network, entropy in _networks(codec).values():
        network.steps.neutralise()
        entropy.steps.neutralise()


def to_compressai_ssf(codec: VideoCodec, quality: int) -> dict[str, Tensor]:
    """The state dict of the CompressAI `ssf2020` that a `codec=ssf` is at one quality, its gains
    folded into the weights.

    CDF tables are in it: `compressai.models.video.ScaleSpaceFlow.from_state_dict` gives a model
        that is ready to compress.

    Raises:
        CodecError: quality is not in 0..63, the codec's networks are not those of `codec=ssf`, or
            not of ssf2020's widths.
    """
    check_quality(quality)
    model = ScaleSpaceFlow()
    theirs = model.state_dict()
    ours: dict[str, Tensor] = {}
    for module, part in _modules(codec):
        ours |= {
            name: value.detach().cpu().clone()
            for name, value in stored_weights(part, module).items()
        }
    for name, value in ours.items():
        if name not in theirs or theirs[name].shape != value.shape:
            wanted = tuple(theirs[name].shape) if name in theirs else "no such weight"
            raise CodecError(
                f"to_compressai_ssf: {name} is {tuple(value.shape)}, ssf2020 has {wanted}; use "
                "codec=ssf as it is"
            )
    for prefix, (network, entropy) in _networks(codec).items():
        _fold(ours, network.steps, quality, f"{prefix}_encoder.6", [f"{prefix}_decoder.0"])
        hyper = f"{prefix}_hyperprior"
        decoders = [f"{hyper}.hyper_decoder_mean.0", f"{hyper}.hyper_decoder_scale.deconv1"]
        _fold(ours, entropy.steps, quality, f"{hyper}.hyper_encoder.4", decoders)
    model.load_state_dict(theirs | ours)
    model.update(force=True)
    return model.state_dict()


def _fold(
    weights: dict[str, Tensor], steps: QualitySteps, quality: int, encoder: str, decoders: list[str]
) -> None:
    """Multiply the gains of one quality into the last convolution before a latent and the first
    ones after it.
    """
    index = torch.tensor([quality], device=next(steps.buffers(), torch.empty(0)).device)
    before, after = (factor.detach().cpu().flatten() for factor in steps.factors(index))
    weights[f"{encoder}.weight"] *= before[:, None, None, None]
    weights[f"{encoder}.bias"] *= before
    for decoder in decoders:
        weights[f"{decoder}.weight"] *= after[:, None, None, None]


def _networks(
    codec: VideoCodec,
) -> dict[str, tuple[ScaleSpaceMotion | PixelResidual, MeanScaleHyperprior]]:
    """By CompressAI's prefix: what makes a latent, and what codes it."""
    if not isinstance(codec.intra, IntraCoder):
        raise CodecError(f"codec.intra is {type(codec.intra).__name__}; use codec=ssf as it is")
    networks = {
        "img": (codec.intra.transform, codec.intra.entropy),
        "motion": (codec.motion, getattr(codec.motion, "entropy", None)),
        "res": (codec.residual, codec.entropy),
    }
    found: dict[str, tuple[ScaleSpaceMotion | PixelResidual, MeanScaleHyperprior]] = {}
    for part, (network, entropy) in networks.items():
        wanted = ScaleSpaceMotion if part == "motion" else PixelResidual
        if not isinstance(network, wanted) or not isinstance(entropy, MeanScaleHyperprior):
            came = f"{type(network).__name__} and {type(entropy).__name__}"
            raise CodecError(
                f"codec: {wanted.__name__} and MeanScaleHyperprior expected, {came} came; use "
                "codec=ssf as it is"
            )
        if isinstance(network, ScaleSpaceMotion) and (network.levels, network.sigma) != (5, 1.5):
            raise CodecError(
                f"motion.levels, sigma: {network.levels}, {network.sigma}; ssf2020 has 5, 1.5"
            )
        found[part] = (network, entropy)
    return found


def _modules(codec: VideoCodec) -> Iterator[tuple[str, nn.Module]]:
    """CompressAI's module names, and our modules of the same weights."""
    for part, (network, entropy) in _networks(codec).items():
        yield f"{part}_encoder", network.analysis
        yield f"{part}_decoder", network.synthesis
        yield f"{part}_hyperprior.hyper_encoder", entropy.analysis
        yield f"{part}_hyperprior.hyper_decoder_mean", entropy.means
        for number, layer in enumerate(entropy.scales[::2], 1):
            yield f"{part}_hyperprior.hyper_decoder_scale.deconv{number}", layer
        yield f"{part}_hyperprior.entropy_bottleneck", entropy.density


def stored_weights(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """The part of a module's state dict that CompressAI stores too, with `prefix` and a dot before
    the names.
    """
    named = {f"{prefix}.{name}": value for name, value in module.state_dict().items()}
    return {name: value for name, value in named.items() if not name.endswith(_COMPUTED)}


def peer_weights(
    state_dict: dict[str, Tensor], expected: dict[str, Tensor], model: str
) -> dict[str, Tensor]:
    """The weights in a state dict of CompressAI's, by today's names, without what is computed.

    Args:
        state_dict: what came; names of older versions and of parallel training are understood.
        expected: tensors of the right shapes by CompressAI's names.
        model: whose they are, for errors.

    Raises:
        CodecError: other names, another shape, a value that is not finite, or a table of scales
            other than CompressAI's.
    """
    came = {_new_name(name): value for name, value in state_dict.items()}
    for name, value in came.items():
        if name.endswith(".scale_table") and value.numel() and not _is_usual(value):
            raise CodecError(
                f"{model} state dict: {name} is not CompressAI's get_scale_table(), which is the "
                "only one supported"
            )
    weights = {name: value for name, value in came.items() if not name.endswith(_COMPUTED)}
    fix = (
        f"give the state dict of a CompressAI {model}",
        "make the codec's widths those of the model",
    )
    check_weights(weights, expected, f"{model} state dict", *fix)
    return weights


def _is_usual(table: Tensor) -> bool:
    usual = get_scale_table()
    return table.shape == usual.shape and torch.allclose(table.cpu().float(), usual)


def _new_name(name: str) -> str:
    """The name that CompressAI gives a weight today, without what training in parallel puts before
    it.
    """
    old = r"(?<=entropy_bottleneck\.)(_bias|_matrix|_factor)(\d)$"
    return re.sub(
        old, lambda found: f"{_OLD_NAMES[found[1]]}.{found[2]}", name.removeprefix("module.")
    )


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
