"""Compiling the networks of a codec that trains."""

from codec.entropy.network import EntropyNetwork
from codec.errors import CodecError
from codec.layers.blocks import Network
from codec.video import VideoCodec


def compile_networks(codec: VideoCodec, backend: str = "inductor") -> list[str]:
    """Let `torch.compile` fuse the networks between two transmissions, in place; names in the state
    dict stay.

    Entropy networks are left alone: exact ones must not be fused, and the others are small. The
    first steps of every size take a minute more. Results differ in the last bits from those of a
    run without it, and after a resume from those of a run that went on, as code is compiled anew.

    Args:
        codec: whose `Network`s are compiled.
        backend: of `torch.compile`.

    Returns:
        The names of the networks.

    Raises:
        CodecError: the codec has none.
    """
    within = {
        inner
        for network in codec.modules()
        if isinstance(network, EntropyNetwork)
        for inner in network.modules()
    }
    found = {
        name: part
        for name, part in codec.named_modules()
        if isinstance(part, Network) and part not in within
    }
    if not found:
        raise CodecError(
            "training.compile=true: no part of this codec is a codec.layers.blocks.Network; use "
            "training.compile=false"
        )
    for part in found.values():
        part.compile_for(backend)
    return list(found)
