import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from codec.entropy.coding.laplace import LaplaceModel
from codec.entropy.coding.symbol_coder import RateEstimator, SymbolDecoder, SymbolEncoder
from codec.entropy.models.base import EntropyNetwork
from codec.entropy.models.checkerboard import CheckerboardEntropy
from codec.entropy.models.hyperprior import Hyperprior
from codec.entropy.models.integer_layers import (
    BoundedBlock,
    Exact,
    ExactTable,
    IntegerConv,
    bounded,
    exact_product,
    freeze_exact,
    rounded_once,
    set_rounding,
    weight_grid,
)
from codec.errors import CodecError
from codec.layers.quality import QualityTable


def shaken(network: EntropyNetwork) -> EntropyNetwork:
    """`network`, frozen, in which every path matters."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    freeze_exact(network.eval())
    return network


@contextmanager
def settings(threads: int, onednn: bool, autocast: bool, matmul: str) -> Iterator[None]:
    """Global settings that must not matter."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(matmul)
    try:
        with (
            torch.backends.mkldnn.flags(enabled=onednn),
            torch.autocast("cpu", torch.bfloat16, enabled=autocast),
        ):
            yield
    finally:
        torch.set_num_threads(before)
        torch.set_float32_matmul_precision("highest")


@torch.inference_mode()
@pytest.mark.parametrize("kind", [CheckerboardEntropy, Hyperprior])
@pytest.mark.parametrize("channels", [6, 96])
def test_what_one_setting_writes_every_other_reads(kind: type[EntropyNetwork], channels: int):
    """Catches float arithmetic on the way to a table or a mean: these settings round float sums
    differently.
    """
    network = shaken(kind(channels))
    latent, previous = (
        torch.randn(1, channels, 9, 11) * 5,
        torch.randn(1, channels, 9, 11).mul(40).round() / 16,
    )
    quality = torch.tensor([29])
    writer = SymbolEncoder()
    with settings(1, True, False, "highest"):
        sent = network.code("a", latent, (9, 11), quality, writer, previous)
    payload = writer.finish_frame()
    for others in [
        (2, True, False, "highest"),
        (1, False, False, "medium"),
        (2, True, True, "medium"),
    ]:
        for layout in (torch.contiguous_format, torch.channels_last):
            moved = network.to(memory_format=layout)
            with settings(*others):
                reader = SymbolDecoder(payload)
                got = moved.code(
                    "a", None, (9, 11), quality, reader, previous.contiguous(memory_format=layout)
                )
            reader.finish_frame()
            assert torch.equal(got, sent)


@torch.inference_mode()
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_layer_is_integer_arithmetic(kernel: int):
    """Catches a sum that float32 does not hold: the same in int64."""
    layer = IntegerConv(40, 40, kernel).eval()
    values = torch.randint(-127, 128, (2, 40, 6, 5)).float()
    weight, bias = layer.rounded()
    whole = (weight * 512).round()
    assert torch.equal(whole, weight * 512) and torch.equal((bias * 8192).round(), bias * 8192)
    taps = nn.functional.conv2d(
        values.long(), whole.long(), padding=kernel // 2, groups=layer.groups
    )
    sums = taps + (bias * 8192).long()[:, None, None]
    assert torch.equal(layer(values), (sums.double() / 512).round().float())


@torch.inference_mode()
@pytest.mark.parametrize("kernel", [1, 3])
def test_what_is_multiplied_fits_tf32_and_bfloat16(kernel: int):
    """Catches operands that a kernel which shortens them would change: seven bits, where they keep
    eight or eleven.
    """
    layer = IntegerConv(40, 40, kernel).eval()
    layer.weight.mul_(torch.logspace(-6, 3, 40).view(-1, 1, 1, 1))
    for operand in (layer.rounded()[0], bounded(torch.arange(-300.0, 300).round())):
        assert torch.equal(operand.bfloat16().float(), operand)
        assert torch.equal((operand.view(torch.int32) >> 13 << 13).view(torch.float32), operand)


@torch.inference_mode()
def test_exact_networks_compute_in_plain_float32(monkeypatch: pytest.MonkeyPatch):
    """Catches a layer that runs with TF32 or autocast because the training around it does."""
    seen = []
    original = IntegerConv.sums

    def watched(layer: IntegerConv, values: torch.Tensor) -> torch.Tensor:
        seen.append((torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu")))
        return original(layer, values)

    monkeypatch.setattr(IntegerConv, "sums", watched)
    for kind in (CheckerboardEntropy, Hyperprior):
        network = shaken(kind(6))
        with settings(1, True, True, "high"):
            network.code(
                "a", torch.randn(1, 6, 9, 11), (9, 11), torch.tensor([29]), SymbolEncoder()
            )
    assert len(seen) > 10 and set(seen) == {("highest", False)}


def test_rounding_weights_twice_is_rounding_them_once():
    """Catches frozen weights that are not those that streams were written with."""
    layer = IntegerConv(5, 7).eval()
    with torch.no_grad():
        layer.weight.mul_(torch.tensor([1e-9, 0.003, 0.1, 1.0, 30.0, 3.99, 0]).view(-1, 1, 1, 1))
    first = layer.rounded()[0]
    layer.freeze("layer")
    layer.frozen = False
    assert torch.equal(layer.rounded()[0], first)
    grid = weight_grid(layer.weight)
    assert (
        (layer.weight * grid).abs().max() <= 127
        and torch.equal(grid, 2.0 ** grid.log2().round())
        and grid.max() <= 512
    )


def test_sums_that_could_grow_too_large_are_refused_by_name():
    """Catches weights whose partial sums float32 rounds: the order of adding would decide."""
    network = CheckerboardEntropy(8)
    with torch.no_grad():
        network.second.blocks[0].project.weight.fill_(20.0)
    with pytest.raises(
        CodecError,
        match=r"second\.blocks\.0\.project: sums of up to .* exact arithmetic holds 16384",
    ):
        freeze_exact(network)


def test_roots_are_far_from_the_middle():
    """Catches companded values that the last bit of a device's root decides."""
    for n in range(1, 127**2 // 16 + 32):
        root = 4 * math.sqrt(n)
        assert abs(root - math.floor(root) - 0.5) > 9e-4


@torch.inference_mode()
def test_tables_follow_the_float_ones():
    """Catches whole-number interpolation between other knots, and halves that round apart."""
    table = ExactTable(3, torch.zeros(3)).eval()
    nn.init.normal_(table.moved, std=0.3)
    quality = torch.arange(64)
    wanted = QualityTable.values_at(table, quality) * 16
    got = table(quality)
    assert torch.equal(got, got.round()) and (got - wanted).abs().max() <= 1.001


def test_training_with_rounding_computes_what_is_coded():
    """Catches a training path that drifts from the stream's, and rounding that no
    gradient passes.
    """
    torch.manual_seed(0)
    block = BoundedBlock(8)
    values = torch.randint(-127, 128, (1, 8, 4, 4)).float().requires_grad_()
    coded = block.eval()(values)
    floating = block.train()(values)
    set_rounding(block, True)
    rounded = block(values)
    assert torch.equal(rounded, coded) and not torch.equal(floating, coded)
    rounded.square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in block.parameters())


def test_persistence_is_a_product_of_whole_numbers():
    """Catches last vectors scaled in floating point."""
    module = type("Module", (Exact, nn.Module), {})().eval()
    factor, values = torch.tensor([0.7503, -5.0]), torch.tensor([3.0625, -100.0]).view(1, 2, 1, 1)
    got = exact_product(factor, values, module).flatten()
    assert got.tolist() == [round(49 * 48 / 64), round(1600 * 127 / 64)]


@torch.inference_mode()
def test_what_the_smallest_scales_call_certain_is_not_coded():
    """Catches symbols paid for where every value is its mean, and a receiver that expects them."""
    network = shaken(CheckerboardEntropy(6))
    network.base.start.fill_(-2.0)
    latent, writer, estimate = (
        torch.randn(1, 6, 5, 5) * 9,
        SymbolEncoder(),
        RateEstimator(hard=True),
    )
    sent = network.code("a", latent, (5, 5), torch.tensor([3]), writer)
    assert torch.equal(network.code("a", latent, (5, 5), torch.tensor([3]), estimate), sent)
    assert float(estimate.bits["a"]) == 0
    assert torch.equal(
        network.code("a", None, (5, 5), torch.tensor([3]), SymbolDecoder(writer.finish_frame())),
        sent,
    )


def test_kernels_are_the_tensor_expressions():
    """Catches CPU kernels that round or limit otherwise than what they stand for."""
    block, values = BoundedBlock(2).expand.eval(), torch.randint(-40000, 40000, (2, 3, 20, 30)) / 16
    assert torch.equal(block.companded(values), block.companded(values.clone().requires_grad_()))
    index = torch.rand(2, 3, 20, 30) * 63
    for lowest in (0, 7):
        by_tensors = LaplaceModel(values, index.clone().requires_grad_(), lowest).indexes
        assert (
            torch.equal(LaplaceModel(values, index, lowest).indexes, by_tensors)
            and by_tensors.dtype == torch.int8
        )


def test_weights_are_rounded_anew_after_an_update():
    """Catches rounded weights that outlive an optimizer's step: a fused one does not say that it
    changed them.
    """
    torch.manual_seed(0)
    layer, values = IntegerConv(4, 4).train(), torch.arange(16.0).view(1, 4, 2, 2)
    layer.rounding = True
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
    for _ in range(2):
        with rounded_once(layer):
            layer(values)
            assert layer.rounded()[0].data_ptr() == layer.rounded()[0].data_ptr()
            layer(values).square().sum().backward()
        optimizer.step()
        assert (layer.rounded()[0] - layer.weight).abs().max() < 0.01
