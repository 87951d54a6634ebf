import importlib.util
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_a_bit_that_differs_is_found(monkeypatch: pytest.MonkeyPatch):
    """Catches a benchmark that calls two runs identical without having looked at all of them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("resume_kills", BENCHMARKS / "resume_kills.py")
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    one = {"weights": [torch.ones(3), torch.zeros(2)], "step": 3}
    assert (
        list(bench.differences(one, {"weights": [torch.ones(3), torch.zeros(2)], "step": 3})) == []
    )
    other = {"weights": [torch.ones(3), torch.full((2,), 1e-45)], "step": 3}
    assert list(bench.differences(one, other)) == [".weights.1"]
    assert list(bench.differences(one, {"weights": one["weights"], "steps": 3})) == [".step"]
    assert list(bench.differences(one, {"weights": one["weights"][:1], "step": 4})) == [
        ".weights",
        ".step",
    ]
