import copy

import numpy as np
import pytest
import torch
from compressai.entropy_models import EntropyBottleneck

from codec.entropy.coding.cdf_tables import CdfTables
from codec.entropy.coding.symbol_coder import RateEstimator, SymbolDecoder, SymbolEncoder
from codec.entropy.models.factorized import FactorizedDensity, FactorizedModel
from codec.errors import CodecError


def drawn(channels: int = 6) -> FactorizedDensity:
    """A density with random weights, narrow enough for short tables."""
    torch.manual_seed(0)
    density = FactorizedDensity(channels)
    with torch.no_grad():
        for parameter in density.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        density.matrices[0].add_(1.5)
    density.solve_bounds()
    return density


def peer_of(density: FactorizedDensity) -> EntropyBottleneck:
    """compressai's own module with the same weights."""
    peer = EntropyBottleneck(density.channels)
    peer.load_state_dict(density.state_dict(), strict=False)
    peer.update(force=True)
    return peer.eval()


def same(tables: CdfTables, others: CdfTables) -> bool:
    """Whether they hold the same frequencies."""
    return np.array_equal(tables.cumulative, others.cumulative)


def test_likelihoods_and_tables_are_compressais():
    """Catches channels mixed up with samples, a wrong median, and tables of another
    distribution.
    """
    density, latent = drawn(), 8 * torch.randn(2, 6, 3, 5)
    peer, model = peer_of(density), FactorizedModel(density, latent.shape)
    expected, likelihoods = peer(latent)
    centred = torch.round(latent - model.means)
    torch.testing.assert_close(centred + model.means, expected)
    torch.testing.assert_close(model.bits(centred), -likelihoods.log2())
    rows = [
        row[:length]
        for row, length in zip(peer.quantized_cdf.tolist(), peer.cdf_length.tolist(), strict=True)
    ]
    assert (
        model.tables.cumulative.tolist() == sum(rows, [])
        and model.tables.offsets.tolist() == peer.offset.tolist()
    )


def test_tables_follow_the_weights_in_every_order():
    """Catches tables that are stale after training, loading, copying, or a write that autograd does
    not see (CompressAI #34).
    """
    density = drawn()
    model = FactorizedModel(density, (1, 6, 2, 2))
    before, other = model.tables, FactorizedDensity(6)
    assert model.tables is before
    other.load_state_dict(density.state_dict())
    assert same(FactorizedModel(other, (1, 6, 2, 2)).tables, before)
    assert same(FactorizedModel(copy.deepcopy(other), (1, 6, 2, 2)).tables, before)
    density.matrices[0].data.sub_(0.5)
    assert not same(model.tables, before)
    density.load_state_dict(other.state_dict())
    assert same(model.tables, before)
    optimizer = torch.optim.AdamW(density.parameters(), lr=0.1)
    model.bits(torch.zeros(1, 6, 2, 2)).sum().backward()
    optimizer.step()
    assert not same(model.tables, before)
    assert not any(name.endswith(("_cdf", "_offset", "_length")) for name in density.state_dict())


def test_quantiles_are_solved_for_and_never_trained():
    """Catches quantiles in an optimizer, and medians that are not at one half."""
    density = drawn()
    assert (
        "quantiles" not in dict(density.named_parameters()) and "quantiles" in density.state_dict()
    )
    logits = density._logits_cumulative(density.quantiles, stop_gradient=True)
    torch.testing.assert_close(
        torch.sigmoid(logits[:, 0, 1]), torch.full((6,), 0.5), atol=1e-3, rtol=0
    )
    with torch.no_grad():
        density.biases[0][0] = float("nan")
    with pytest.raises(CodecError, match="biases.0 holds non-finite"):
        density.solve_bounds()


def test_stretched_densities_of_a_mixed_batch_are_written_as_estimated():
    """Catches tables of another quality than the sample's, and a stretch that the estimate does not
    know.
    """
    density, latent = drawn(), 20 * torch.randn(3, 6, 4, 4)
    scale = torch.tensor([0.2, 2.0, 0.2]).view(3, 1, 1, 1).expand(3, 6, 1, 1)
    shift = torch.tensor([0.3, -4.0, 0.3]).view(3, 1, 1, 1).expand(3, 6, 1, 1)
    hard = RateEstimator(hard=True)
    mixed = hard.code("a", latent, FactorizedModel(density, latent.shape, scale, shift))
    mixed_bits = hard.take_bits()["a"]
    for i in range(3):
        model = FactorizedModel(density, (1, 6, 4, 4), scale[i : i + 1], shift[i : i + 1])
        writer = SymbolEncoder()
        sent = writer.code("a", latent[i : i + 1], model)
        payload = writer.finish_frame()
        assert torch.equal(sent[0], mixed[i]) and torch.equal(
            SymbolDecoder(payload).code("a", None, model), sent
        )
        assert abs(8 * len(payload) - float(mixed_bits[i])) < 64 + 0.01 * float(mixed_bits[i])


def test_probabilities_add_up_to_one_when_stretched():
    """Catches a stretch that moves the bins without changing their width."""
    density = drawn()
    values = torch.arange(-300.0, 301.0).view(1, 1, 1, -1).expand(1, 6, 1, -1)
    bits = density.bits(values, torch.full((1, 6, 1, 1), 0.4), torch.full((1, 6, 1, 1), 3.0))
    torch.testing.assert_close((2.0**-bits).sum(-1), torch.ones(1, 6, 1), atol=1e-3, rtol=0)
