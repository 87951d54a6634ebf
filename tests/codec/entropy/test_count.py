import torch

from codec.entropy.count import SymbolCounter
from codec.entropy.laplace import LaplaceModel
from codec.entropy.symbol_coder import RateEstimator, SymbolDecoder, SymbolEncoder


def test_a_counted_channel_does_what_it_did():
    """Catches counting that changes what is sent, and symbols that are not counted or counted under
    another name.
    """
    latent = 3 * torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    model = LaplaceModel(torch.zeros_like(latent), torch.full_like(latent, 20.0))
    writer = SymbolEncoder()
    sending = SymbolCounter(writer)
    sent = sending.code("residual", latent, model)
    sending.code(
        "motion", latent[:, :2], LaplaceModel(model.means[:, :2], model.scale_index[:, :2])
    )
    receiving = SymbolCounter(SymbolDecoder(writer.finish_frame()))
    assert sending.encodes and not receiving.encodes
    assert torch.equal(receiving.code("residual", None, model), sent)
    assert sending.coded == {"residual": 120, "motion": 60} and receiving.coded == {"residual": 120}
    assert sum(sending.skipped.values()) == 0


def test_estimates_are_counted_too():
    """Catches a wrapper that only fits real bits."""
    latent = torch.ones(2, 3, 4, 4)
    inner = RateEstimator(hard=True)
    symbol_coder = SymbolCounter(inner)
    symbol_coder.code(
        "intra", latent, LaplaceModel(torch.zeros_like(latent), torch.full_like(latent, 20.0))
    )
    assert symbol_coder.coded["intra"] == 96 and inner.take_bits()["intra"].shape == (2,)
    assert symbol_coder.skipped["intra"] == 0
