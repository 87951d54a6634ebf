import hashlib
import math

import numpy as np
import pytest
import torch
from scipy.stats import laplace

from codec.entropy.coding.laplace import (
    LOG_STEP,
    SCALES,
    SMALLEST_SCALE,
    LaplaceModel,
    laplace_bits,
    laplace_tables,
    limit_index,
    scale_index_of,
)


def test_bits_equal_scipys_laplace():
    """Catches errors in either branch of the closed form, the bin about zero included."""
    levels = torch.tensor([10.0, 25.0, 40.0, 63.0])
    values = torch.tensor([0.0, 0.3, 0.5, 1.0, -2.0, 7.5])
    ours = laplace_bits(values[:, None].expand(6, 4), levels.expand(6, 4)).numpy()
    scale = SMALLEST_SCALE * np.exp(levels.numpy() * LOG_STEP)
    centred = values.numpy()[:, None]
    mass = laplace.cdf(centred + 0.5, scale=scale) - laplace.cdf(centred - 0.5, scale=scale)
    seen = (
        mass > 1e-12
    )  # further out scipy's difference of two cumulative values has no digits left
    np.testing.assert_allclose(ours[seen], -np.log2(mass[seen]), rtol=2e-3, atol=1e-5)


def test_far_outliers_have_finite_bits_and_gradients():
    """Catches probabilities that vanish: a clamp there hides the bits of escapes and the gradient
    with them.
    """
    value = torch.tensor([300.0], requires_grad=True)
    bits = laplace_bits(value, torch.tensor([0.0]))
    bits.backward()
    assert torch.isfinite(bits) and bits > 1000 and value.grad > 0


def test_tables_are_symmetric_about_zero():
    """Catches offsets of other rows, and signs that cost differently by more than one frequency of
    rounding.
    """
    tables = laplace_tables()
    assert len(tables.offsets) == SCALES
    for row, offset in zip(
        np.split(tables.cumulative, tables.first[1:-1]), tables.offsets, strict=True
    ):
        frequencies = np.diff(row.astype(int))[:-1]
        assert len(frequencies) == 1 - 2 * offset
        assert np.abs(frequencies - frequencies[::-1]).max() <= 1


def test_tables_are_the_same_integers_on_every_machine():
    """Catches arithmetic that a C library or a Python may round otherwise, and any change that old
    files cannot be read after.

    python -c "import hashlib; from codec.entropy.coding.laplace import laplace_tables as t;
    c = t().cumulative.astype('<u4'); print(hashlib.sha256(c.tobytes()).hexdigest())"
    """
    digest = hashlib.sha256(laplace_tables().cumulative.astype("<u4").tobytes()).hexdigest()
    assert digest == "bed30597775d83d2fadc43cc03169fbb095690e535426faadccc4df73a371c13"


def test_coded_bits_are_near_the_likelihood_where_the_model_fits():
    """Catches tables that belong to another scale than the likelihood, level by level."""
    generator, tables = np.random.default_rng(0), laplace_tables()
    for level in range(0, SCALES, 9):
        scale = SMALLEST_SCALE * np.exp(level * LOG_STEP)
        symbols = torch.from_numpy(np.round(generator.laplace(scale=scale, size=20_000))).float()
        levels = torch.full_like(symbols, level)
        real, ideal = tables.bits_of(symbols, levels).sum(), laplace_bits(symbols, levels).sum()
        assert abs(real - ideal) <= 0.01 * ideal + 64


def test_scale_indexes_pass_gradients_inwards_only():
    """Catches scale indexes stuck beyond an end of the table."""
    index = torch.tensor([-5.0, 70.0, 30.0], requires_grad=True)
    (limit_index(index) * torch.tensor([-1.0, 1.0, 1.0])).sum().backward()
    assert index.grad.tolist() == [-1.0, 1.0, 1.0]
    index.grad = None
    (limit_index(index) * torch.tensor([1.0, -1.0, 1.0])).sum().backward()
    assert index.grad.tolist() == [0.0, 0.0, 1.0]


def test_scale_and_position_are_inverse():
    """Catches a table of scales that does not start at its smallest scale."""
    assert abs(float(scale_index_of(torch.tensor(SMALLEST_SCALE)))) < 1e-5


def test_the_kernel_of_the_estimate_equals_tensor_operations(monkeypatch: pytest.MonkeyPatch):
    """Catches errors in its exponentials and logarithms, in a slope within or beyond half a step,
    and samples or channels that are taken for others.
    """
    torch.manual_seed(0)
    shape, weights = (3, 4, 5, 7), torch.tensor([1.0, -2.0, 0.5])
    start = torch.randn(shape) * torch.tensor([0.01, 1, 30, 900]).view(1, 4, 1, 1)
    noise, index = torch.rand(shape), torch.rand(shape) * (SCALES - 1)
    given = torch.randn(shape)
    start[0, 0, 0, 0], noise[0, 0, 0, 0] = 0.25, 0.5

    def estimated() -> list[torch.Tensor]:
        tensors = [tensor.clone().requires_grad_() for tensor in (start, start * 0.1, index)]
        tensors[0] = (latent := tensors[0]).to(memory_format=torch.channels_last)
        model = LaplaceModel(*tensors[1:], skip_below=20)
        values, bits = model.estimate(tensors[0], noise)
        ((values * given).sum() + (bits * weights).sum()).backward()
        return [values, bits, latent.grad, tensors[1].grad, tensors[2].grad]

    found = estimated()
    monkeypatch.setattr("codec.entropy.coding.laplace.trains_on_cpu", lambda *tensors: False)
    for one, other in zip(found, estimated(), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("broken", range(3))
def test_what_is_not_a_number_has_no_finite_bits(broken: int):
    """Catches a training step that is not skipped, as its loss hides that a network exploded."""
    tensors = [torch.full((1, 2, 3, 3), 10.0) for _ in range(3)]
    tensors[broken][0, 1, 2, 2] = math.nan
    latent, means, index = (tensor.requires_grad_() for tensor in tensors)
    values, bits = LaplaceModel(means, index, skip_below=7).estimate(latent, torch.rand(1, 2, 3, 3))
    assert not bits.isfinite().any()
