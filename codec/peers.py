"""Weights to and from CompressAI's `ssf2020`."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from codec.entropy.models.gaussian_hyperprior import MeanScaleHyperprior
from codec.errors import CodecError
from codec.intra.network import IntraCoder
from codec.layers.compressai import ScaleSpaceFlow
from codec.layers.peer_weights import peer_weights, stored_weights
from codec.layers.steps import QualitySteps
from codec.motion.scale_space import ScaleSpaceMotion
from codec.quality import check_quality
from codec.residual.pixel import PixelResidual
from codec.video import VideoCodec


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
