import math
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from codec.errors import CodecError
from codec.layers.compensation import (
    _compensate_by_tensors,
    bilinear_filters,
    chroma_filters,
    compensate,
    compensate_features,
    luma_filters,
)
from codec.layers.warping import block_warp

FILTERS = {"luma": luma_filters, "chroma": chroma_filters, "linear": lambda: bilinear_filters(4)}
KINDS = pytest.mark.parametrize(
    ("block", "kind"),
    [(8, "luma"), (4, "chroma"), (8, "linear"), (16, "luma"), (2, "chroma")],
)


def case(block: int, count: int = 2, spread: int = 40, channels: int = 2) -> dict:
    """Random references of 5 x 7 cells; some neighbours move alike, some weights are zero."""
    torch.manual_seed(0)
    references = [torch.rand(2, channels, 5 * block, 7 * block) for _ in range(count)]
    vectors = torch.randint(-spread, spread, (2, 2 * count, 5, 7), dtype=torch.int16)
    vectors[..., 2:5] = vectors[..., 2:3]
    choices = torch.cat([torch.eye(count), torch.full((1, count), 1 / count)])
    weights = choices[torch.randint(0, count + 1, (2, 5, 7))].permute(0, 3, 1, 2).contiguous()
    weights[..., 2:4] = weights[..., 2:3]
    return {"references": references, "vectors": vectors, "weights": weights, "block": block}


def one_vector(x: int, y: int, height: int = 2, width: int = 3) -> Tensor:
    return torch.tensor([x, y], dtype=torch.int32).view(1, 2, 1, 1).repeat(1, 1, height, width)


def by_tensors(references, vectors, weights, block, filters) -> Tensor:
    return _compensate_by_tensors(references, vectors, weights, block, filters)


def test_whole_pixels_are_a_shift():
    """Catches x and y swapped, a wrong sign, units that are not quarters, and rounding."""
    image = torch.rand(1, 1, 16, 24)
    moved = compensate(
        [image],
        one_vector(3 * 4, -2 * 4),
        torch.ones(1, 1, 2, 3),
        block=8,
        filters=luma_filters(),
    )
    assert torch.equal(moved[..., 2:, :-3], image[..., :-2, 3:])


@pytest.mark.parametrize(("x", "y"), [(1, 0), (0, 1), (2, 3), (-3, 6)])
@pytest.mark.parametrize("kind", ["luma", "chroma"])
def test_parts_of_a_pixel_shift_a_smooth_signal(x: int, y: int, kind: str):
    """Catches filters that are mirrored, off by a tap, or applied along the wrong axis."""
    filters, fraction = FILTERS[kind](), len(FILTERS[kind]())
    rows, columns = torch.arange(48.0)[:, None], torch.arange(48.0)[None]

    def signal(dx: float, dy: float) -> Tensor:
        across = torch.sin((columns + dx) * 2 * math.pi / 16)
        return across + torch.cos((rows + dy) * 2 * math.pi / 20)

    vector, weights = one_vector(x, y, 6, 6), torch.ones(1, 1, 6, 6)
    moved = compensate([signal(0, 0)[None, None]], vector, weights, block=8, filters=filters)
    expected = signal(x / fraction, y / fraction)
    inner = slice(8, -8)
    error = (moved[0, 0] - expected)[inner, inner].abs().max()
    assert error < {"luma": 0.015, "chroma": 0.02}[kind]


def test_filters_keep_the_mean():
    """Catches a coefficient that was copied wrongly."""
    for filters in (luma_filters(), chroma_filters(), bilinear_filters(32)):
        assert torch.equal(filters.sum(1), torch.ones(len(filters)))
        assert torch.equal(filters[1:], filters[1:].flip(0, 1))
        assert filters[0].sort().values.tolist() == [0] * (filters.shape[1] - 1) + [1]


@KINDS
@pytest.mark.parametrize("spread", [3, 40, 30000])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_kernel_equals_tensors(block: int, kind: str, spread: int, count: int):
    """Catches borders that are not repeated, runs that are filled wrongly, batches mixed up."""
    given = case(block, count, spread) | {"filters": FILTERS[kind]()}
    torch.testing.assert_close(compensate(**given), by_tensors(**given), atol=2e-6, rtol=0)


@pytest.mark.parametrize("value", [2**31 - 1, -(2**31), 2**31 - 6, 1 - 2**31])
@pytest.mark.parametrize("axis", [0, 1])
def test_hostile_vectors_stay_inside(value: int, axis: int):
    """Catches reads out of bounds and overflow: any vector must give border pixels."""
    image, vectors = torch.rand(1, 1, 16, 24), one_vector(0, 0)
    vectors[:, axis] = value
    given = {"vectors": vectors, "weights": torch.ones(1, 1, 2, 3), "block": 8}
    given |= {"references": [image], "filters": luma_filters()}
    side = image[..., -1:] if value > 0 else image[..., :1]
    if axis == 1:
        side = image[..., -1:, :] if value > 0 else image[..., :1, :]
    for moved in (compensate(**given), by_tensors(**given)):
        torch.testing.assert_close(moved, side.expand_as(image), atol=1e-6, rtol=0)
    dense = vectors.repeat_interleave(8, 2).repeat_interleave(8, 3)
    features = compensate_features([image], dense, torch.ones(1, 1, 16, 24))
    torch.testing.assert_close(features, side.expand_as(image), atol=1e-6, rtol=0)


def test_a_half_of_each_is_the_average():
    """Catches weights of the wrong reference, and references that replace each other."""
    given = case(8) | {"filters": luma_filters()}
    parts = []
    for weights in ([1.0, 0.0], [0.0, 1.0], [0.5, 0.5]):
        given["weights"] = torch.tensor(weights).view(1, 2, 1, 1).repeat(2, 1, 5, 7)
        parts.append(compensate(**given))
    torch.testing.assert_close((parts[0] + parts[1]) / 2, parts[2], atol=1e-6, rtol=0)


def test_weight_zero_is_not_read():
    """Catches a reference of no weight that poisons the prediction."""
    given = case(8) | {"filters": luma_filters()}
    given["weights"] = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).repeat(2, 1, 5, 7)
    given["references"][0] = torch.full_like(given["references"][0], math.nan)
    assert compensate(**given).isfinite().all()


def test_a_cell_does_not_depend_on_its_run():
    """Catches a decoder that drifts: pixels of a cell rounded by what its neighbours do."""
    torch.manual_seed(0)
    image, vectors = torch.rand(1, 1, 24, 160), one_vector(5, -7, 3, 20)
    given = {"references": [image], "weights": torch.ones(1, 1, 3, 20), "block": 8}
    whole = compensate(vectors=vectors, filters=luma_filters(), **given)
    for column in range(20):
        other = vectors.clone()
        other[..., column] += 9
        moved = compensate(vectors=other, filters=luma_filters(), **given)
        keep = torch.ones(160, dtype=torch.bool)
        keep[8 * column : 8 * column + 8] = False
        assert torch.equal(moved[..., keep], whole[..., keep])


def gradients(function, given: dict) -> tuple[Tensor, ...]:
    """Gradients to the references and the filters of a random linear function of the result."""
    references = [reference.clone().requires_grad_() for reference in given["references"]]
    filters = given["filters"].clone().requires_grad_()
    made = function(**given | {"references": references, "filters": filters})
    torch.manual_seed(2)
    return torch.autograd.grad(made, [*references, filters], torch.randn(made.shape))


@KINDS
@pytest.mark.parametrize("spread", [3, 40, 500])
def test_gradients_equal_autograds(block: int, kind: str, spread: int):
    """Catches a scatter that misses the borders, mirrored filters, and sums of the wrong phase."""
    given = case(block, spread=spread) | {"filters": FILTERS[kind]()}
    ours, theirs = gradients(compensate, given), gradients(by_tensors, given)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=2e-5, rtol=1e-5)


@KINDS
def test_gradients_equal_differences(block: int, kind: str):
    """Catches a backward of another function; exact, as results are at most quadratic."""
    given = case(block) | {"filters": FILTERS[kind]()}
    grads = gradients(compensate, given)
    torch.manual_seed(2)
    outer = torch.randn_like(given["references"][0]).double()
    inputs = {"references": given["references"], "filters": [given["filters"]]}
    for name, at in (("references", 0), ("references", 1), ("filters", 0)):
        step = torch.randn_like(inputs[name][at])
        if name == "filters":
            step[0] = 0
        sides = []
        for sign in (1, -1):
            changed = [*inputs[name]]
            changed[at] = changed[at] + sign * step
            value = changed if name == "references" else changed[0]
            sides.append((compensate(**given | {name: value}).double() * outer).sum())
        grad = grads[at if name == "references" else 2]
        expected, found = (sides[0] - sides[1]) / 2, (grad.double() * step).sum()
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=1e-4)


def test_only_what_is_wanted_gets_a_gradient():
    """Catches references that are kept or scattered to for nothing, and one that is forgotten."""
    given = case(8) | {"filters": luma_filters()}
    given["references"][1].requires_grad_()
    compensate(**given).sum().backward()
    assert given["references"][0].grad is None and given["references"][1].grad is not None
    assert not compensate(**given | {"references": case(8)["references"]}).requires_grad


def test_threads_do_not_change_bits(monkeypatch: pytest.MonkeyPatch):
    """Catches rows that no thread fills or two do, and sums in an order of chance."""
    given = case(8, channels=3) | {"filters": luma_filters()}
    features = feature_case(torch.channels_last)

    def everything() -> list[Tensor]:
        made = [compensate(**given), *gradients(compensate, given), compensate_features(**features)]
        return [*made, *feature_gradients(compensate_features, features)]

    alone = everything()
    for threads in (2, 3, 7):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert all(torch.equal(a, b) for a, b in zip(alone, everything(), strict=True))


@pytest.mark.parametrize("device", ["cuda", "meta"])
@pytest.mark.parametrize(("count", "channels"), [(1, 1), (2, 3)])
def test_on_a_gpu_nothing_waits(
    device: str,
    count: int,
    channels: int,
    monkeypatch: pytest.MonkeyPatch,
):
    """Catches tensors made on the wrong device, and operations that wait for the GPU's data.

    Without a GPU autograd runs backward only for meta tensors; they have no data to wait for, too.
    """
    if device == "meta":  # which has no autocast
        monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    with FakeTensorMode(), torch.device(device):
        references = [torch.rand(1, channels, 32, 48, requires_grad=True) for _ in range(count)]
        vectors = torch.zeros(1, 2 * count, 4, 6, dtype=torch.int16)
        weights, filters = torch.rand(1, count, 4, 6), torch.rand(4, 8, requires_grad=True)
        features = [torch.rand(1, 16, 4, 6, requires_grad=True) for _ in range(count)]
        made = compensate(references, vectors, weights, block=8, filters=filters)
        moved = compensate_features(features, vectors, weights)
        assert made.device.type == moved.device.type == device
        assert made.shape == references[0].shape and moved.shape == features[0].shape
        if device == "meta":
            (made.sum() + moved.sum()).backward()
            assert all(each.grad is not None for each in [*references, *features, filters])


def test_a_traced_graph_computes_the_same():
    """Catches kernels called while tracing, whose answer would be a constant in the graph."""
    given = case(8) | {"filters": luma_filters()}

    def predicted(first: Tensor, second: Tensor, vectors: Tensor) -> Tensor:
        return compensate(**given | {"references": [first, second], "vectors": vectors})

    inputs = *given["references"], given["vectors"]
    graph = torch.jit.trace(predicted, inputs, check_trace=False)
    others = inputs[1], inputs[0], inputs[2] + 3
    torch.testing.assert_close(graph(*others), predicted(*others), atol=2e-6, rtol=0)


def feature_case(layout: torch.memory_format, kind: torch.dtype = torch.float32) -> dict:
    given = case(1, channels=24)
    references = [reference.to(kind) for reference in given["references"]]
    given["references"] = [each.contiguous(memory_format=layout) for each in references]
    given["vectors"] = 3 * given["vectors"]
    return {name: given[name] for name in ("references", "vectors", "weights")}


def feature_gradients(function, given: dict) -> tuple[Tensor, ...]:
    references = [reference.clone().requires_grad_() for reference in given["references"]]
    made = function(**given | {"references": references})
    torch.manual_seed(2)
    return torch.autograd.grad(made, references, torch.randn(made.shape))


def features_by_warp(references, vectors, weights) -> Tensor:
    fields = vectors.float() / 32
    parts = [block_warp(r, fields[:, 2 * i : 2 * i + 2], 1) for i, r in enumerate(references)]
    return sum(weights[:, i : i + 1] * part for i, part in enumerate(parts))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_features_equal_the_warp(layout: torch.memory_format):
    """Catches x and y swapped, units that are not 1/32, wrong weights, and lost layouts."""
    given = feature_case(layout)
    moved, expected = compensate_features(**given), features_by_warp(**given)
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)
    assert moved.stride() == given["references"][0].stride()
    ours = feature_gradients(compensate_features, given)
    theirs = feature_gradients(features_by_warp, given)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_features_keep_their_type(kind: torch.dtype):
    """Catches a float32 answer or gradient, and sums rounded more than once."""
    given = feature_case(torch.channels_last, kind)
    moved = compensate_features(**given)
    wide = [reference.float() for reference in given["references"]]
    assert torch.equal(moved, compensate_features(**given | {"references": wide}).to(kind))
    assert {grad.dtype for grad in feature_gradients(compensate_features, given)} == {kind}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("references", []),
        ("references", [torch.zeros(2, 2, 40, 56), torch.zeros(2, 2, 40, 48)]),
        ("references", [torch.zeros(2, 2, 40, 56).double()] * 2),
        ("vectors", torch.zeros(2, 4, 5, 7)),
        ("vectors", torch.zeros(2, 2, 5, 7, dtype=torch.int16)),
        ("weights", torch.zeros(2, 2, 5, 6)),
        ("weights", torch.zeros(2, 2, 5, 7).bfloat16()),
        ("filters", torch.zeros(4, 7)),
        ("filters", torch.zeros(8)),
        ("block", 16),
    ],
)
def test_what_does_not_fit_is_refused(name: str, value: object):
    """Catches kernels that read past an end, with a message that says what was expected."""
    given = case(8) | {"filters": luma_filters()} | {name: value}
    with pytest.raises(CodecError, match="compensate.*(give|expected)"):
        compensate(**given)
