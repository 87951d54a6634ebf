import torch
from compressai.entropy_models import GaussianConditional
from compressai.models import get_scale_table

from codec.entropy.models.gaussian_hyperprior import GaussianModel


def test_bits_rows_and_tables_are_compressais():
    """Catches another bound, another place of a scale in the table, and other tables."""
    torch.manual_seed(0)
    peer = GaussianConditional(get_scale_table().tolist()).eval()
    peer.update()
    scales = torch.cat(
        [torch.rand(400) * 3, torch.rand(200) * 400, get_scale_table(), torch.zeros(9)]
    ).view(1, 1, 1, -1)
    latent, means = scales * torch.randn_like(scales) * 1.5, torch.randn_like(scales)
    latent[..., :3] = 40.0
    model = GaussianModel(means, scales)
    expected, likelihoods = peer(latent, scales, means)
    centred = torch.round(latent - means)
    torch.testing.assert_close(centred + means, expected)
    torch.testing.assert_close(model.bits(centred), -likelihoods.log2(), atol=2e-3, rtol=2e-3)
    assert torch.equal(model.indexes, peer.build_indexes(scales))
    rows = [
        row[:length]
        for row, length in zip(peer.quantized_cdf.tolist(), peer.cdf_length.tolist(), strict=True)
    ]
    assert (
        model.tables.cumulative.tolist() == sum(rows, [])
        and model.tables.offsets.tolist() == peer.offset.tolist()
    )


def test_gradients_are_compressais():
    """Catches a bound that stops the gradient which would lead back inside."""
    peer = GaussianConditional(get_scale_table().tolist())
    values = torch.tensor([0.0, 0.3, 2.0, 30.0, 5.0]).view(1, 1, 1, -1)
    ours, theirs = (
        torch.tensor([0.01, 1.0, 3.0, 0.2, 50.0]).view(1, 1, 1, -1).requires_grad_()
        for _ in range(2)
    )
    GaussianModel(torch.zeros_like(values), ours).bits(values).sum().backward()
    (-peer.likelihood_lower_bound(peer._likelihood(values, theirs)).log2().sum()).backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-4, rtol=1e-3)
