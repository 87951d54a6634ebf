import pytest
import torch

from codec.entropy.coding.symbol_coder import RateEstimator, SymbolDecoder, SymbolEncoder
from codec.entropy.models.intra_modes import MODES, IntraModeEntropy, mode_tree

QUALITY = torch.tensor([33])


def network() -> IntraModeEntropy:
    """Kinds of 6, zero-started layers shaken so that every input matters."""
    torch.manual_seed(0)
    made = IntraModeEntropy(6, width=16).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def maps(tall: int, wide: int) -> torch.Tensor:
    """Random ones; the cells of a unit that is not split are alike."""
    torch.manual_seed(tall * wide)
    split = torch.randint(0, 2, (1, 1, tall, wide))
    modes = torch.randint(0, MODES, (1, 4, tall, wide))
    modes = torch.where(split == 1, modes, modes[:, :1])
    return torch.cat([split, modes, torch.randint(0, 6, split.shape)], 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 1), (5, 6)])
def test_symbols_are_read_as_written(size: tuple[int, int]):
    """Catches a pass that sees what its reader does not have yet, or cells in another order."""
    coder, given, writer = network(), maps(*size), SymbolEncoder()
    with torch.no_grad():
        coder.code("intra", given, size, QUALITY, writer)
        reader = SymbolDecoder(writer.finish_frame())
        read = coder.code("intra", None, size, QUALITY, reader)
        reader.finish_frame()
        symbol_coder = RateEstimator(hard=True)
        estimated = coder.code("intra", given, size, QUALITY, symbol_coder)
    assert torch.equal(read, given.float()) and torch.equal(estimated, given.float())


def test_every_symbol_is_told_with_its_bits():
    """Catches prices learned from the wrong entries, and symbols that are counted twice."""
    coder, given, symbol_coder, heard = network(), maps(4, 6), RateEstimator(), {}

    def note(kind: str, entry: torch.Tensor, bits: torch.Tensor, present: torch.Tensor) -> None:
        count, spent = heard.get(kind, (0, 0.0))
        heard[kind] = count + int(present.sum()), spent + float(torch.where(present, bits, 0).sum())
        assert entry[present].max() < {"mode": 2 * MODES, "kind": 6, "size": 2}[kind]

    with torch.no_grad():
        coder.code("intra", given, (4, 6), QUALITY, symbol_coder, note=note)
    modes = int(torch.where(given[:, 0] == 1, 4, 1).sum())
    assert {kind: count for kind, (count, _) in heard.items()} == {
        "size": 24,
        "mode": modes,
        "kind": 24,
    }
    for kind, component in (("size", "size"), ("mode", "mode"), ("kind", "chroma")):
        assert heard[kind][1] == pytest.approx(
            float(symbol_coder.bits[f"intra.{component}"]), rel=1e-4
        )


def test_the_tree_holds_every_mode_once():
    """Catches a direction that cannot be said, and ways that grow long."""
    tree = mode_tree()
    ways = {
        tuple(zip(nodes, turns, strict=True))
        for nodes, turns in zip(tree.nodes.tolist(), tree.turns.tolist(), strict=True)
    }
    assert len(ways) == MODES == len(tree.nodes) and tree.depth <= 7


def test_autocast_changes_no_bit():
    """Catches a head that is computed in bfloat16 or TF32: streams would not decode elsewhere."""
    coder, given, bits = network(), maps(5, 6), []
    for lower in (False, True):
        symbol_coder = RateEstimator(hard=True)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=lower):
            coder.code("intra", given, (5, 6), QUALITY, symbol_coder)
        bits.append(sum(symbol_coder.bits.values()))
    assert torch.equal(*bits)
