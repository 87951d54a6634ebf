from pathlib import Path

import pytest
import torch
from small_codec import FPS, build, moving_clip
from torch import nn

from codec.checkpoint import load_codec, model_hash, save_checkpoint
from codec.entropy.coding.symbol_coder import SymbolDecoder, SymbolEncoder
from codec.entropy.models.integer_layers import IntegerConv
from codec.errors import CodecError
from codec.freeze import freeze
from codec.layers.blocks import Network
from codec.stream import compress, decompress, read_stream
from codec.video import VideoCodec


def precision_of(codec: VideoCodec, part: str) -> set[torch.dtype]:
    """Of the convolutions of all networks under `part`."""
    networks = [
        m for name, m in codec.named_modules() if isinstance(m, Network) and name.startswith(part)
    ]
    return {
        c.weight.dtype
        for network in networks
        for c in network.modules()
        if isinstance(c, torch.nn.Conv2d)
    }


def test_a_frozen_codec_is_a_copy_of_another_precision(codec: VideoCodec):
    """Catches a codec that can no longer be trained after it coded a stream, and half precision
    where it does harm.
    """
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    frozen = freeze(codec, "bf16")
    assert (
        frozen is not codec
        and frozen is freeze(codec, "bf16")
        and freeze(frozen) is freeze(frozen, "bf16") is frozen
    )
    assert precision_of(frozen, "residual") == precision_of(frozen, "motion") == {torch.bfloat16}
    assert (
        precision_of(frozen, "intra")
        == precision_of(freeze(codec, "fp32"), "residual")
        == {torch.float32}
    )
    assert model_hash(frozen) == model_hash(codec) and not any(
        p.requires_grad for p in frozen.parameters()
    )
    assert all(torch.equal(value, before[name]) for name, value in codec.state_dict().items())
    with pytest.raises(CodecError, match="frozen to bf16, fp32 wanted"):
        freeze(frozen, "fp32")


def test_a_kept_copy_follows_the_weights():
    """Catches streams coded with the weights from before a training step."""
    codec = build()
    first = freeze(codec)
    with torch.no_grad():
        codec.entropy.base.moved.add_(0.01)
    assert freeze(codec) is not first and model_hash(freeze(codec)) == model_hash(codec)


def test_a_stream_is_decoded_in_the_precision_it_names(tmp_path: Path):
    """Catches a decoder with its own precision: its pictures drift away from the encoder's."""
    clip = moving_clip(3, 48, 64)
    for precision in ("fp32", "bf16"):
        codec = build(f"codec.precision={precision}")
        written = compress(codec, clip, FPS, 40, tmp_path / "a.cvd")
        assert read_stream(tmp_path / "a.cvd")[0].precision == precision
        save_checkpoint(tmp_path / "a.ckpt", codec)
        reader = load_codec(tmp_path / "a.ckpt")
        reader.precision = "fp16"
        decoded = decompress(tmp_path / "a.cvd", reader)
        assert decoded.identical and decoded.header.exact and written.bytes


@pytest.mark.parametrize("has_bf16, wanted", [(True, "bf16"), (False, "fp32")])
def test_auto_is_what_the_machine_is_fast_in(
    has_bf16: bool, wanted: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Catches bfloat16 that a processor emulates, ten times slower, and a stream of another codec
    for another machine.
    """
    monkeypatch.setattr("codec.precision.multiplies_bf16", lambda device: has_bf16)
    codec = build()
    assert codec.precision == "auto" and freeze(codec).frozen.precision == wanted
    assert (
        freeze(freeze(codec)) is freeze(codec)
        and freeze(freeze(codec, "fp32")).frozen.precision == "fp32"
    )
    written = compress(codec, moving_clip(2, 48, 64), FPS, 40, tmp_path / "a.cvd")
    header = read_stream(tmp_path / "a.cvd")[0]
    assert written.precision == header.precision == wanted and header.model == model_hash(build())


def test_checkpoints_keep_their_name():
    """Catches a default that finds its way into configs of old checkpoints: their streams would no
    longer find them.
    """
    published = load_codec(
        Path(__file__).parents[2] / "docs" / "results" / "corvid_s" / "corvid_s_fixed_blocks.ckpt"
    )
    assert (published.precision, model_hash(published)) == (
        "bf16",
        "8124244a1655dd14",
    )  # as at commit 08e358f


def test_another_precision_reads_the_same_symbols(tmp_path: Path):
    """Catches a decoder that follows the header though told otherwise, frames passed off as the
    encoder's, symbols that depend on the arithmetic of pictures.
    """
    codec, clip = build(), moving_clip(4, 48, 64)
    compress(codec, clip, FPS, 40, tmp_path / "a.cvd", precision="bf16")
    own, other = (
        decompress(tmp_path / "a.cvd", codec, precision=precision)
        for precision in ("stream", "fp32")
    )
    assert (own.identical, own.precision) == (True, "bf16") and (
        other.identical,
        other.precision,
    ) == (False, "fp32")
    apart = (own.frames.int() - other.frames.int()).abs().float()
    assert 0 < apart.mean() < 0.2 and not apart[0].any(), "intra frames are float32 in both"


def test_a_long_chain_is_decoded_in_the_streams_precision_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches rounding that adds up over hundreds of frames, and a limit where the arithmetic is
    the same or chains are short.
    """
    monkeypatch.setattr("codec.stream.coding.MOST_DRIFT", 2)
    codec, clip = build(), moving_clip(3, 48, 64)
    compress(codec, clip, FPS, 40, tmp_path / "long.cvd", precision="fp32")
    compress(codec, clip, FPS, 40, tmp_path / "short.cvd", intra_period=2, precision="fp32")
    with pytest.raises(
        CodecError,
        match="long.cvd: precision=bf16: 3 frames .* precision=stream, .* an intra period of 2",
    ):
        decompress(tmp_path / "long.cvd", codec, precision="bf16")
    assert decompress(tmp_path / "long.cvd", codec, precision="fp32").identical
    assert decompress(tmp_path / "short.cvd", codec, precision="bf16").precision == "bf16"


def test_floating_symbols_are_read_in_the_streams_precision_alone(tmp_path: Path):
    """Catches noise for pictures, or a checksum's error after all the work, where symbols follow
    from floats.
    """
    codec = build("entropy=factorized")
    compress(codec, moving_clip(2, 48, 64), FPS, 40, tmp_path / "a.cvd", precision="fp32")
    assert decompress(tmp_path / "a.cvd", codec).identical
    for precision in ("auto", "fp32", "bf16"):
        with pytest.raises(
            CodecError,
            match=f"a.cvd: precision={precision}: this codec's symbols .* precision=stream",
        ):
            decompress(tmp_path / "a.cvd", codec, precision=precision)


def test_an_exact_stream_decodes_with_any_threads_to_nearly_the_same(tmp_path: Path):
    """Catches symbols that depend on how sums of the picture networks round."""
    codec, clip, threads = build(), moving_clip(4, 96, 80), torch.get_num_threads()
    written = compress(codec, clip, FPS, 30, tmp_path / "a.cvd")
    first = decompress(tmp_path / "a.cvd", codec)
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        with torch.backends.mkldnn.flags(enabled=False):
            second = decompress(tmp_path / "a.cvd", codec)
    finally:
        torch.set_num_threads(threads)
    assert first.identical and written.bytes
    assert (first.frames.int() - second.frames.int()).abs().float().mean() < 0.1


@torch.inference_mode()
def test_compiled_networks_read_the_same_symbols():
    """Catches networks that cannot be traced, and a compiled copy that takes the other
    one's place.
    """
    codec, size, quality = build(), (48, 64), torch.tensor([40])
    first, second = moving_clip(2, *size)[:, None].float() / 255
    compiled, plain = freeze(codec, "fp32", compiler="aot_eager"), freeze(codec, "fp32")
    assert plain is not compiled
    writer = SymbolEncoder()
    start = plain.code_frame(first, None, size, quality, SymbolEncoder()).references
    state = plain.code_frame(second, start, size, quality, writer)
    reader = SymbolDecoder(writer.finish_frame())
    decoded = compiled.code_frame(None, start, size, quality, reader)
    reader.finish_frame()
    ours, theirs = state.reference, decoded.reference
    assert torch.equal(theirs.latent, ours.latent) and torch.equal(theirs.motion, ours.motion)
    torch.testing.assert_close(theirs.frame, ours.frame, atol=1e-4, rtol=0)


def test_a_frozen_codec_is_not_saved(tmp_path: Path, codec: VideoCodec):
    """Catches rounded weights under another hash: they would not decode their own streams."""
    with pytest.raises(CodecError, match="frozen to bf16; save the one"):
        save_checkpoint(tmp_path / "a.ckpt", freeze(codec, "bf16"))


def test_all_layers_of_a_network_are_converted_but_exact_ones():
    """Catches a transposed or linear layer that fails when a stream is coded, and exact layers that
    become bfloat16.
    """
    network = Network()
    network.kinds = nn.ModuleList(
        [nn.Conv2d(2, 2, 1), nn.ConvTranspose2d(2, 2, 2), nn.Linear(2, 2), IntegerConv(2, 2)]
    )
    network.freeze(torch.bfloat16)
    assert [layer.weight.dtype for layer in network.kinds] == [torch.bfloat16] * 3 + [torch.float32]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_other_devices_read_the_same_symbols(tmp_path: Path):
    """Catches exact arithmetic that a device computes otherwise."""
    codec, clip = build(), moving_clip(3, 96, 80)
    compress(codec, clip, FPS, 40, tmp_path / "cpu.cvd")
    here = decompress(tmp_path / "cpu.cvd", codec)
    codec.cuda()
    there = decompress(tmp_path / "cpu.cvd", codec)
    compress(codec, clip, FPS, 40, tmp_path / "cuda.cvd")
    assert decompress(tmp_path / "cuda.cvd", codec.cpu()).frames.shape == clip.shape
    assert (here.frames.int() - there.frames.int()).abs().float().mean() < 0.1


def test_unknown_precision_is_refused():
    """Catches a misspelt precision that would be taken for float32."""
    with pytest.raises(
        CodecError, match="codec.precision: 'int8' given; choose from auto, fp32, bf16, fp16"
    ):
        build("codec.precision=int8")
