from pathlib import Path

import pytest
import torch
from fake_cuda import fake_cuda
from small_codec import FPS, build, moving_clip, small_config
from torch import Tensor

from codec.checkpoint import build_codec, load_codec, save_checkpoint
from codec.entropy.coding.symbol_coder import RateEstimator, SymbolCoder, SymbolEncoder, SymbolModel
from codec.entropy.models.factorized import FactorizedEntropy
from codec.entropy.models.quadtree import QuadtreeEntropy
from codec.errors import CodecError
from codec.freeze import freeze
from codec.layers.frames import COLOURS
from codec.motion.baselines import FixedBlockMatching
from codec.motion.block_matching import BlockMatching
from codec.references import Reference, References
from codec.stream import compress, decompress, frames_sha256
from codec.video import VideoCodec

QUALITY = torch.tensor([40])
FEATURES = 16


class Listener(SymbolCoder):
    """Remembers the symbols that go through a writing symbol_coder."""

    def __init__(self) -> None:
        self.inner, self.heard = SymbolEncoder(), []

    def code(self, component: str, latent: Tensor | None, model: SymbolModel) -> Tensor:
        sent = self.inner.code(component, latent, model)
        self.heard.append((component, (sent - model.means).round(), model.indexes))
        return sent


def references(count: int, height: int = 48, width: int = 64) -> References:
    """Frames of a moving clip in the codec's colours, newest first, with features."""
    torch.manual_seed(0)
    frames = COLOURS["ycc"].from_rgb(moving_clip(count, height, width).float() / 255)
    made = []
    for t in reversed(range(count)):
        features = torch.randn(1, FEATURES, height // 8, width // 8).requires_grad_()
        frame = frames[t : t + 1].contiguous().requires_grad_()
        made.append(Reference(frame=frame, features=features, time=t))
    return References(frames=tuple(made), time=count)


def next_frame(count: int, height: int = 48, width: int = 64) -> Tensor:
    """What comes after `references`."""
    rgb = moving_clip(count + 1, height, width)[-1:].float() / 255
    return COLOURS["ycc"].from_rgb(rgb).contiguous()


def network(count: int = 2) -> BlockMatching:
    """Block motion as it starts."""
    torch.manual_seed(0)
    return BlockMatching(FEATURES, QuadtreeEntropy(count), depth=1)


@pytest.mark.parametrize(
    "count, size", [(1, (16, 16)), (2, (34, 50)), (3, (34, 50)), (4, (150, 98))]
)
def test_files_hold_what_is_estimated(tmp_path: Path, count: int, size: tuple[int, int]):
    """Catches maps, references or borders that both sides see differently, and wrong estimates."""
    codec = build(f"references={count}")
    for frames in (1, 2, 5):
        clip, file = moving_clip(frames, *size), tmp_path / "a.cvd"
        written = compress(codec, clip, FPS, 40, file)
        decoded = decompress(file, codec).frames
        assert frames_sha256(decoded) == written.reconstruction_sha256
        with torch.inference_mode():
            coded = freeze(codec)(clip[None].float() / 255, QUALITY, hard=True)
        estimated = float(coded.total_bits.sum()) / 8
        assert abs(written.bytes - estimated) <= 0.01 * estimated + 64 + 12 * frames
        assert len(coded.references) == min(count, frames)


def test_one_reference_follows_an_intra_frame():
    """Catches modes that are coded where there is nothing to choose, and references
    kept too long.
    """
    codec, seen = build("references=3"), []

    def look(module: torch.nn.Module, given: tuple) -> None:
        seen.append([reference.time for reference in given[1]])

    codec.motion.register_forward_pre_hook(look)
    with torch.inference_mode():
        frames = moving_clip(7, 32, 48)[None].float() / 255
        coded = codec(frames, QUALITY, hard=True, intra_period=5)
    assert seen == [[0], [1, 0], [2, 1, 0], [3, 2, 1], [5]]
    modes = coded.bits["motion.mode"][0]
    assert not modes[[0, 1, 5, 6]].any() and modes[2:5].all()


def test_gradients_reach_every_reference_that_is_used():
    """Catches a warp that is cut off: chains of frames would not be learned."""
    motion, given = network(), references(2)
    context = motion(next_frame(2), given, QUALITY, RateEstimator())
    assert context.warped.requires_grad and not context.motion.requires_grad
    (context.warped.square().sum() + context.features.square().sum()).backward()
    used = {
        used for mode in context.motion[:, 1].long().unique() for used in ((0,), (1,), (0, 1))[mode]
    }
    for number, reference in enumerate(given):
        reached = [
            bool(part.grad is not None and part.grad.any())
            for part in (reference.frame, reference.features)
        ]
        assert reached == [number in used] * 2
    assert 0 in used


def test_a_prediction_is_the_reference_displaced():
    """Catches x and y or the sign swapped between search and warp, and another
    reference's pixels.
    """
    motion, given = network(), references(3)
    frame = given[1].frame.detach().roll((-3, 5), (-2, -1))
    with torch.no_grad():
        context = motion(frame, given, QUALITY, RateEstimator(hard=True))
    inside = (..., slice(8, -8), slice(8, -8))
    assert (context.warped - frame)[inside].abs().mean() < 0.3 * (given[1].frame - frame)[
        inside
    ].abs().mean()


def test_a_static_clip_costs_no_motion():
    """Catches symbols for blocks that stand still, split though nothing is gained by it."""
    codec = build_codec(small_config()).eval()
    still = moving_clip(1, 128, 192).expand(5, -1, -1, -1)[None].float() / 255
    with torch.inference_mode():
        bits = codec(still, QUALITY, hard=True).bits
    motion = sum(value[0, 1:].mean() for name, value in bits.items() if name.startswith("motion"))
    assert 0 < float(motion) / (128 * 192) < 0.007  # bpp, untrained


def heard(codec: VideoCodec, frames: Tensor) -> list[tuple[str, Tensor, Tensor]]:
    """Components, symbols and tables of the third frame's motion, following the same two frames."""
    given = references(2)
    symbol_coder = Listener()
    with torch.inference_mode():
        detached = References(frames=given.detach().frames, time=2)
        codec.motion(frames, detached, QUALITY, symbol_coder)
    return symbol_coder.heard


def test_symbols_do_not_depend_on_how_they_are_computed():
    """Catches decisions or tables that change with threads, memory layouts or the stream's
    precision.
    """
    codec, frame, threads = build(), next_frame(2), torch.get_num_threads()
    first = heard(freeze(codec, "fp32"), frame)
    assert {name for name, _, _ in first} == {"motion.split", "motion.mode", "motion.vector"}
    others = [heard(freeze(codec, "bf16"), frame)]
    others.append(heard(freeze(codec, "fp32"), frame.to(memory_format=torch.channels_last)))
    try:
        torch.set_num_threads(3)
        others.append(heard(freeze(codec, "fp32"), frame))
    finally:
        torch.set_num_threads(threads)
    for other in others:
        for (name, symbols, rows), (other_name, *found) in zip(first, other, strict=True):
            assert (
                name == other_name
                and torch.equal(symbols, found[0])
                and torch.equal(rows, found[1])
            )


def test_checkpoints_from_before_variable_blocks_still_code(tmp_path: Path):
    """Catches a renamed class or argument that old checkpoints name, and another hash of old
    streams.
    """
    old = small_config("motion=fixed_block_matching", "entropy@motion_entropy=checkerboard")
    old["motion"]["_target_"] = "codec.motion.searched.SearchedMotion"
    del old["motion"]["type"]
    for new in ("references", "lambda_low", "lambda_high", "quality_offsets"):
        del old[new]
    codec = build_codec(old).eval()
    save_checkpoint(tmp_path / "old.ckpt", codec)
    loaded, clip = load_codec(tmp_path / "old.ckpt"), moving_clip(3, 34, 50)
    assert isinstance(loaded.motion, FixedBlockMatching) and loaded.references == 1
    assert loaded.config == old
    written = compress(loaded, clip, FPS, 40, tmp_path / "a.cvd")
    decoded = decompress(tmp_path / "a.cvd", codec).frames
    assert frames_sha256(decoded) == written.reconstruction_sha256


@pytest.mark.parametrize("count, training", [(1, True), (2, True), (2, False)])
def test_all_of_it_runs_where_the_frame_is(count: int, training: bool):
    """Catches tensors on the wrong device, and questions to a GPU in the middle of a frame."""
    with fake_cuda():
        motion = BlockMatching(FEATURES, QuadtreeEntropy(2), depth=1).train(training)
        frame, features = torch.zeros(2, 3, 48, 64), torch.zeros(2, FEATURES, 6, 8)
        maps = torch.zeros(2, 6, 6, 8)
        made = [
            Reference(frame=frame, features=features, motion=maps, time=t) for t in range(count)
        ]
        given = References(frames=tuple(reversed(made)), time=count)
        quality = torch.zeros(2, dtype=torch.int64)
        context = motion(frame, given, quality, RateEstimator(hard=not training))
        shown = (
            context.prediction,
            context.features,
            context.motion,
            context.warped,
            context.motion_mask,
        )
        assert {value.device.type for value in shown} == {"cuda"}
        assert context.warped.shape == frame.shape and context.motion_mask.shape == (2, 1, 6, 8)


def test_another_entropy_network_is_refused():
    """Catches maps given to a network that takes them for real numbers."""
    with pytest.raises(CodecError, match="block_matching needs QuadtreeEntropy"):
        BlockMatching(FEATURES, FactorizedEntropy(6))
