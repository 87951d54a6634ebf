"""Follows docs/adding_a_network.md: its files, its commands."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_codec import FPS, moving_clip
from torch import Tensor

from codec.checkpoint import build_codec, read_checkpoint
from codec.errors import CodecError
from data.io.writer import write_video

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "adding_a_network.md").read_text()
FILES = re.findall(r"`~/(lab/\S+)`:\n\n```(?:python|yaml)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with the page's files and two clips."""
    folder = tmp_path_factory.mktemp("home")
    for name, content in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    for k in range(2):
        write_video(moving_clip(12, 64, 80 + 16 * k), FPS, folder / "lab" / "clips" / f"clip{k}.mp4")
    return folder


def test_the_page_is_whole():
    """Catches a block that this test no longer finds."""
    assert len(FILES) == PAGE.count("```python") + PAGE.count("```yaml") == 4 and len(COMMANDS) == 1


def test_the_pages_commands_train_and_evaluate_the_labs_network(home: Path):
    """Catches anything that only works from inside: configs, imports, checkpoints, the process that decodes."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = os.environ | {"HOME": str(home), "PATH": path}
    done = subprocess.run(["bash", "-euc", COMMANDS[0]], cwd=ROOT, env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trained 4 steps" in done.stdout
    run = home / "lab" / "runs" / "check"
    assert "_target_: mylab.losses.Charbonnier" in (run / "config.yaml").read_text()
    assert read_checkpoint(run)["codec_config"]["motion"]["_target_"] == "mylab.motion.GlobalShift"
    points = json.loads((run / "evaluation" / "rd.json").read_text())["points"]
    assert {(point["codec"], point["clip"]) for point in points} == {("global_shift", "clip0"), ("global_shift", "clip1")}


def test_the_pages_network_finds_a_shift(home: Path):
    """Catches an example that moves the wrong way."""
    spec = importlib.util.spec_from_file_location("page_motion", home / "lab" / "mylab" / "motion.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.GlobalShift.__new__(module.GlobalShift)
    reference = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    found: Tensor = network.estimate_motion(reference.roll((5, -3), (-2, -1)), reference)
    assert found.flatten().tolist() == [3, -5]


def test_a_package_that_is_not_found_is_one_line():
    """Catches Hydra's pages where PYTHONPATH was forgotten."""
    with pytest.raises(CodecError, match="No module named 'no_such_lab'.*PYTHONPATH") as error:
        build_codec({"_target_": "no_such_lab.motion.GlobalShift"})
    assert "\n" not in str(error.value)
