import torch

from codec.layers.gain import QualityTable
from codec.layers.once import computed_once


def test_what_is_made_without_gradients_is_not_kept_for_those_who_want_them():
    """Catches a table that no gradient reaches, as an encoder's decision asked for it first."""
    table, quality = QualityTable(3, torch.zeros(3)), torch.tensor([5])
    with computed_once(table):
        with torch.no_grad():
            assert not table(quality).requires_grad
        assert table(quality).requires_grad and table(quality) is table(quality)
