from pathlib import Path

import pytest
import torch
from fake_cuda import fake_cuda
from small_codec import FPS, build, moving_clip, small_config, write_payloads

from codec.blocks import tables
from codec.blocks.intra_blocks import IntraBlocks, to_frame
from codec.blocks.rebuild import rebuild
from codec.blocks.tables import CHANNELS, CHROMA_CLASSES
from codec.checkpoint import build_codec, model_hash
from codec.entropy.coding.prices import update_prices
from codec.entropy.coding.symbol_coder import RateEstimator, SymbolDecoder, SymbolEncoder
from codec.entropy.models.intra_modes import MODES
from codec.errors import CodecError
from codec.freeze import freeze
from codec.layers.frames import COLOURS
from codec.stream import compress, decompress, frames_sha256, read_stream
from codec.video import VideoCodec


@pytest.fixture(scope="module")
def directional() -> VideoCodec:
    """A small codec whose intra frames are directional."""
    return build("intra=directional")


@pytest.mark.parametrize("height, width", [(80, 112), (33, 49), (17, 130), (16, 16)])
def test_files_hold_what_the_encoder_saw(
    directional: VideoCodec, tmp_path: Path, height: int, width: int
):
    """Catches pixels or symbols that both sides see differently, at odd and at the smallest sizes,
    and wrong estimates.
    """
    clip, file = moving_clip(2, height, width), tmp_path / "a.cvd"
    for quality in (0, 35, 63):
        written = compress(directional, clip, FPS, quality, file, intra_period=1)
        assert frames_sha256(decompress(file, directional).frames) == written.reconstruction_sha256
        with torch.inference_mode():
            given = clip[None].float() / 255, torch.tensor([quality])
            coded = freeze(directional)(*given, hard=True, intra_period=1)
        estimated = float(coded.total_bits.sum()) / 8
        assert abs(written.bytes - estimated) <= 0.01 * estimated + 64 + 12 * len(clip)
        estimate = (coded.frames[0].clamp(0, 1) * 255).round().to(torch.uint8)
        assert frames_sha256(estimate) == written.reconstruction_sha256


def test_untrained_it_works():
    """Catches a filter that does not start at zero, and steps that do not follow the quality."""
    codec = build_codec(small_config("intra=directional")).eval()
    frame = COLOURS["ycc"].from_rgb(moving_clip(1, 64, 96).float() / 255)
    errors, rates = [], []
    for quality in (0, 20, 40, 63):
        symbol_coder, index = RateEstimator(hard=True), torch.tensor([quality])
        with torch.no_grad():
            made = codec.intra(frame, (64, 96), index, symbol_coder).frame
            blocks, planes = codec.intra.search(frame, index)
        torch.testing.assert_close(made, to_frame(*planes))
        for seen, again in zip(planes, rebuild(blocks, codec.intra.steps[index]), strict=True):
            assert torch.equal(seen, again)
        errors.append(float((made - frame).square().mean()))
        rates.append(float(sum(symbol_coder.bits.values())))
    assert errors == sorted(errors, reverse=True) and rates == sorted(rates)


def test_gradients_reach_networks_and_not_decisions():
    """Catches a network that is cut off, and a frame that gradients are asked of."""
    codec = build("intra=directional").train()
    frame = COLOURS["ycc"].from_rgb(moving_clip(1, 64, 96).float() / 255)
    symbol_coder = RateEstimator()
    made = codec.intra(frame, (64, 96), torch.tensor([30]), symbol_coder)
    loss = (
        sum(bits.sum() for bits in symbol_coder.bits.values())
        + made.frame.square().sum()
        + made.features.square().sum()
    )
    loss.backward()
    assert not [
        name for name, parameter in codec.intra.named_parameters() if parameter.grad is None
    ]


def test_prices_follow_what_was_coded():
    """Catches tables that training does not reach, and prices that decide what a decoder does."""
    codec = build("intra=directional").train()
    before, hashed = (
        {name: table.clone() for name, table in codec.intra.prices.named_buffers()},
        model_hash(codec),
    )
    frame = COLOURS["ycc"].from_rgb(moving_clip(1, 128, 128).float() / 255)
    for _ in range(3):
        codec.intra(frame, (128, 128), torch.tensor([31]), RateEstimator())
    update_prices(codec)
    for name in codec.intra.prices.tables:
        moved = ~torch.isclose(getattr(codec.intra.prices, name), before[name]).flatten(1).all(1)
        assert moved[4] and not moved[0] and not moved[8], (
            name
        )  # quality 31 lies at the knot in the middle
    assert model_hash(codec) == hashed


def test_damaged_payloads_end_in_frames_or_one_error(directional: VideoCodec, tmp_path: Path):
    """Catches symbols beyond their range that reach a kernel, and reading on where nothing is."""
    file = tmp_path / "a.cvd"
    compress(directional, moving_clip(1, 48, 64), FPS, 40, file)
    header, (packet,) = read_stream(file)
    generator, noticed = torch.Generator().manual_seed(0), 0
    for trial in range(30):
        victim = bytearray(packet.payload)
        if trial % 3 == 0:
            victim[int(torch.randint(len(victim), (1,), generator=generator))] ^= 1 << trial % 8
        elif trial % 3 == 1:
            del victim[int(torch.randint(len(victim), (1,), generator=generator)) :]
        else:
            victim[:] = bytes(torch.randint(256, (len(victim),), generator=generator).tolist())
        write_payloads(file, header, [bytes(victim)], 40)
        try:
            assert decompress(file, directional).frames.shape == (1, 3, 48, 64)
        except CodecError:
            noticed += 1
    assert noticed > 15


def test_receiving_runs_where_the_codec_is():
    """Catches tensors on the wrong device, and kernels that are given a GPU's tensors."""
    with fake_cuda():
        codec = build_codec(small_config("intra=directional")).eval()
        blocks = IntraBlocks(
            levels=torch.zeros(2, CHANNELS, 3, 4),
            split=torch.zeros(2, 1, 3, 4, dtype=torch.int64),
            modes=torch.zeros(2, 1, 6, 8, dtype=torch.int64),
            kinds=torch.zeros(2, 1, 3, 4, dtype=torch.int64),
        )
        quality = torch.zeros(2, dtype=torch.int64)
        planes = rebuild(blocks, codec.intra.steps[quality])
        codec.intra.search = lambda frame, quality: (blocks, planes)
        symbol_coder = RateEstimator(hard=True)
        made = codec.intra(torch.zeros(2, 3, 48, 64), (48, 64), quality, symbol_coder)
        assert {made.frame.device.type, made.features.device.type, planes[0].device.type} == {
            "cuda"
        }
        assert made.frame.shape == (2, 3, 48, 64) and planes[1].shape == (2, 2, 24, 32)


def test_symbols_of_a_frame_come_before_its_pixels(directional: VideoCodec):
    """Catches a decoder that must rebuild blocks to know which symbols come next: all are read,
    then rebuilding begins.
    """
    frame = COLOURS["ycc"].from_rgb(moving_clip(1, 48, 64).float() / 255)
    writer, quality = SymbolEncoder(), torch.tensor([40])
    frozen = freeze(directional)
    with torch.inference_mode():
        sent = frozen.intra(frame, (48, 64), quality, writer)
        reader = SymbolDecoder(writer.finish_frame())
        read = frozen.intra(None, (48, 64), quality, reader)
        reader.finish_frame()
    assert torch.equal(sent.frame, read.frame) and torch.equal(sent.features, read.features)


@pytest.mark.parametrize(
    "override, sizes, modes, kinds",
    [
        ("intra.sizes=[16]", {0}, set(range(MODES)), set(range(CHROMA_CLASSES))),
        ("intra.sizes=[8]", {1}, set(range(MODES)), set(range(CHROMA_CLASSES))),
        ("intra.directions=false", {0, 1}, {0, 1}, {0, 1, 2, 3}),
    ],
)
def test_what_is_taken_away_is_not_chosen(
    override: str,
    sizes: set[int],
    modes: set[int],
    kinds: set[int],
    tmp_path: Path,
):
    """Catches an ablation that takes nothing away, or more than it says, and files that are not
    read.
    """
    codec, clip, file = (
        build("intra=directional", override),
        moving_clip(1, 80, 112),
        tmp_path / "a.cvd",
    )
    written = compress(codec, clip, FPS, 45, file)
    assert frames_sha256(decompress(file, codec).frames) == written.reconstruction_sha256
    frame, quality = COLOURS["ycc"].from_rgb(clip.float() / 255), torch.tensor([45])
    for thinking in (codec.eval(), codec.train()):
        blocks, _ = thinking.intra.search(frame[..., :96], quality)
        assert set(blocks.split.unique().tolist()) <= sizes
        assert set(blocks.modes.unique().tolist()) <= modes
        assert set(blocks.kinds.unique().tolist()) <= kinds
    whole = build("intra=directional").intra.search(frame[..., :96], quality)[0]
    assert len(whole.split.unique()) == 2 and len(whole.modes.unique()) > 4


def test_without_the_loop_filter_pixels_stay_and_features_do_not():
    """Catches a filter that corrects all the same, and one that gives nothing to predict from."""
    codec = build("intra=directional", "intra.loop_filter=false")
    frame, quality = (
        COLOURS["ycc"].from_rgb(moving_clip(1, 48, 64).float() / 255),
        torch.tensor([30]),
    )
    with torch.no_grad():
        made = codec.intra(frame, (48, 64), quality, RateEstimator(hard=True))
        _, planes = codec.intra.search(frame, quality)
    assert torch.equal(made.frame, to_frame(*planes)) and made.features.std() > 0


@pytest.mark.parametrize(
    "override, said",
    [
        ("intra.sizes=[4]", r"expected \[16, 8\], \[16\] or \[8\]"),
        ("intra.sizes=[]", r"expected \[16, 8\], \[16\] or \[8\]"),
        ("intra.entropy=null", "needs LevelEntropy of 384 channels"),
        ("intra.modes.kinds=3", f"expected {CHROMA_CLASSES}"),
        ("codec.colours=rgb", "networks are made for ycc"),
    ],
)
def test_networks_that_do_not_fit_are_refused(override: str, said: str):
    """Catches a codec that is built and fails in its first frame."""
    with pytest.raises(CodecError, match=said):
        build("intra=directional", override)


def test_modes_are_as_many_everywhere():
    """Catches an entropy network made for other modes than the kernels predict by."""
    assert MODES == tables.MODES
