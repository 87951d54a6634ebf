import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_example_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Catches a library interface that is not what its page shows."""
    text = (ROOT / "docs" / "coding.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(ROOT)
    exec(compile(example, "docs/coding.md", "exec"), {})
    size, shapes = capsys.readouterr().out.split(" ", 1)
    assert int(size) > 100 and shapes.count("torch.Size([3, 64, 96])") == 4
