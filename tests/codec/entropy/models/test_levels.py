import pytest
import torch

from codec.entropy.coding.symbol_coder import (
    RateEstimator,
    SymbolDecoder,
    SymbolEncoder,
    SymbolModel,
)
from codec.entropy.models.levels import LevelEntropy
from codec.errors import CodecError

QUALITY = torch.tensor([20])
GROUPS = [
    [5, 95, 3],
    [k for k in range(96) if k % 2 and k not in (5, 95, 3)],
    list(range(0, 96, 2)),
]


def network() -> LevelEntropy:
    """Of 96 channels, zero-started layers shaken so that every input matters."""
    torch.manual_seed(0)
    made = LevelEntropy(96, GROUPS, known=3, hyper=4, width=16).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return made


def inputs(tall: int, wide: int) -> dict[str, torch.Tensor]:
    """What both sides know."""
    torch.manual_seed(tall + wide)
    known = torch.randint(-3, 4, (tall * wide, 2))
    return {"known": known, "split": torch.rand(1, 1, tall, wide) > 0.5}


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (5, 6)])
def test_levels_are_read_as_they_are(size: tuple[int, int]):
    """Catches means, dead zones and skipping: an encoder has already predicted from these very
    values.
    """
    coder, given, writer = network(), inputs(*size), SymbolEncoder()
    levels = torch.randint(-3, 4, (1, 96, *size)).float() * (torch.rand(1, 96, *size) < 0.2)
    levels[0, 5, 0, 0] = 5000
    with torch.no_grad():
        sent = coder.code("intra", levels, size, QUALITY, writer, **given)
        reader = SymbolDecoder(writer.finish_frame())
        read = coder.code("intra", None, size, QUALITY, reader, **given)
        reader.finish_frame()
        estimate = coder.code("intra", levels, size, QUALITY, RateEstimator(hard=True), **given)
        trained = coder.train().code("intra", levels, size, QUALITY, RateEstimator(), **given)
    for values in (sent, read, estimate, trained):
        assert torch.equal(values, levels)


def test_bits_reach_every_parameter_and_no_level():
    """Catches a network that is cut off, and gradients into what the encoder has decided."""
    coder, symbol_coder = network().train(), RateEstimator()
    levels = torch.randint(-2, 3, (1, 96, 6, 5)).float().requires_grad_()
    coder.code("intra", levels, (6, 5), QUALITY, symbol_coder, **inputs(6, 5))
    symbol_coder.bits["intra"].sum().backward(retain_graph=True)
    symbol_coder.bits["intra.hyper"].sum().backward()
    assert not [name for name, parameter in coder.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize("groups", [[[0, 1], [1, 2]], [[0, 1]], [[0, 1, 2], []]])
def test_groups_hold_each_channel_once(groups: list[list[int]]):
    """Catches levels that are not coded, or coded twice."""
    with pytest.raises(CodecError, match="give each of 3 channels once"):
        LevelEntropy(3, groups, known=3)


def test_scales_are_those_that_levels_are_coded_with():
    """Catches an encoder that decides by other prices than it pays."""
    coder, given, seen = network(), inputs(5, 6), []
    levels = torch.randint(-2, 3, (1, 96, 5, 6)).float() * (torch.rand(1, 96, 5, 6) < 0.3)

    class Listener(RateEstimator):
        def code(self, component: str, latent: torch.Tensor, model: SymbolModel) -> torch.Tensor:
            if component == "intra":
                seen.append(model.indexes)
            return super().code(component, latent, model)

    with torch.no_grad():
        coder.code("intra", levels, (5, 6), QUALITY, Listener(hard=True), **given)
        one, four = coder.scales(levels, QUALITY, **given).unbind(1)
    coded = torch.cat(seen, 1)[:, coder.places].view(one.shape)
    assert torch.equal(torch.where(given["split"], four, one), coded)
    assert not torch.equal(one, four) or torch.equal(coder.undivided.start, coder.divided.start)


def test_autocast_changes_no_bit():
    """Catches a head that is computed in bfloat16 or TF32: streams would not decode elsewhere."""
    coder, given, bits = network(), inputs(5, 6), []
    levels = torch.randint(-2, 3, (1, 96, 5, 6)).float()
    for lower in (False, True):
        symbol_coder = RateEstimator(hard=True)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=lower):
            coder.hyper.analysis.forward = lambda latent: torch.zeros(1, 4, 2, 2)
            coder.code("intra", levels, (5, 6), QUALITY, symbol_coder, **given)
        bits.append(symbol_coder.bits["intra"])
    assert torch.equal(*bits)
