import re
from collections.abc import Callable

import pytest
import torch
from small_codec import CONF, build, moving_clip
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import register_parametrization
from torch.utils.flop_counter import FlopCounterMode

from codec.entropy.coding.symbol_coder import SymbolEncoder
from codec.errors import CodecError
from codec.evaluation.complexity.job import ComplexityJob
from codec.evaluation.complexity.profiler import (
    Complexity,
    Ledger,
    booked,
    header_line,
    measure_complexity,
    parts_of,
    total,
)
from codec.video import VideoCodec

HEADER = re.compile(r"^# Parameters: .*\(predicted frame, (\d+)x(\d+)\)$", re.MULTILINE)
NAMED = {
    path.stem: found
    for path in CONF.glob("codec/*.yaml")
    if (found := HEADER.search(path.read_text()))
}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_codecs_header_is_what_is_counted(name: str):
    """Catches a header that a change of the networks has left behind.

    `corvid complexity codec=NAME size=WxH precision=fp32` prints it; in bf16 other blocks are
    chosen, which are counted.
    """
    size = (int(NAMED[name][1]), int(NAMED[name][2]))
    job = ComplexityJob((f"codec={name}",), size=size, repeats=0, precision="fp32")
    assert header_line(job.run()) == NAMED[name][0]


X = torch.ones(2, 6, 8, 10)


@pytest.mark.parametrize(
    "operation, expected",
    [
        (lambda: F.conv2d(X, torch.ones(12, 6, 1, 1)), 160 * 12 * 6),
        (lambda: F.conv2d(X, torch.ones(12, 2, 3, 3), padding=1, groups=3), 160 * 12 * 2 * 9),
        (lambda: F.conv2d(X.double(), torch.ones(4, 6, 2, 2).double(), stride=2), 40 * 4 * 6 * 4),
        (lambda: F.conv_transpose2d(X, torch.ones(6, 5, 3, 3), stride=2), 160 * 6 * 5 * 9),
        (
            lambda: F.conv_transpose2d(X, torch.ones(6, 5, 3, 3), stride=2, groups=2),
            160 * 6 * 5 * 9,
        ),
        (lambda: F.linear(torch.ones(2, 7, 3), torch.ones(4, 3), torch.ones(4)), 2 * 7 * 3 * 4),
        (lambda: torch.ones(2, 5, 3) @ torch.ones(2, 3, 4), 2 * 5 * 3 * 4),
        (
            lambda: torch.einsum("bij,bjk->bik", torch.ones(2, 5, 3), torch.ones(2, 3, 4)),
            2 * 5 * 3 * 4,
        ),
        (lambda: F.grid_sample(X, torch.zeros(2, 8, 10, 2), align_corners=True), 0),
    ],
)
def test_the_counter_counts_multiplications(operation: Callable[[], torch.Tensor], expected: int):
    """Catches a torch whose counter forgets groups or transposition, or is blind in
    inference mode.
    """
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        operation()
    assert counter.get_total_flops() == 2 * expected


def test_a_network_counted_by_hand():
    """Catches operations on the wrong account, and pixels of another size."""
    codec = build("motion=implicit", "motion.depth=1", "width=4")
    found = measure_complexity(codec, moving_clip(3, 48, 64), repeats=0).predicted
    to_eighth, mix, back = 3 * 64 * 4, 4 * 4, 4 * 3 * 64
    block = 4 * 12 + 12 * 9 + 6 * 4
    expected = (to_eighth + mix + block + back) / 64 / 1000
    assert found.encoding["motion networks"].kmac_per_pixel == pytest.approx(expected)
    assert found.decoding["motion networks"].kmac_per_pixel == pytest.approx(expected)


@pytest.fixture(scope="module")
def measured(codec: VideoCodec) -> Complexity:
    """The small codec, measured on frames that are padded; wrappers must not stay behind."""
    before = {name: set(vars(module)) for name, module in codec.named_modules()}
    found = measure_complexity(codec, moving_clip(3, 40, 50), repeats=1)
    assert {name: set(vars(module)) for name, module in codec.named_modules()} == before
    return found


def test_parts_add_up(measured: Complexity, codec: VideoCodec):
    """Catches work or parameters on no account or on two."""
    assert sum(measured.parameters.values()) == sum(p.numel() for p in codec.parameters())
    names = {
        f"{owner} {kind}"
        for owner in ("intra", "motion", "residual")
        for kind in ("networks", "entropy")
    }
    assert set(measured.parameters) == names
    for frame in (measured.intra, measured.predicted):
        for costs in (frame.encoding, frame.decoding):
            assert (
                total(costs).milliseconds
                == pytest.approx(sum(cost.milliseconds for cost in costs.values()))
                != 0
            )
            assert costs["other"].kmac_per_pixel == costs["entropy coder"].kmac_per_pixel == 0


def test_directions_and_padding_are_told_apart(measured: Complexity):
    """Catches decoding that analyses or searches, padding left out of the cost, and symbols of
    another size.
    """
    encoding, decoding = measured.predicted.encoding, measured.predicted.decoding
    assert (
        "motion search" in encoding
        and "motion search" not in decoding
        and "motion warping" in decoding
    )
    assert (
        encoding["residual networks"].kmac_per_pixel
        > decoding["residual networks"].kmac_per_pixel
        > 0
    )
    by_hand = 2 * 384 * 3 * 256 / 256 / 1000  # the DCT pair alone, had there been no padding
    assert encoding["residual networks"].kmac_per_pixel > by_hand * (48 * 64) / (40 * 50)
    shown = [part for part in parts_of(measured.predicted) if part.startswith("motion")]
    assert shown == ["motion search", "motion networks", "motion warping", "motion entropy"]
    kinds = [kind for kind in measured.predicted.coded if kind.startswith("motion")]
    assert kinds == ["motion.split", "motion.mode", "motion.vector"]
    for frame, component in ((measured.predicted, "residual"), (measured.intra, "intra")):
        assert frame.coded[component] + frame.skipped[component] == 384 * (48 // 16) * (64 // 16)


def test_weights_made_of_weights_are_no_hindrance():
    """Catches a counter that waits for gradients of parameters that are a module's input (GDN), and
    weights left frozen.
    """
    codec = build("motion=implicit", "width=4")
    register_parametrization(codec.motion.context.before, "weight", nn.Identity())
    measure_complexity(codec, moving_clip(3, 16, 16), repeats=0)
    assert all(parameter.requires_grad for parameter in codec.parameters())


def test_the_total_is_all_that_the_counter_saw(codec: VideoCodec):
    """Catches a stretch of work that is booked nowhere."""
    frame, index = moving_clip(1, 32, 32).float() / 255, torch.tensor([20])
    writer = SymbolEncoder()
    with (
        torch.inference_mode(),
        FlopCounterMode(display=False) as counter,
        booked(codec, writer, counter.get_total_flops) as ledger,
    ):
        codec.code_frame(frame, None, (32, 32), index, writer)
    assert sum(ledger.spent.values()) == counter.get_total_flops() > 0


def test_a_ledger_gives_each_stretch_to_the_innermost_part():
    """Catches time counted twice where parts lie within parts."""
    clock = iter([0, 1, 3, 7, 15])
    ledger = Ledger(lambda: next(clock))
    with ledger.part("outer"), ledger.part("inner"):
        pass
    assert ledger.spent == {"other": 1, "outer": 2 + 8, "inner": 4}


def test_what_cannot_be_measured_is_refused(codec: VideoCodec):
    """Catches a failure deep inside a network."""
    with pytest.raises(CodecError, match=r"\(3, 3, H, W\) expected"):
        measure_complexity(codec, moving_clip(2, 32, 32))
    with pytest.raises(CodecError, match="repeats: -1 given"):
        measure_complexity(codec, moving_clip(3, 32, 32), repeats=-1)
