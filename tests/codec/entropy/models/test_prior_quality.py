from pathlib import Path

import pytest
import torch
from small_codec import FPS, build, moving_clip, small_config
from torch._subclasses.fake_tensor import FakeTensorMode

from codec.checkpoint import build_codec, model_hash, save_checkpoint
from codec.entropy.coding.symbol_coder import RateEstimator, SymbolDecoder, SymbolEncoder
from codec.entropy.models.checkerboard import CheckerboardEntropy, PriorQuality
from codec.freeze import freeze
from codec.stream import compress, decompress
from codec.training.checkpointing import init_from

QUALITY, SIZE = torch.tensor([20]), (5, 7)
SEES = ["entropy=checkerboard", "entropy.prior_quality=true"]
OFFSETS = "quality_offsets={intra:9,predicted:[-12,-6,5]}"


def shaken(channels: int, **kwargs: bool) -> CheckerboardEntropy:
    """A small network in which every path matters, but for what the quality of the prior does."""
    torch.manual_seed(0)
    made = CheckerboardEntropy(channels, hyper=4, width=48, **kwargs)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if not parameter.any() and not name.startswith("prior_quality"):
                parameter.normal_(std=0.1)
    return made.eval()


@torch.inference_mode()
@pytest.mark.parametrize("channels", [6, 66])
def test_untrained_it_codes_the_same_symbols_in_the_same_bits(channels: int):
    """Catches weights of earlier runs that no longer mean what they were trained for."""
    without, sees = shaken(channels), shaken(channels, prior_quality=True)
    new = set(sees.state_dict()) - set(without.state_dict())
    assert new == {"prior_quality.table.moved", "prior_quality.table.start"}
    sees.load_state_dict(without.state_dict(), strict=False)
    latent, previous = torch.randn(1, channels, *SIZE) * 4, torch.randn(1, channels, *SIZE).round()
    found = []
    for coder, other in ((without, None), (sees, None), (sees, QUALITY + 30)):
        writer = SymbolEncoder()
        sent = coder.code("a", latent, SIZE, QUALITY, writer, previous, other)
        found.append((writer.finish_frame(), sent))
    assert all(payload == found[0][0] and torch.equal(sent, found[0][1]) for payload, sent in found)


@torch.inference_mode()
def test_both_sides_see_the_quality_of_the_prior():
    """Catches a table that one side looks up elsewhere, or that counts without a prior."""
    coder = shaken(66, prior_quality=True)
    with torch.no_grad():
        coder.prior_quality.table.moved.normal_(std=0.1)
    latent, previous = torch.randn(1, 66, *SIZE) * 4, torch.randn(1, 66, *SIZE).mul(3).round()
    bits = {}
    for other in (0, 19, 20, 21, 63):
        writer, estimate, prior = SymbolEncoder(), RateEstimator(hard=True), torch.tensor([other])
        sent = coder.code("a", latent, SIZE, QUALITY, writer, previous, prior)
        payload = writer.finish_frame()
        received = coder.code("a", None, SIZE, QUALITY, SymbolDecoder(payload), previous, prior)
        assert torch.equal(received, sent)
        assert torch.equal(coder.code("a", latent, SIZE, QUALITY, estimate, previous, prior), sent)
        bits[other] = float(sum(estimate.take_bits().values()))
        assert abs(bits[other] - 8 * len(payload)) < 96
    assert len(set(bits.values())) == len(bits)
    alone = [RateEstimator(hard=True) for _ in range(2)]
    for symbol_coder, prior in zip(alone, (None, torch.tensor([63])), strict=True):
        coder.code("a", latent, SIZE, QUALITY, symbol_coder, None, prior)
    assert torch.equal(alone[0].take_bits()["a"], alone[1].take_bits()["a"])


def test_differences_are_whole_rows_and_bounded():
    """Catches a table read beyond its ends, and a difference taken the wrong way round."""
    coder = shaken(66, prior_quality=True).prior_quality
    with torch.no_grad():
        coder.table.moved.copy_(torch.arange(9.0)[:, None].expand(9, 48) / 4)
    ours = torch.tensor([63, 40, 30, 30, 30, 0])
    prior = torch.tensor([0, 9, 29, 30, 31, 63])
    moved = coder(ours, prior)[:, 0, 0, 0]
    assert torch.equal(moved, moved.round()) and moved.tolist() == sorted(moved.tolist())
    assert moved[0] == moved[1] == 0 and len(set(moved.tolist())) == 5
    assert not coder(ours, None).any()


@torch.inference_mode()
def test_a_codec_passes_the_newest_references_quality(tmp_path: Path):
    """Catches the quality of the clip, of an older reference or of this frame in its place."""
    codec, seen = build(*SEES, OFFSETS, "codec.precision=fp32"), []
    clip = moving_clip(5, 48, 64)
    frozen = freeze(codec)
    frozen.entropy.prior_quality.register_forward_pre_hook(lambda module, given: seen.append(given))
    written = compress(frozen, clip, FPS, 30, tmp_path / "a.cvd")
    said = [(int(ours), prior if prior is None else int(prior)) for ours, prior in seen]
    assert said == [(18, None), (24, 18), (35, 24), (18, 35)]
    read = decompress(tmp_path / "a.cvd", codec)
    assert read.identical
    coded = frozen(clip[None].float() / 255, torch.tensor([30]), hard=True)
    assert abs(float(coded.total_bits.sum()) / 8 - sum(written.frame_bytes)) < 60


def test_it_is_trained_with_and_without_a_prior():
    """Catches a table without a gradient, for which several processes would wait for ever."""
    codec = build(*SEES, OFFSETS).train()
    frames = moving_clip(3, 48, 64)[None].float() / 255
    for length in (2, 3):
        codec.zero_grad()
        codec(frames[:, :length], torch.tensor([30])).total_bits.sum().backward()
        gradient = codec.entropy.prior_quality.table.moved.grad
        assert gradient is not None and bool(gradient.any()) == (length == 3)


def test_configs_without_the_field_keep_their_networks_and_weights(tmp_path: Path):
    """Catches old checkpoints that get another network, and runs that cannot begin with theirs."""
    config = small_config("entropy=checkerboard")
    assert config["entropy"].pop("prior_quality") is None
    torch.manual_seed(0)
    old = build_codec(config)
    assert not [name for name in old.state_dict() if "prior_quality" in name]
    assert "prior_quality" not in old.config["entropy"]
    save_checkpoint(tmp_path / "old.ckpt", old)
    new = build(*SEES)
    said = init_from(new, str(tmp_path / "old.ckpt"))
    assert "not there, left as they are: entropy.prior_quality" in said and "not used" not in said
    assert model_hash(new) != model_hash(old)


def test_no_device_is_waited_for():
    """Catches tensors on the wrong device, and questions to a GPU in the middle of a frame."""
    with FakeTensorMode(), torch.device("cuda"):
        made, quality = PriorQuality(48).eval(), torch.zeros(1, dtype=torch.int64)
        for previous in (quality, None):
            assert made(quality, previous).device.type == "cuda"
