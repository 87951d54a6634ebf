from pathlib import Path

import pytest
import torch

from codec import device, precision
from codec.device import multiplies_bf16, multiplies_bf16_in_tiles
from codec.errors import CodecError
from codec.precision import fastest_precision, measure_precisions, resolve_precision, slower_here

CPU = torch.device("cpu")


def pretend(
    patch: pytest.MonkeyPatch,
    amx: bool = False,
    avx512: bool = False,
    capability: str = "AVX512",
    limit: str = "",
) -> None:
    """A processor as torch sees it."""
    patch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    patch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    patch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    patch.setenv("ONEDNN_MAX_CPU_ISA", limit)


@pytest.mark.parametrize(
    "processor, wanted",
    [
        ({"avx512": True}, True),
        ({"amx": True}, True),
        ({}, False),
        ({"avx512": True, "limit": "ALL"}, True),
        ({"amx": True, "avx512": True, "limit": "avx512_core_bf16"}, True),
        ({"amx": True, "avx512": True, "limit": "avx512_core"}, False),
        ({"avx512": True, "limit": "AVX2"}, False),
        ({"avx512": True, "capability": "AVX2"}, False),
        ({"avx512": True, "capability": "DEFAULT"}, False),
    ],
)
def test_what_the_processor_can_is_less_what_the_environment_takes(
    processor: dict, wanted: bool, monkeypatch: pytest.MonkeyPatch
):
    """Catches an imitated machine that is taken for the one it runs on, and a limit that takes
    nothing away.
    """
    pretend(monkeypatch, **processor)
    assert multiplies_bf16(CPU) == wanted
    assert fastest_precision(CPU) == ("bf16" if wanted else "fp32")


@pytest.mark.parametrize(
    "processor, wanted",
    [
        ({"avx512": True}, False),
        ({"amx": True, "avx512": True}, True),
        ({"amx": True, "avx512": True, "limit": "avx512_core_amx"}, True),
        ({"amx": True, "avx512": True, "limit": "avx512_core_bf16"}, False),
        ({"amx": True, "capability": "AVX2"}, False),
    ],
)
def test_tiles_are_less_what_the_environment_takes(
    processor: dict, wanted: bool, monkeypatch: pytest.MonkeyPatch
):
    """Catches AMX where the processor or the environment has none: training would be slower than in
    float32.
    """
    pretend(monkeypatch, **processor)
    assert multiplies_bf16_in_tiles(CPU) == wanted


@pytest.mark.parametrize(
    "flags, wanted",
    [("fpu avx2 avx512f avx512_bf16", True), ("amx_bf16", True), ("fpu avx512f", False)],
)
def test_an_older_torch_is_not_asked(
    flags: str, wanted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Catches a question that this torch does not know, and a flag that only begins like the one
    meant.
    """
    pretend(monkeypatch)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    info = tmp_path / "cpuinfo"
    info.write_text(f"flags : {flags}\n")
    monkeypatch.setattr(device, "Path", lambda path: info)
    assert multiplies_bf16(CPU) == wanted


def test_names():
    """Catches auto that stays auto, and a misspelt name taken for float32."""
    assert (
        resolve_precision("auto", CPU) == fastest_precision(CPU)
        and resolve_precision("fp16", CPU) == "fp16"
    )
    with pytest.raises(
        CodecError, match="precision: 'stream' given; choose from auto, fp32, bf16, fp16"
    ):
        resolve_precision("stream", CPU, "precision")
    assert fastest_precision(torch.device("mps")) == "fp32"


def test_a_measurement_draws_and_keeps_nothing():
    """Catches a run that goes on otherwise because it was measured, and precisions that are not
    measured.
    """
    state = torch.get_rng_state()
    seconds = measure_precisions(CPU, "fp32", "bf16")
    assert set(seconds) == {"fp32", "bf16"} and min(seconds.values()) > 0
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "computed_in, has_bf16, seconds, said",
    [
        ("bf16", True, {"bf16": 1.0, "fp32": 2.0}, ""),
        ("bf16", True, {"bf16": 1.4, "fp32": 1.0}, ""),
        ("bf16", True, {"bf16": 3.0, "fp32": 1.0}, "3.0 times as long in bf16 as in fp32"),
        ("fp32", False, {"bf16": 17.0, "fp32": 1.0}, ""),
        ("fp32", False, {"bf16": 1.0, "fp32": 2.0}, "2.0 times as long in fp32 as in bf16"),
        ("bf16", False, {"bf16": 17.0, "fp32": 1.0}, "17.0 times as long in bf16 as in fp32"),
        ("fp32", True, {"bf16": 1.0, "fp32": 2.5}, "2.5 times as long in fp32 as in bf16"),
    ],
)
def test_what_is_slow_here_is_said(
    computed_in: str,
    has_bf16: bool,
    seconds: dict[str, float],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
):
    """Catches a slow choice that nothing says, a warning of noise, and a measurement
    that decides.
    """
    monkeypatch.setattr(precision, "multiplies_bf16", lambda device: has_bf16)
    monkeypatch.setattr(
        precision,
        "measure_precisions",
        lambda device, *names: {name: seconds[name] for name in names},
    )
    text = slower_here.__wrapped__(computed_in, CPU)
    assert said in text and bool(text) == bool(said)
    assert fastest_precision(CPU) == ("bf16" if has_bf16 else "fp32")
