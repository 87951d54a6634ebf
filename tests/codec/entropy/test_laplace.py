import numpy as np
import torch
from scipy.stats import laplace

from codec.entropy.laplace import (
    LEVELS,
    LOG_STEP,
    SMALLEST_SCALE,
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
    seen = mass > 1e-12  # further out scipy's difference of two cumulative values has no digits left
    np.testing.assert_allclose(ours[seen], -np.log2(mass[seen]), rtol=2e-3, atol=1e-5)


def test_far_outliers_have_finite_bits_and_gradients():
    """Catches probabilities that vanish: a clamp there hides the bits of escapes and the gradient with them."""
    value = torch.tensor([300.0], requires_grad=True)
    bits = laplace_bits(value, torch.tensor([0.0]))
    bits.backward()
    assert torch.isfinite(bits) and bits > 1000 and value.grad > 0


def test_tables_are_whole_distributions():
    """Catches tables that do not start at 0, end at 2**16 or have symbols without a frequency."""
    tables = laplace_tables()
    assert len(tables.cdfs) == LEVELS
    for cdf, length, offset in zip(tables.cdfs, tables.lengths, tables.offsets, strict=True):
        row = cdf[:length]
        assert row[0] == 0 and row[-1] == 1 << 16
        assert all(b > a for a, b in zip(row, row[1:], strict=False))
        assert length == 2 * -offset + 3


def test_coded_bits_are_near_the_likelihood_where_the_model_fits():
    """Catches tables that belong to another scale than the likelihood, level by level."""
    generator, tables = np.random.default_rng(0), laplace_tables()
    for level in range(0, LEVELS, 9):
        scale = SMALLEST_SCALE * np.exp(level * LOG_STEP)
        symbols = torch.from_numpy(np.round(generator.laplace(scale=scale, size=20_000))).float()
        levels = torch.full_like(symbols, level)
        real, ideal = tables.bits_of(symbols, levels).sum(), laplace_bits(symbols, levels).sum()
        assert abs(real - ideal) <= 0.01 * ideal + 64


def test_ladder_positions_pass_gradients_inwards_only():
    """Catches positions stuck beyond an end of the ladder."""
    index = torch.tensor([-5.0, 70.0, 30.0], requires_grad=True)
    (limit_index(index) * torch.tensor([-1.0, 1.0, 1.0])).sum().backward()
    assert index.grad.tolist() == [-1.0, 1.0, 1.0]
    index.grad = None
    (limit_index(index) * torch.tensor([1.0, -1.0, 1.0])).sum().backward()
    assert index.grad.tolist() == [0.0, 0.0, 1.0]


def test_scale_and_position_are_inverse():
    """Catches a ladder that does not start at its smallest scale."""
    assert abs(float(scale_index_of(torch.tensor(SMALLEST_SCALE)))) < 1e-5
