import torch

from codec.entropy.channel import EstimateChannel, ReadChannel, WriteChannel
from codec.entropy.count import CountChannel
from codec.entropy.laplace import LaplaceModel


def test_a_counted_channel_does_what_it_did():
    """Catches counting that changes what is sent, and symbols that are not counted or counted under
    another name.
    """
    latent = 3 * torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    model = LaplaceModel(torch.zeros_like(latent), torch.full_like(latent, 20.0))
    writer = WriteChannel()
    sending = CountChannel(writer)
    sent = sending.symbols("residual", latent, model)
    sending.symbols(
        "motion", latent[:, :2], LaplaceModel(model.means[:, :2], model.scale_index[:, :2])
    )
    receiving = CountChannel(ReadChannel(writer.finish_frame()))
    assert sending.sends and not receiving.sends
    assert torch.equal(receiving.symbols("residual", None, model), sent)
    assert sending.coded == {"residual": 120, "motion": 60} and receiving.coded == {"residual": 120}
    assert sum(sending.skipped.values()) == 0


def test_estimates_are_counted_too():
    """Catches a wrapper that only fits real bits."""
    latent = torch.ones(2, 3, 4, 4)
    inner = EstimateChannel(hard=True)
    channel = CountChannel(inner)
    channel.symbols(
        "intra", latent, LaplaceModel(torch.zeros_like(latent), torch.full_like(latent, 20.0))
    )
    assert channel.coded["intra"] == 96 and inner.take_bits()["intra"].shape == (2,)
    assert channel.skipped["intra"] == 0
