from pathlib import Path

import psutil
import pytest
import torch

from codec.device import (
    accelerators,
    default_device,
    device_name,
    driver,
    exact_arithmetic,
    measure_peak,
    memory_peak,
    memory_total,
    seconds_of,
    set_tf32,
)

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


def test_one_file_names_the_device():
    """Catches code that would run on one kind of accelerator alone."""
    own = [
        path for name in ("codec", "data", "benchmarks") for path in (ROOT / name).rglob("*.py")
    ] + list(ROOT.glob("*.py"))
    assert len(own) > 100
    assert [path.relative_to(ROOT).as_posix() for path in own if "cuda" in path.read_text()] == [
        "codec/device.py"
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_without_a_gpu_everything_answers():
    """Catches questions that only work where a GPU is."""
    assert accelerators() == [] and default_device() == CPU and device_name(CPU) == "CPU"
    assert (
        set(driver()) == {"gpus", "driver", "runtime", "cudnn", "nccl"} and driver()["nccl"] == ""
    )
    set_tf32(True)
    assert torch.get_float32_matmul_precision() == "highest"
    assert seconds_of(lambda: 3, CPU)[1] == 3


def test_memory_is_in_bytes():
    """Catches KiB taken for bytes."""
    assert (
        0.9 * psutil.Process().memory_info().rss
        < memory_peak(CPU)
        < memory_total(CPU)
        <= psutil.virtual_memory().total
    )


def test_a_peak_is_what_no_product_passes_and_draws_nothing():
    """Catches a peak counted in multiply-accumulates or milliseconds, and a run that goes on
    otherwise once measured.
    """
    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert 1e8 < measure_peak(CPU, [torch.float32]) < 1e14
    assert torch.equal(torch.get_rng_state(), state)


def test_exact_arithmetic_is_neither_shortened_nor_cast():
    """Catches TF32, cuDNN or autocast inside exact parts, and settings that stay changed behind
    them.
    """
    torch.set_float32_matmul_precision("high")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            with exact_arithmetic(CPU):
                assert (
                    torch.get_float32_matmul_precision() == "highest"
                    and not torch.is_autocast_enabled("cpu")
                )
                assert torch.backends.cudnn.enabled
            assert torch.get_float32_matmul_precision() == "high" and torch.is_autocast_enabled(
                "cpu"
            )
        with pytest.raises(KeyError), exact_arithmetic(torch.device("cuda")):
            assert not torch.backends.cudnn.enabled
            raise KeyError
        assert torch.backends.cudnn.enabled and torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
