import pytest
import torch

from codec.entropy.coding.categorical import (
    LEVELS,
    BinaryModel,
    ClassTree,
    binary_tables,
    class_bits,
    code_classes,
    code_tree,
)
from codec.entropy.coding.symbol_coder import RateEstimator, SymbolDecoder, SymbolEncoder


def decisions(classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Classes `(1, 1, 12, 20)`, log-odds of them, and where there is one."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, 1, 12, 20)
    log_odds = 3 * torch.randn(1, classes - 1, 12, 20, generator=generator)
    return (
        torch.randint(0, classes, shape, generator=generator),
        log_odds,
        torch.rand(shape, generator=generator) > 0.3,
    )


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_classes_are_read_as_written(classes: int):
    """Catches a mask that follows from what the reader does not have yet, and symbols where there
    are none.
    """
    wanted, log_odds, present = decisions(classes)
    writer = SymbolEncoder()
    sent = code_classes("mode", wanted, log_odds, present, writer)
    reader = SymbolDecoder(writer.finish_frame())
    assert torch.equal(code_classes("mode", None, log_odds, present, reader), sent)
    reader.finish_frame()
    assert torch.equal(sent, torch.where(present, wanted, 0))


def test_estimates_are_what_the_coder_spends():
    """Catches noise on decisions, bits of absent symbols, and log-odds with the wrong sign."""
    wanted, log_odds, present = decisions(4)
    writer, hard, soft = SymbolEncoder(), RateEstimator(hard=True), RateEstimator()
    for symbol_coder in (writer, hard, soft):
        code_classes("mode", wanted, log_odds, present, symbol_coder)
    spent = 8 * len(writer.finish_frame())
    assert spent == pytest.approx(float(hard.bits["mode"]), abs=40)
    assert float(soft.bits["mode"]) == pytest.approx(float(hard.bits["mode"]), rel=0.05)
    by_class = torch.where(present, class_bits(wanted, log_odds), 0).sum()
    assert float(by_class) == pytest.approx(float(soft.bits["mode"]), rel=1e-5)


def test_what_is_absent_passes_no_gradient():
    """Catches a network that learns from places where nothing is coded."""
    wanted, log_odds, present = decisions(2)
    log_odds.requires_grad_(True)
    symbol_coder = RateEstimator()
    code_classes("mode", wanted, log_odds, present, symbol_coder)
    symbol_coder.bits["mode"].sum().backward()
    assert not log_odds.grad[~present].any() and log_odds.grad[present].all()


def test_sure_decisions_cost_next_to_nothing():
    """Catches a table too short for content that stands still: thousands of blocks that all do the
    same.
    """
    model = BinaryModel(torch.full((1, 1, 64, 64), -20.0))
    assert float(model.tables.bits_of(torch.zeros(1, 1, 64, 64), model.indexes).sum()) < 3
    assert len(binary_tables().offsets) == LEVELS


TREE = ClassTree.of(((0, 1), (2, ((3, 4), 5))))


def test_trees_are_read_as_written():
    """Catches a way that the reader takes otherwise, and symbols where there are none."""
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randint(0, 6, (2, 3, 5, 7), generator=generator)
    log_odds = 3 * torch.randn(2, 3, 5, 5, 7, generator=generator)
    present = torch.rand(wanted.shape, generator=generator) > 0.3
    for sample in range(2):
        part = slice(sample, sample + 1)
        given = wanted[part], log_odds[part], present[part]
        writer = SymbolEncoder()
        sent, _ = code_tree("mode", *given, TREE, writer)
        reader = SymbolDecoder(writer.finish_frame())
        read, _ = code_tree("mode", None, *given[1:], TREE, reader)
        reader.finish_frame()
        assert torch.equal(read, sent) and torch.equal(sent, torch.where(given[2], given[0], 0))


def test_trees_estimate_what_they_spend():
    """Catches bits of other nodes than those on the way: in order and at once they are the same."""
    torch.manual_seed(0)
    wanted, log_odds = (
        torch.randint(0, 6, (1, 2, 9, 9)),
        0.25 * torch.randint(-20, 20, (1, 2, 5, 9, 9)),
    )
    present = torch.rand(wanted.shape) > 0.3
    symbol_coder, ordered = RateEstimator(), RateEstimator()
    ordered.ordered = True
    classes, bits = code_tree("mode", wanted, log_odds, present, TREE, symbol_coder)
    same, others = code_tree("mode", wanted, log_odds, present, TREE, ordered)
    assert torch.equal(classes, same)
    torch.testing.assert_close(bits, others)
    torch.testing.assert_close(symbol_coder.bits["mode"], bits.sum((1, 2, 3)))
    torch.testing.assert_close(ordered.bits["mode"], bits.sum((1, 2, 3)))


def test_log_odds_of_shares_spend_their_entropy():
    """Catches odds of the wrong side: a tree costs what its classes cost."""
    shares = torch.tensor([0.4, 0.1, 0.2, 0.05, 0.15, 0.1])
    odds = TREE.log_odds_of(shares).view(1, 1, 5, 1, 1)
    for k, share in enumerate(shares):
        present = torch.ones(1, 1, 1, 1, dtype=torch.bool)
        _, bits = code_tree(
            "mode", torch.full((1, 1, 1, 1), k), odds, present, TREE, RateEstimator()
        )
        torch.testing.assert_close(bits.flatten(), -share.log2().view(1))
