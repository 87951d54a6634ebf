"""A codec as it codes streams: exact networks rounded for good, the others in the precision of the
stream.
"""

import copy
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch

from codec.checkpoint import model_hash
from codec.entropy.models.integer_layers import freeze_exact
from codec.errors import CodecError
from codec.layers.blocks import Network
from codec.precision import AUTO, PRECISIONS, check_precision, resolve_precision
from codec.video import FrozenAs, VideoCodec


@dataclass(frozen=True)
class _Kept:
    """A frozen copy, and the weights and place that it was made for."""

    made_for: FrozenAs
    device: torch.device
    compiler: str | None
    codec: VideoCodec


_COPIES: WeakKeyDictionary[VideoCodec, _Kept] = WeakKeyDictionary()


def freeze(
    codec: VideoCodec, precision: str | None = None, compiler: str | None = None
) -> VideoCodec:
    """A copy of `codec` that codes streams: fixed, in evaluation mode, channels last.

    Whole-number weights are rounded and their sums checked; convolutions of the other networks are
    converted, those of the intra coder excepted: its frames are few, and their errors stay. The
    copy is kept until the weights change.

    Args:
        codec: on any device; a frozen one is returned as it is, where it was frozen to `precision`
            or that is `auto`.
        precision: of `PRECISIONS`, or `auto`: what is fastest on the codec's device; None: the
            codec's own.
        compiler: a backend of `torch.compile` that fuses the networks, `inductor` for example;
            exact networks are left alone. It takes half a minute at the first frame of a size, and
            pictures differ as those of another device do. On two CPU cores it gained nothing
            (docs/results.md).

    Raises:
        CodecError: sums of an exact layer could outgrow exact arithmetic (the layer is named), an
            unknown precision, or a codec frozen to another one.
    """
    precision = check_precision(precision or codec.precision)
    if codec.frozen:
        if precision not in (AUTO, codec.frozen.precision):
            raise CodecError(
                f"codec: frozen to {codec.frozen.precision}, {precision} wanted; freeze the codec "
                "that it came from"
            )
        return codec
    device = next(codec.parameters()).device
    wanted = FrozenAs(model_hash(codec), resolve_precision(precision, device))
    kept = _COPIES.get(codec)
    if kept is None or (kept.made_for, kept.device, kept.compiler) != (wanted, device, compiler):
        kept = _Kept(wanted, device, compiler, _frozen_copy(codec, wanted, device, compiler))
        _COPIES[codec] = kept
    return kept.codec


def _frozen_copy(
    codec: VideoCodec, wanted: FrozenAs, device: torch.device, compiler: str | None
) -> VideoCodec:
    frozen = (
        copy.deepcopy(codec).eval().requires_grad_(False).cpu()
    )  # the CPU rounds weights, whatever the device
    freeze_exact(frozen)
    frozen.to(device).to(memory_format=torch.channels_last)
    for name, module in frozen.named_modules():
        if isinstance(module, Network):
            if PRECISIONS[wanted.precision] != torch.float32 and not name.startswith("intra."):
                module.freeze(PRECISIONS[wanted.precision])
            if compiler:
                module.compile_for(compiler)
    frozen.frozen = wanted
    return frozen
