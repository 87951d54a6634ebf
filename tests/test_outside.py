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

from codec import registry
from codec.checkpoint import build_codec, load_codec, read_checkpoint
from codec.errors import CodecError
from codec.metrics.spec import MetricSpec
from codec.registry import PLUGINS, register, use_plugins
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
        write_video(
            moving_clip(12, 64, 80 + 16 * k), FPS, folder / "lab" / "clips" / f"clip{k}.mp4"
        )
    return folder


def test_the_page_is_whole():
    """Catches a block that this test no longer finds."""
    assert len(FILES) == PAGE.count("```python") + PAGE.count("```yaml") == 9 and len(COMMANDS) == 1


def test_the_pages_commands_train_and_evaluate_the_labs_network(home: Path):
    """Catches anything that only works from inside: configs, imports, checkpoints, the process that
    decodes.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = os.environ | {"HOME": str(home), "PATH": path}
    done = subprocess.run(
        ["bash", "-euc", COMMANDS[0]], cwd=ROOT, env=own, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trained 4 steps" in done.stdout
    run = home / "lab" / "runs" / "check"
    assert "type: charbonnier" in (run / "config.yaml").read_text()
    content = read_checkpoint(run)
    built = {
        part: content["codec_config"][part]["type"] for part in ("motion", "residual", "entropy")
    }
    assert list(built.values()) == ["global_shift", "linear_residual", "scale_by_quality"]
    assert '"val/charbonnier"' in (run / "metrics.jsonl").read_text()
    assert content["plugins"] == ["mylab"]
    with pytest.raises(
        CodecError, match="comes with mylab, and a file imports nothing.*plugins=.mylab"
    ):
        load_codec(run)  # this process was not told to import it
    points = json.loads((run / "evaluation" / "rd.json").read_text())["points"]
    assert {(point["codec"], point["clip"]) for point in points} == {
        ("global_shift", "clip0"),
        ("global_shift", "clip1"),
    }


def test_the_pages_network_finds_a_shift(home: Path):
    """Catches an example that moves the wrong way."""
    spec = importlib.util.spec_from_file_location(
        "page_motion", home / "lab" / "mylab" / "motion.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.GlobalShift.__new__(module.GlobalShift)
    reference = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    found: Tensor = network.estimate_motion(reference.roll((5, -3), (-2, -1)), reference)
    assert found.flatten().tolist() == [3, -5]


def test_a_package_that_is_not_found_is_one_line(monkeypatch: pytest.MonkeyPatch):
    """Catches pages of traceback where PYTHONPATH or the plugin was forgotten."""
    monkeypatch.delenv(PLUGINS, raising=False)
    with pytest.raises(
        CodecError, match="plugins: no_such_lab cannot be imported.*PYTHONPATH"
    ) as error:
        use_plugins(["no_such_lab"])
    assert "\n" not in str(error.value) and PLUGINS not in os.environ
    for key in ("_target_", "type"):
        with pytest.raises(
            CodecError, match=f"codec.{key}: .*GlobalShift' is not a registered network.*plugins="
        ):
            build_codec({key: "no_such_lab.motion.GlobalShift"})
    with pytest.raises(CodecError, match="plugins: 'a b' given; the name of a Python package"):
        use_plugins(["a b"])


def test_names_from_outside(monkeypatch: pytest.MonkeyPatch):
    """Catches a plugin that takes a name of ours or of another plugin, and old files of a lab's
    class that its name forgets.
    """
    monkeypatch.setitem(registry._OWN, "network", {})
    monkeypatch.setitem(registry._PATHS, "network", {})
    register("network", "our_zero", "codec.motion.baselines:StillMotion")
    register("network", "our_zero", "codec.motion.baselines:StillMotion")
    assert registry.find("network", "our_zero").load().__name__ == "StillMotion"
    for name, owner in (
        ("block_matching", "Corvid"),
        ("two_step", "Corvid"),
        ("our_zero", "codec"),
    ):
        with pytest.raises(CodecError, match=f"{name}' is taken by {owner}; choose another"):
            register("network", name, "mylab.motion:Other")
    register("network", "global_shift", "mylab.motion:GlobalShift")
    assert registry.find("network", "mylab.motion.GlobalShift").name == "global_shift"
    with pytest.raises(CodecError, match="mylab.motion.GlobalShift cannot be imported"):
        registry.build("network", {"_target_": "mylab.motion.GlobalShift"}, "codec")
    for kind, name, target in (
        ("networks", "a", "b:c"),
        ("network", "A", "b:c"),
        ("network", "a", "b.c"),
    ):
        with pytest.raises(CodecError, match="register: .* given"):
            register(kind, name, target)

    @register("network", "decorated")
    class Decorated:
        pass

    assert registry.find("network", "decorated").load() is Decorated


@pytest.mark.parametrize("kind", registry._BUILT_IN)
def test_every_name_is_of_something(kind: str):
    """Catches a table that a renamed module or class was forgotten in, and an alias of nothing."""
    for name in registry._BUILT_IN[kind]:
        found = registry.find(kind, name).load()
        assert callable(found) or isinstance(found, MetricSpec), name
    for name in registry._ALIASES.get(kind, {}):
        assert registry.find(kind, name) is not None, name
