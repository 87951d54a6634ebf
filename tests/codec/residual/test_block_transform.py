from pathlib import Path

import numpy as np
import pytest
import torch
from fake_cuda import fake_cuda
from small_codec import FPS, build, moving_clip, small_config, write_payloads
from torch import Tensor

from codec.blocks.intra_blocks import BlockPriceTables, to_pixels
from codec.blocks.tables import CHANNELS, CHROMA_CLASSES, MODES, UNIT, step_table
from codec.blocks.units import (
    INTRA_16,
    TYPES,
    UNCODED,
    PredictedUnits,
    rebuild_predicted,
    rebuild_predicted_by_tensors,
    search_predicted,
    split_of,
)
from codec.checkpoint import build_codec, model_hash
from codec.entropy.coding.prices import update_prices
from codec.entropy.coding.symbol_coder import RateEstimator, SymbolDecoder, SymbolEncoder
from codec.entropy.models.intra_modes import UnitTypeEntropy, unit_context
from codec.errors import CodecError
from codec.freeze import freeze
from codec.references import Context, Reference
from codec.stream import compress, decompress, frames_sha256, read_stream
from codec.video import VideoCodec

OVERRIDES = "intra=directional", "residual=block_transform", "entropy=levels"
STEPS = torch.from_numpy(np.stack([step_table(100, 6, 64), step_table(50, 3, 64)], 1))
QUALITY = torch.tensor([5, 50])


@pytest.fixture(scope="module")
def blocks() -> VideoCodec:
    """A small codec of blocks alone."""
    return build(*OVERRIDES)


def random_maps(batch: int, tall: int, wide: int) -> Tensor:
    """Types, modes of intra units, classes of chroma, as `UnitTypeEntropy` codes them."""
    torch.manual_seed(batch + tall * wide)
    types = torch.randint(0, TYPES, (batch, 1, tall, wide))
    modes = torch.randint(0, MODES, (batch, 4, tall, wide))
    modes = torch.where(split_of(types), modes, modes[:, :1])
    kinds = torch.randint(0, CHROMA_CLASSES, types.shape)
    return torch.cat([types, torch.where(types >= INTRA_16, torch.cat([modes, kinds], 1), 0)], 1)


def random_planes(batch: int, tall: int, wide: int) -> tuple[Tensor, Tensor]:
    """A prediction, 10-bit."""
    luma = torch.randint(0, 1024, (batch, tall * UNIT, wide * UNIT), dtype=torch.int32)
    chroma = torch.randint(0, 1024, (batch, 2, tall * 8, wide * 8), dtype=torch.int32)
    return luma, chroma


@pytest.mark.parametrize("height, width", [(80, 112), (33, 49), (17, 130), (16, 16)])
def test_files_hold_what_the_encoder_saw(
    blocks: VideoCodec, tmp_path: Path, height: int, width: int
):
    """Catches symbols or pixels that both sides see differently, and wrong estimates."""
    clip, file = moving_clip(4, height, width), tmp_path / "a.cvd"
    for quality in (0, 35, 63):
        written = compress(blocks, clip, FPS, quality, file)
        assert frames_sha256(decompress(file, blocks).frames) == written.reconstruction_sha256
        with torch.inference_mode():
            given = clip[None].float() / 255, torch.tensor([quality])
            estimated = float(freeze(blocks)(*given, hard=True).total_bits.sum()) / 8
        assert abs(written.bytes - estimated) <= 0.01 * estimated + 64 + 12 * len(clip)


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 1, 5), (1, 5, 1), (2, 4, 6)])
@pytest.mark.parametrize("largest", [40, 100000])
def test_tensors_rebuild_what_the_kernel_rebuilds(size: tuple[int, int, int], largest: int):
    """Catches a unit, a neighbour or an overflow that two devices see differently."""
    maps, predicted = random_maps(*size), random_planes(*size)
    levels = torch.randint(-largest, largest, (size[0], CHANNELS, *size[1:]))
    levels = levels * (torch.rand(levels.shape) < 0.1) * (maps[:, :1] != UNCODED)
    units, steps = PredictedUnits(levels=levels, maps=maps), STEPS[QUALITY][: size[0]]
    made = (
        rebuild_predicted(units, predicted, steps),
        rebuild_predicted_by_tensors(units, predicted, steps),
    )
    for kernel, tensors in zip(*made, strict=True):
        assert kernel.dtype == tensors.dtype == torch.int32
        assert torch.equal(kernel, tensors)
        assert kernel.min() >= 0 and kernel.max() <= 1023


def searched(source: tuple[Tensor, Tensor], predicted: tuple[Tensor, Tensor]):
    """Units, planes and bits of one frame at a middling quality."""
    quality = torch.tensor([35])
    tables = BlockPriceTables(torch.linspace(100, 6, 9), 0.5).search_prices(quality)
    return search_predicted(
        source,
        predicted,
        STEPS[quality],
        torch.tensor([[2000.0, 500.0]]),
        tables,
        tables.without_sizes(),
        torch.tensor([[0.5, 2.0, 2.0, 5.0, 5.0]]),
        (4, 4, 6),
    )


def test_decisions_follow_what_is_predicted():
    """Catches units that are coded where nothing is to be said, and occlusions that are coded as a
    residual over a wrong prediction.
    """
    clip = moving_clip(1, 96, 128).float() / 255 - 0.5
    smooth = torch.nn.functional.avg_pool2d(clip, 9, 1, 4)
    source = to_pixels(smooth)
    units, planes, _ = searched(source, source)
    assert (units.types == UNCODED).all() and not units.levels.any()
    assert all(torch.equal(plane, own) for plane, own in zip(planes, source, strict=True))

    torch.manual_seed(0)
    predicted = [plane.clone() for plane in source]
    predicted[0][:, :, 48:80] = torch.randint(0, 1024, (1, 96, 32), dtype=torch.int32)
    units, planes, spent = searched(source, tuple(predicted))
    types = units.types[0, 0]
    assert (types[:, 3:5] >= INTRA_16).all() and (types[:, :3] == UNCODED).all()
    rebuilt = rebuild_predicted(units, tuple(predicted), STEPS[torch.tensor([35])])
    assert all(torch.equal(plane, own) for plane, own in zip(planes, rebuilt, strict=True))
    assert (spent >= 0).all() and not spent[0, :, :3, 0].any() and spent[0, :, 3:5, 0].all()


@pytest.mark.parametrize(
    "option, types",
    [("sizes=[16]", {0, 1, 3, 4}), ("sizes=[8]", {0, 2, 3, 4}), ("intra_units=false", {0, 1, 2})],
)
def test_single_tools_can_be_taken_away(option: str, types: set[int]):
    """Catches an ablation that measures the whole."""
    codec, seen = build(*OVERRIDES, f"residual.{option}"), set()
    clip = moving_clip(3, 64, 96).float() / 255
    clip[2] = clip[2].roll((20, 30), (1, 2))
    code = codec.residual.modes.code

    def listening(*given, **more):
        made = code(*given, **more)
        seen.update(made[:, 0].unique().int().tolist())
        return made

    codec.residual.modes.code = listening
    with torch.no_grad():
        codec(clip[None], torch.tensor([50]), hard=True)
    assert seen <= types and len(seen) > 1


def test_other_sizes_are_refused():
    """Catches a size that is ignored."""
    with pytest.raises(CodecError, match=r"residual.sizes: \[4\] given; expected \[16, 8\]"):
        build_codec(small_config(*OVERRIDES, "residual.sizes=[4]"))


def test_threads_decide_alike():
    """Catches rows that begin before what they are predicted from is there."""
    torch.manual_seed(1)
    source = to_pixels(moving_clip(1, 128, 160).float() / 255 - 0.5)
    predicted = tuple(
        (plane + torch.randint_like(plane, -90, 90)).clamp(0, 1023) for plane in source
    )
    found, count = [], torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            units, planes, _ = searched(source, predicted)
            found.append([units.maps, units.levels, *planes])
    finally:
        torch.set_num_threads(count)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 1), (5, 6)])
@pytest.mark.parametrize("intra", [False, True])
def test_types_are_read_as_written(size: tuple[int, int], intra: bool):
    """Catches a pass that sees what its reader does not have yet."""
    torch.manual_seed(0)
    coder = UnitTypeEntropy(6, width=16).eval()
    with torch.no_grad():
        for parameter in coder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    maps = random_maps(1, *size)
    if not intra:
        maps = torch.cat([maps[:, :1].clamp(max=INTRA_16 - 1), torch.zeros_like(maps[:, 1:])], 1)
    previous = torch.randint(-1, 2, (1, CHANNELS, *size)) * (torch.rand(1, 1, *size) > 0.5)
    cells = torch.randint(0, 4, (1, 1, 2 * size[0], 2 * size[1]))
    context = unit_context(previous, cells, cells > 1, size, 1, torch.device("cpu"))
    given = {"size": size, "quality": torch.tensor([20]), "context": context}
    writer, estimate = SymbolEncoder(), RateEstimator(hard=True)
    with torch.no_grad():
        coder.code("residual", maps, coder=writer, **given)
        reader = SymbolDecoder(writer.finish_frame())
        read = coder.code("residual", None, coder=reader, **given)
        reader.finish_frame()
        estimated = coder.code("residual", maps, coder=estimate, **given)
    assert torch.equal(read, maps.float()) and torch.equal(estimated, maps.float())
    assert ("residual.mode" in estimate.bits) == bool((maps[:, 0] >= INTRA_16).any())


def test_gradients_reach_networks_and_not_decisions():
    """Catches a network that is cut off."""
    codec = build(*OVERRIDES).train()
    clip = moving_clip(3, 64, 96).float() / 255
    clip[2] = clip[2].roll((20, 30), (1, 2))  # what no reference shows: intra units
    coded = codec(clip[None], torch.tensor([30]))
    (coded.bpp.sum() + coded.frames.square().sum()).backward()
    assert not [name for name, parameter in codec.named_parameters() if parameter.grad is None]


def test_prices_follow_what_was_coded():
    """Catches tables that training does not reach, and prices that decide what a decoder does."""
    codec = build(*OVERRIDES).train()
    prices, hashed = codec.residual.prices, model_hash(codec)
    before = {name: table.clone() for name, table in prices.named_buffers()}
    for _ in range(2):
        codec(moving_clip(3, 128, 128)[None].float() / 255, torch.tensor([31]))
    update_prices(codec)
    for name in ("inter.unit", "inter.cell", "inter.chroma", "types.kind"):
        table = dict(prices.named_buffers())[name]
        moved = ~torch.isclose(table, before[name]).flatten(1).all(1)
        assert moved[4] and not moved[0] and not moved[8], (
            name
        )  # quality 31 lies at the middle knot
    assert model_hash(codec) == hashed


def test_damaged_payloads_end_in_frames_or_one_error(blocks: VideoCodec, tmp_path: Path):
    """Catches symbols beyond their range that reach a kernel, and reading on where nothing is."""
    file = tmp_path / "a.cvd"
    compress(blocks, moving_clip(2, 48, 64), FPS, 40, file)
    header, (first, second) = read_stream(file)
    generator, noticed = torch.Generator().manual_seed(0), 0
    for trial in range(30):
        victim = bytearray(second.payload)
        place = int(torch.randint(len(victim), (1,), generator=generator))
        if trial % 3 == 0:
            victim[place] ^= 1 << trial % 8
        elif trial % 3 == 1:
            del victim[place:]
        else:
            victim[:] = bytes(torch.randint(256, (len(victim),), generator=generator).tolist())
        write_payloads(file, header, [first.payload, bytes(victim)], 40)
        try:
            assert decompress(file, blocks).frames.shape == (2, 3, 48, 64)
        except CodecError:
            noticed += 1
    assert noticed > 15


def test_it_runs_where_the_codec_is():
    """Catches tensors on the wrong device, and kernels that are given a GPU's tensors."""
    with fake_cuda():
        codec = build_codec(small_config(*OVERRIDES)).eval()
        maps = torch.zeros(2, 6, 3, 4, dtype=torch.int64)
        units = PredictedUnits(levels=torch.zeros(2, CHANNELS, 3, 4), maps=maps)
        predicted = tuple(
            plane.int() for plane in (torch.zeros(2, 48, 64), torch.zeros(2, 2, 24, 32))
        )
        planes = rebuild_predicted(units, predicted, codec.residual.steps[torch.zeros(2).long()])
        codec.residual.search = lambda *given: (units, planes)
        frame, features = torch.zeros(2, 3, 48, 64), torch.zeros(2, codec.residual.features, 6, 8)
        cells = torch.zeros(2, 1, 6, 8)
        context = Context(
            prediction=frame,
            features=features,
            warped=frame,
            motion_mask=cells,
            blocks=cells.long(),
        )
        newest = Reference(frame=frame, features=features, latent=units.levels)
        symbol_coder = RateEstimator(hard=True)
        quality = torch.zeros(2, dtype=torch.int64)
        made = codec.residual.code(frame, context, newest, quality, symbol_coder, codec.entropy)
        assert {values.device.type for values in (*made, *planes)} == {"cuda"}
        assert made[1].shape == frame.shape and planes[1].shape == (2, 2, 24, 32)


@pytest.mark.parametrize("entropy", ["checkerboard", "hyperprior"])
def test_it_needs_its_own_entropy_network(entropy: str):
    """Catches a configuration that fails in the middle of a step."""
    with pytest.raises(CodecError, match="needs LevelEntropy with prior.*entropy=levels"):
        build_codec(small_config("residual=block_transform", f"entropy={entropy}"))


@pytest.mark.parametrize("field", ["prior=false", "known=18"])
def test_its_entropy_network_knows_what_it_is_told(field: str):
    """Catches a network that leaves out what both sides know, without a word."""
    with pytest.raises(CodecError, match="needs LevelEntropy with prior and known=19"):
        build_codec(small_config(*OVERRIDES, f"entropy.{field}"))


def test_its_entropy_network_is_for_nothing_else():
    """Catches a network that is asked without what it needs to know."""
    with pytest.raises(CodecError, match="blocks of block_transform alone.*entropy=checkerboard"):
        build_codec(small_config("entropy=levels"))
