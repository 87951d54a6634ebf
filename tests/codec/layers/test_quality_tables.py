import torch

from codec.layers.quality import KNOTS, QualityGain, QualityTable, computed_once, step_ladder


def test_a_table_gives_its_start_at_the_knots_and_lines_between():
    """Catches an index off by one at either end of the range."""
    table = QualityTable(1, torch.arange(float(KNOTS))[:, None])
    quality = torch.tensor([0, 63, 21])
    torch.testing.assert_close(table(quality)[:, 0, 0, 0], quality * (KNOTS - 1) / 63)


def test_every_quality_of_a_batch_gets_its_own_row():
    """Catches one quality for the whole batch, which does not train (DCVC #92)."""
    gain = QualityGain(2, step_ladder(72, 6).log())
    together = gain(torch.tensor([3, 50]))
    torch.testing.assert_close(together[1:], gain(torch.tensor([50])))
    assert together[0, 0] > together[1, 0] > 0


def test_what_is_made_without_gradients_is_not_kept_for_those_who_want_them():
    """Catches a table that no gradient reaches, as an encoder's decision asked for it first."""
    table, quality = QualityTable(3, torch.zeros(3)), torch.tensor([5])
    with computed_once(table):
        with torch.no_grad():
            assert not table(quality).requires_grad
        assert table(quality).requires_grad and table(quality) is table(quality)
