"""Block motion estimation with a quadtree, on pictures whose motion is known."""

import math

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from codec.errors import CodecError
from codec.motion import block_search
from codec.motion.block_decisions import decision_bits, predict, reference_pairs
from codec.motion.block_search import (
    BlockDecisions,
    BlockPrices,
    decision_cost,
    phase_planes,
    search_for,
)

FILTERS = (
    torch.tensor(
        [
            [0.0, 0, 0, 64, 0, 0, 0, 0],
            [-1, 4, -10, 58, 17, -5, 1, 0],
            [-1, 4, -11, 40, 40, -11, 4, -1],
            [0, 1, -5, 17, 58, -10, 4, -1],
        ]
    )
    / 64
)


def prices(references: int, batch: int = 1) -> BlockPrices:
    """Plausible bits: zero differences and the newest reference are cheap."""
    modes = len(reference_pairs(references))
    vector = torch.cat([torch.tensor([0.4]), 2.5 + 2 * torch.log2(torch.arange(1, 64).float())])
    same = torch.tensor([0.2, 0.8])
    mode = torch.full((4, modes), 2.0)
    mode[:, 0] = 0.7
    tables = {"split": torch.ones(3, 2), "mode": mode, "same": same, "vector": vector}
    return BlockPrices(
        **{name: table.expand(batch, *table.shape) for name, table in tables.items()}
    )


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """Smooth random luma `(1, 1, H, W)` in -0.4..0.4."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 1, height // 4, width // 4, generator=generator)
    return F.interpolate(small, size=(height, width), mode="bicubic").clamp(0, 1) * 0.8 - 0.4


def search(current: Tensor, *references: Tensor, price: float = 4.0, **options) -> BlockDecisions:
    return search_for(
        current,
        references,
        bit_price=torch.full(current.shape[:1], price),
        prices=prices(len(references), len(current)),
        filters=FILTERS,
        **options,
    )[0]


def cost(current: Tensor, *references: Tensor, decisions: BlockDecisions, price: float = 4.0):
    return decision_cost(
        current,
        references,
        decisions,
        bit_price=torch.full(current.shape[:1], price),
        prices=prices(len(references), len(current)),
        filters=FILTERS,
    )


def moved(reference: Tensor, x: int, y: int) -> Tensor:
    """The reference displaced by (x, y) quarter pixels everywhere, by the search's own filters."""
    height, width = reference.shape[-2] // 8, reference.shape[-1] // 8
    vectors = torch.tensor([x, y], dtype=torch.int16).view(1, 2, 1, 1).expand(-1, -1, height, width)
    flat = torch.zeros(1, 1, height, width, dtype=torch.int8)
    decisions = BlockDecisions(level=flat, mode=flat, vectors=vectors)
    return predict([reference], decisions, FILTERS)


@pytest.mark.parametrize("vector", [(20, -12), (-149, 97), (5, -3), (2, 1), (-3, 0), (210, 0)])
def test_a_shift_is_found(vector: tuple[int, int]):
    """Catches x/y or the sign swapped, a lost quarter pixel, and a border that does not repeat."""
    reference = picture(128, 192)
    found = search(moved(reference, *vector), reference)
    expected = torch.tensor(vector).view(1, 2, 1, 1)
    assert (found.vectors == expected)[..., 4:-4, 4:-4].all(1).float().mean() > 0.95
    assert (found.vectors == expected).all(1).float().mean() > 0.6


def test_a_still_frame_costs_next_to_nothing():
    """Catches splits and vectors without need, and a border that is not split."""
    still = picture(144, 208)
    found = search(still, still, still)
    assert not found.vectors.any() and not found.mode.any()
    assert (found.level[..., :16, :24] == 0).all()
    assert (found.level[..., 16:, :] == 2).all() and (found.level[..., :16, 24:] == 2).all()


def test_two_motions_are_split():
    """Catches blocks joined over an object's edge, and vectors of the wrong side."""
    reference = picture(128, 192)
    current = moved(reference, 12, 8)
    current[..., 40:88, 72:120] = moved(reference, -40, 16)[..., 40:88, 72:120]
    found = search(current, reference)
    inside = found.vectors[0, :, 5:11, 9:15]
    assert (inside == torch.tensor([-40, 16]).view(2, 1, 1)).all()
    around = found.vectors[0, :, :, 16:22]
    assert (around == torch.tensor([12, 8]).view(2, 1, 1)).float().mean() > 0.9
    assert (found.level[..., 5:11, 9:15] > 0).all()


def test_noise_is_averaged_out():
    """Catches averages that are compared wrongly, or of which one vector is lost."""
    torch.manual_seed(0)
    clean = picture(128, 128)
    first = moved(clean, 8, 4) + 0.05 * torch.randn(clean.shape)
    second = moved(clean, -6, 3) + 0.05 * torch.randn(clean.shape)
    found = search(clean, first, second)
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    assert (found.mode[inside] == 2).float().mean() > 0.9
    expected = torch.tensor([-8, -4, 6, -3]).view(4, 1, 1)
    assert (found.vectors[inside] - expected).abs().float().mean() < 2


def assert_consistent(found: BlockDecisions, references: int):
    """A quadtree whose blocks have one mode and vectors, and whose border is split."""
    level = found.level[:, 0].int()
    height, width = level.shape[1:]
    for b, y, x in torch.cartesian_prod(*(torch.arange(n) for n in level.shape)).tolist():
        side = 8 >> int(level[b, y, x])
        top, left = y - y % side, x - x % side
        assert top + side <= height and left + side <= width
        assert (level[b, top : top + side, left : left + side] == level[b, y, x]).all()
        assert (
            found.mode[b, 0, top : top + side, left : left + side] == found.mode[b, 0, y, x]
        ).all()
        block = found.vectors[b, :, top : top + side, left : left + side]
        assert (block == found.vectors[b, :, y, x].view(-1, 1, 1)).all()
    pairs = torch.tensor(reference_pairs(references))
    for r in range(references):
        used = (pairs == r).any(1)[found.mode.long()]
        assert not found.vectors[:, 2 * r : 2 * r + 2].masked_select(~used).any()


def noisy(batch: int, height: int, width: int, references: int) -> list[Tensor]:
    torch.manual_seed(1)
    frames = [torch.cat([picture(height, width, b) for b in range(batch)])]
    for n in range(references):
        frames.append(frames[-1].roll((n + 1, 2), (2, 3)) + 0.05 * torch.randn(frames[0].shape))
    return frames


@pytest.mark.parametrize("references", [1, 2, 3, 4])
def test_decisions_are_a_quadtree(references: int):
    """Catches cells of a block that differ, modes out of range, vectors of unused references."""
    found = search(*noisy(2, 144, 176, references), price=2.0)
    assert_consistent(found, references)
    assert len(found.level.unique()) > 1


def test_bands_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    """Catches neighbours read while another thread writes them, and rows that no thread decides."""
    frames = noisy(2, 208, 176, 2)
    alone = search(*frames)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    together = search(*frames)
    for name in ("level", "mode", "vectors"):
        assert torch.equal(getattr(alone, name), getattr(together, name))


def test_dearer_bits_make_larger_blocks():
    """Catches a price that is not used, or of which a batch sees only one."""
    current, *references = noisy(1, 128, 192, 2)
    found, _ = search_for(
        current.repeat(3, 1, 1, 1),
        [reference.repeat(3, 1, 1, 1) for reference in references],
        bit_price=torch.tensor([0.5, 4.0, 40.0]),
        prices=prices(2, batch=3),
        filters=FILTERS,
    )
    bits = decision_bits(found, prices(2, batch=3)).sum((1, 2, 3))
    assert bits[0] > bits[1] > bits[2]


def test_random_blocks_use_everything():
    """Catches modes or sizes that training would never see, and other blocks changed."""
    frames = noisy(1, 256, 336, 3)
    random = torch.rand(1, 5, 32, 42, generator=torch.Generator().manual_seed(3))
    random[:, 0, :, :24], random[:, 0, :, 24:] = 0.0, 1.0
    found = search(*frames, random=random)
    assert_consistent(found, 3)
    assert len(found.level[..., :24].unique()) == 4 and len(found.mode[..., :24].unique()) == 6
    usual = search(*frames)
    assert (found.mode == usual.mode)[..., 32:].float().mean() > 0.95


def test_last_vectors_are_tried():
    """Catches candidates of the last frame that are ignored: motion beyond the full search."""
    reference = picture(160, 320)
    current = moved(reference, 76 * 4, 0)
    last = torch.tensor([76 * 4, 0], dtype=torch.int16).view(1, 2, 1, 1).expand(1, 2, 20, 40)
    found = search(current, reference, last=last)
    assert (found.vectors[:, 0] == 76 * 4).float().mean() > 0.7


def test_planes_may_be_kept():
    """Catches planes made of other values than the search makes itself."""
    current, *references = noisy(1, 64, 80, 2)
    planes = [phase_planes(reference, FILTERS) for reference in references]
    kept, made = search(current, *references, planes=planes), search(current, *references)
    assert torch.equal(kept.vectors, made.vectors) and torch.equal(kept.mode, made.mode)


def test_smallest_frames_and_odd_values():
    """Catches reads outside the frame, and a crash where training has diverged."""
    assert_consistent(search(*noisy(3, 16, 16, 2), price=0.0), 2)
    lost = torch.full((1, 1, 32, 48), math.nan)
    assert_consistent(search(lost, lost, lost), 2)


@pytest.mark.parametrize("size", [(40, 32), (32, 24)])
def test_parts_of_blocks_are_refused(size: tuple[int, int]):
    """Catches kernels that read past the frame's end."""
    luma = torch.zeros(1, 1, *size)
    with pytest.raises(CodecError, match="multiple|whole blocks"):
        search(luma, luma)


def test_planes_of_another_frame_are_refused():
    """Catches kernels that read past the end of what was kept."""
    luma, small = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 32, 64)
    with pytest.raises(CodecError, match="another frame"):
        search(luma, luma, planes=[phase_planes(small, FILTERS)])


@pytest.mark.parametrize("reach", [4, 24, 240])
def test_any_reach(reach: int):
    """Catches vectors beyond the limits of a small frame, and a full search of odd width."""
    frames = noisy(1, 16, 48, 2)
    found = search(*frames, reach=reach, price=0.5)
    assert_consistent(found, 2)
    assert found.vectors[:, ::2].abs().max() <= 4 * min(reach + 16, 48 + 80)
    assert found.vectors[:, 1::2].abs().max() <= 4 * min(reach + 16, 16 + 80)


def test_cost_of_known_decisions():
    """Catches SATD or bits counted otherwise than said: one 16x16 block, off by one level."""
    cells = torch.zeros(1, 1, 2, 2, dtype=torch.int8)
    vectors = torch.tensor([4, 0], dtype=torch.int16).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    decisions = BlockDecisions(level=cells + 2, mode=cells, vectors=vectors)
    reference = torch.zeros(1, 1, 16, 16)
    bits = 1 + 0.7 + 0.2 + 0.4 + float(prices(1).vector[0, 4])  # mode prices of one reference: 0.7
    satd = 4 * 64 / 4  # a constant has one coefficient: 64 times the error
    found = cost(reference + 1 / 255, reference, decisions=decisions, price=3.0)
    torch.testing.assert_close(found, torch.tensor([satd + 3 * bits]), rtol=1e-4, atol=1e-3)


@pytest.fixture
def by_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other devices do, on the CPU."""
    monkeypatch.setattr(block_search, "by_kernel", lambda *tensors: False)


@pytest.mark.parametrize("references", [1, 2, 3])
def test_tensors_decide_as_well_as_kernels(references: int, request: pytest.FixtureRequest):
    """Catches another device's search that gives invalid or much worse decisions."""
    current, *others = noisy(2, 144, 176, references)
    current[..., 40:90, 60:130] = current[..., 44:94, 50:120]
    kernels = cost(current, *others, decisions=search(current, *others))
    request.getfixturevalue("by_tensors")
    found = search(current, *others)
    assert_consistent(found, references)
    tensors = cost(current, *others, decisions=found)
    torch.testing.assert_close(tensors, kernels, rtol=0.05, atol=0)


def test_revised_vectors_are_cheaper(request: pytest.FixtureRequest):
    """Catches means that are taken where they predict worse, or not where they cost less; kernels
    and tensors alike.
    """
    current, *others = noisy(2, 96, 112, 2)
    options = {"bit_price": torch.full((2,), 4.0), "prices": prices(2, 2), "filters": FILTERS}
    pairs, kept = reference_pairs(2), []
    for kind in ("kernels", "tensors"):
        if kind == "tensors":
            request.getfixturevalue("by_tensors")
        _, found = search_for(current, others, **options)
        mode = (
            torch.tensor([0, 1, 2, 2])
            .repeat(3)[:12]
            .view(1, 1, 2, 6)[..., :3]
            .expand(2, 1, 2, 3)
            .contiguous()
        )
        present = torch.tensor([True, True, False]).expand(2, 1, 2, 3)
        vectors = torch.full((2, 4, 2, 3), 40, dtype=torch.int32)
        means = torch.zeros_like(vectors)  # the truth: `noisy` frames stand still
        kept.append(found.revise(1, pairs, mode, vectors, means, present))
    assert torch.equal(kept[0], kept[1])
    assert (kept[0][..., 2] == 40).all() and not kept[0][:, :2, 0, 0].any()


def test_tensors_draw_as_kernels_do(by_tensors: None):
    """Catches random blocks that another device ignores."""
    random = torch.rand(1, 5, 32, 42, generator=torch.Generator().manual_seed(3))
    found = search(*noisy(1, 256, 336, 3), random=random, random_share=1.0)
    assert_consistent(found, 3)
    assert len(found.level.unique()) == 4 and len(found.mode.unique()) == 6


def test_planes_by_tensors_are_the_kernels(monkeypatch: pytest.MonkeyPatch):
    """Catches taps or phases in another order, and borders that differ."""
    luma = noisy(2, 48, 64, 1)[1]
    kernels = phase_planes(luma, FILTERS)
    monkeypatch.setattr(block_search, "by_kernel", lambda *tensors: False)
    tensors = phase_planes(luma, FILTERS)
    difference = (kernels.levels.int() - tensors.levels.int()).abs()
    assert difference.max() <= 1 and difference.float().mean() < 1e-3
    assert torch.equal(kernels.coarse, tensors.coarse)


def test_nothing_waits_for_the_device():
    """Catches tensors on the wrong device and values read back, which a GPU would wait for."""
    with FakeTensorMode():
        luma = torch.empty(2, 1, 80, 112, device="cuda")
        table = prices(2, batch=2)
        options = {
            "bit_price": torch.empty(2, device="cuda"),
            "prices": BlockPrices(**{name: value.cuda() for name, value in vars(table).items()}),
            "filters": torch.empty(4, 8, device="cuda"),
        }
        found, _ = search_for(
            luma,
            [luma, luma],
            last=torch.empty(2, 4, 10, 14, dtype=torch.int16, device="cuda"),
            random=torch.empty(2, 5, 10, 14, device="cuda"),
            **options,
        )
        assert found.vectors.shape == (2, 4, 10, 14) and found.vectors.device.type == "cuda"
        assert found.level.shape == found.mode.shape == (2, 1, 10, 14)
        assert decision_cost(luma, [luma, luma], found, **options).shape == (2,)
