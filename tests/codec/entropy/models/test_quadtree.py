import pytest
import torch
from block_maps import block_maps
from fake_cuda import fake_cuda

from codec.entropy.coding.symbol_coder import RateEstimator, SymbolDecoder, SymbolEncoder
from codec.entropy.models import quadtree, quadtree_state
from codec.entropy.models.integer_layers import set_rounding
from codec.entropy.models.quadtree import QuadtreeEntropy, used_references
from codec.errors import CodecError

QUALITY = torch.tensor([30])


def lively(references: int) -> QuadtreeEntropy:
    """A network whose probabilities differ from place to place."""
    torch.manual_seed(0)
    entropy = QuadtreeEntropy(references).eval()
    for head in entropy.context.heads:
        torch.nn.init.normal_(head.weight, std=0.2)
    return entropy


@torch.inference_mode()
@pytest.mark.parametrize(
    "references, size", [(2, (10, 14)), (1, (8, 8)), (3, (2, 2)), (4, (22, 18)), (2, (16, 34))]
)
def test_maps_are_read_as_written(references: int, size: tuple[int, int]):
    """Catches a decoder that looks at what is not decoded yet, at the border, in the first and in
    later frames.
    """
    entropy, before, distances = lively(references), None, tuple(range(1, references + 1))
    for frame in range(3):
        maps = block_maps(1, references, size, seed=frame)
        writer, estimate = SymbolEncoder(), RateEstimator(hard=True)
        sent = entropy.code("motion", maps, size, QUALITY, writer, before, distances)
        estimated = entropy.code("motion", maps, size, QUALITY, estimate, before, distances)
        payload = writer.finish_frame()
        reader = SymbolDecoder(payload)
        assert torch.equal(
            entropy.code("motion", None, size, QUALITY, reader, before, distances), sent
        )
        reader.finish_frame()
        assert torch.equal(estimated, sent)
        used = used_references(maps[:, 1:2].long(), references).repeat_interleave(2, 1)
        assert torch.equal(sent[:, :2], maps[:, :2])
        assert torch.equal(torch.where(used, sent[:, 2:], 0), torch.where(used, maps[:, 2:], 0))
        assert 8 * len(payload) == pytest.approx(float(sum(estimate.bits.values())), abs=64)
        before = sent


@torch.inference_mode()
def test_one_reference_needs_no_modes():
    """Catches modes that are paid for, or offered, where there is one reference, as after an intra
    frame.
    """
    entropy, size = lively(2), (12, 16)
    maps = block_maps(1, 1, size)
    maps = torch.cat([maps, torch.zeros(1, 2, *size)], 1)
    symbol_coder = RateEstimator(hard=True)
    sent = entropy.code("motion", maps, size, QUALITY, symbol_coder, None, (1,))
    assert "motion.mode" not in symbol_coder.bits and torch.equal(sent[:, :4], maps[:, :4])


@torch.inference_mode()
def test_still_content_is_cheap():
    """Catches a means by which standing still costs more than moving together: both are zero
    symbols.
    """
    entropy, size = QuadtreeEntropy(2).eval(), (32, 40)
    still = torch.zeros(1, 6, *size)
    pan = still.clone()
    pan[:, 2:3], pan[:, 3:4] = 37.0, -12.0
    bits = {}
    for name, maps in (("still", still), ("pan", pan)):
        symbol_coder = RateEstimator(hard=True)
        entropy.code("motion", maps, size, QUALITY, symbol_coder, maps, (1, 2))
        bits[name] = float(symbol_coder.bits["motion.vector"])
    assert bits["still"] == bits["pan"]


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("references, distances", [(2, (1, 2)), (2, (1,)), (3, (2, -1, 5))])
def test_the_kernels_write_what_the_tensors_write(
    monkeypatch: pytest.MonkeyPatch, references: int, distances: tuple[int, ...], before: bool
):
    """Catches a CPU that selects other tables than another device: its streams would not decode
    there.
    """
    entropy, size = lively(references), (22, 18)
    maps = block_maps(1, references, size)
    last = block_maps(1, references, size, seed=1) if before else None
    results = []
    for kernels in (True, False):
        if not kernels:
            without_kernels(monkeypatch)
        writer, estimate = SymbolEncoder(), RateEstimator(hard=True)
        with torch.inference_mode():
            how = maps, size, QUALITY
            sent = entropy.code("motion", *how, writer, last, distances)
            entropy.code("motion", *how, estimate, last, distances)
        results.append((sent, writer.finish_frame(), estimate.bits))
    (one, written, bits), (other, also_written, other_bits) = results
    assert torch.equal(one, other) and written == also_written
    torch.testing.assert_close(bits, other_bits)


def test_the_kernels_train_as_the_tensors_do(monkeypatch: pytest.MonkeyPatch):
    """Catches gradients of what is computed in some places alone, and prices noted elsewhere."""
    maps, last = block_maps(3, 2, (22, 18)), block_maps(3, 2, (22, 18), seed=1)
    quality, results = torch.tensor([1, 30, 60]), []
    for kernels in (True, False):
        if not kernels:
            without_kernels(monkeypatch)
        entropy, symbol_coder = lively(2).train(), RateEstimator()
        set_rounding(entropy, True)
        sent = entropy.code("motion", maps, (22, 18), quality, symbol_coder, last, (1, 2))
        sum(bits.sum() for bits in symbol_coder.bits.values()).backward()
        gradients = {name: parameter.grad for name, parameter in entropy.named_parameters()}
        results.append((sent, gradients, dict(entropy.prices.named_buffers())))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-3)


def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute as on another device."""
    for module in (quadtree, quadtree_state):
        monkeypatch.setattr(module, "by_kernel", lambda *tensors: False)


def test_training_moves_probabilities_only():
    """Catches gradients into decisions, and a network that cannot learn what its decisions cost."""
    entropy, size = QuadtreeEntropy(2).train(), (8, 8)
    set_rounding(entropy, True)
    maps, quality = block_maps(2, 2, size, farthest=1), torch.tensor([1, 60])
    optimizer, costs = torch.optim.Adam(entropy.parameters(), lr=2e-2), []
    for _ in range(12):
        symbol_coder = RateEstimator()
        sent = entropy.code("motion", maps, size, quality, symbol_coder, None, (1, 2))
        assert not sent.requires_grad
        loss = sum(bits.sum() for bits in symbol_coder.bits.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        costs.append(float(loss.detach()))
    assert costs[-1] < 0.8 * costs[0]


def test_prices_follow_what_is_spent():
    """Catches prices of another symbol or quality, and vectors that become cheaper with their
    length.
    """
    entropy, size = QuadtreeEntropy(2).train(), (32, 32)
    maps = block_maps(1, 2, size, farthest=3)
    start = entropy.prices.at(QUALITY)
    symbol_coder = RateEstimator()
    entropy.code("motion", maps, size, QUALITY, symbol_coder, None, (1, 2))
    assert float(entropy.prices.same_count.sum()) == float(used_references(_leaves(maps), 2).sum())
    entropy.prices.update()
    now, other = entropy.prices.at(QUALITY), entropy.prices.at(torch.tensor([63]))
    assert (now["vector"].diff(dim=1) >= 0).all() and not torch.equal(
        now["vector"], start["vector"]
    )
    assert torch.equal(other["split"], start["split"]) and not entropy.prices.vector_count.any()


def _leaves(maps: torch.Tensor) -> torch.Tensor:
    """The mode at the first cell of every block, -1 elsewhere."""
    mode = torch.full_like(maps[:, 1:2], -1).long()
    for level, cells in enumerate(quadtree.CELLS):
        corner = maps[..., ::cells, ::cells]
        kept = torch.where(
            corner[:, :1] == level, corner[:, 1:2].long(), mode[..., ::cells, ::cells]
        )
        mode[..., ::cells, ::cells] = kept
    return mode


def test_no_device_is_waited_for():
    """Catches tensors on the wrong device, and questions to a GPU in the middle of a frame."""
    with fake_cuda():
        entropy = QuadtreeEntropy(2).eval()
        maps, quality = torch.zeros(1, 6, 12, 20), torch.zeros(1, dtype=torch.int64)
        sent = entropy.code("motion", maps, (12, 20), quality, RateEstimator(), maps, (1, 2))
        assert sent.device.type == "cuda"


def test_impossible_numbers_of_references_are_refused():
    """Catches maps that no network was made for."""
    with pytest.raises(CodecError, match="references: 5 given; expected 1 to 4"):
        QuadtreeEntropy(5)
