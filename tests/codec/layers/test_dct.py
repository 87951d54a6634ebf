import numpy as np
import pytest
import torch
from scipy.fft import dctn

from codec.errors import CodecError
from codec.layers.assemble import planar
from codec.layers.dct import BlockTransform, block_dct_basis, kept_coefficients


def test_coefficients_equal_scipys_dct():
    """Catches a basis that is not the orthonormal DCT-II, or rows and columns swapped."""
    picture = torch.rand(1, 3, 16, 16)
    ours = BlockTransform(16, 16, 8).analyse(picture)[0, :, 0, 0].detach().numpy()
    theirs = dctn(picture[0].numpy(), axes=(1, 2), norm="ortho")
    expected = [theirs[component, v, u] for component, v, u in kept_coefficients(16, 16, 8)]
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_basis_is_orthonormal():
    """Catches a synthesis that is not the inverse of the analysis."""
    basis = block_dct_basis(8, 8, 4).flatten(1)
    torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis)), atol=1e-6, rtol=0)


def test_luma_comes_back_whole():
    """Catches coefficients lost on the way: luma keeps all of them."""
    transform = BlockTransform(16, 16, 8)
    picture = torch.zeros(2, 3, 32, 48)
    picture[:, 0] = torch.rand(2, 32, 48) - 0.5
    patches = transform.synthesise(transform.analyse(picture))
    torch.testing.assert_close(planar(patches, 16), picture, atol=1e-5, rtol=0)


def test_an_unknown_start_is_refused():
    """Catches a typing error that silently trains from another start."""
    with pytest.raises(CodecError, match="'dct' or 'random'"):
        BlockTransform(start="wavelet")
