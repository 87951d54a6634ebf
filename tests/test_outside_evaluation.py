"""Follows docs/adding_a_metric.md and docs/adding_an_anchor.md: their files, their commands."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_codec import FPS, moving_clip

from codec import registry
from codec.anchors import External
from codec.errors import CodecError
from codec.evaluation.measure import Measure
from codec.evaluation.points.cache import stream_key
from codec.metrics import ClipPair, MetricSpec, spec_of
from data.io.source_clip import read_source
from data.io.writer import write_video

ROOT = Path(__file__).parents[1]
FILE = re.compile(r"`~/(lab/\S+)`:\n\n```(?:python|yaml)\n(.*?)```", re.DOTALL)
COMMANDS = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def follow(page: str, files: int, home: Path) -> Path:
    """Make a page's files and two clips in a home folder and run its commands; the folder they
    wrote.
    """
    text = (ROOT / "docs" / page).read_text()
    found, commands = FILE.findall(text), COMMANDS.findall(text)
    assert (
        len(found) == text.count("```python") + text.count("```yaml") == files
        and len(commands) == 1
    )
    for name, content in found:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content)
    for k in range(2):
        clip = moving_clip(3, 64, 81 + 16 * k)[..., : 80 + 16 * k]
        write_video(clip, FPS, home / "lab" / "clips" / f"clip{k}.mkv")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = os.environ | {"HOME": str(home), "PATH": path}
    own.pop(registry.PLUGINS, None)
    command = commands[0].replace("corvid ", "python -m codec.cli ")  # of this checkout
    done = subprocess.run(
        ["bash", "-euc", command], cwd=ROOT, env=own, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return home / "lab"


def test_the_pages_metric_is_scored_compared_and_shown(tmp_path: Path):
    """Catches a metric from outside that one of evaluation, its processes, BD-rate and report does
    not know.
    """
    lab = follow("adding_a_metric.md", files=2, home=tmp_path)
    result = json.loads((lab / "evaluation" / "rd.json").read_text())
    values = [
        point["metrics"]["mae"] for point in result["points"] if point["codec"] == "x265_medium"
    ]
    assert len(values) == 8 and all(0 < value < 20 for value in values)
    assert re.search(r"by mylab [0-9a-f]{16}.*-10 log10", result["conditions"]["metrics"]["mae"])
    rows = json.loads((lab / "evaluation" / "bd_rate.json").read_text())
    assert any(row["metric"] == "mae" and row["bd_rate_percent"] is not None for row in rows)
    assert "Mean absolute error" in (lab / "report" / "report.html").read_text()


def test_the_pages_anchors_stand_in_one_table(tmp_path: Path):
    """Catches a codec of two commands, or of a package, that evaluation cannot code, decode or
    name.
    """
    lab = follow("adding_an_anchor.md", files=4, home=tmp_path)
    result = json.loads((lab / "evaluation" / "rd.json").read_text())
    assert {point["codec"] for point in result["points"]} == {"x265_medium", "deflate", "stored"}
    own = [point for point in result["points"] if point["codec"] == "deflate"]
    assert len(own) == 8
    assert all(
        point["bytes"] == (lab / "evaluation" / point["file"]).stat().st_size for point in own
    )
    settings = result["conditions"]["codecs"]["deflate"]
    assert settings["encode"] == "python deflate.py encode {input} {output} {quality}"
    assert set(settings["files_sha256"]) >= {"deflate.py"} and settings["version"] == "1.0"
    assert str(tmp_path) not in json.dumps(result)


def spec(**other: object) -> MetricSpec:
    """A metric that counts frames."""
    return MetricSpec("Count", lambda a, b: torch.arange(len(a)), **other)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(moving_clip(2, 48, 64), FPS, tmp_path / "clip.mkv")


def test_mistakes_of_a_metric_are_one_line(monkeypatch: pytest.MonkeyPatch):
    """Catches a function that gives one value a clip, NaN or an error, and a spec that is none."""
    frames = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    assert spec().score("count", ClipPair(frames, frames)) == [0.0, 1.0]
    wrong = {
        "2 finite values expected, one a frame; .1,. came": lambda a, b: torch.ones(1),
        "2 finite values expected, one a frame; .2,. came": lambda a, b: torch.full(
            (2,), torch.nan
        ),
        r"Count failed .ZeroDivisionError: .*; correct its function": lambda a, b: 1 / 0,
    }
    for message, function in wrong.items():
        with pytest.raises(CodecError, match=f"metric count: {message}"):
            MetricSpec("Count", function).score("count", ClipPair(frames, frames))
    for other, message in (
        ({"tuning": "ssim"}, "tuning 'ssim' given"),
        ({"best": 2}, "best 2 given"),
        ({"takes": "planes"}, "takes 'planes' given; choose from rgb, pair"),
    ):
        with pytest.raises(CodecError, match=message):
            spec(**other)
    monkeypatch.setitem(registry._OWN, "metric", {})
    monkeypatch.setitem(registry._PATHS, "metric", {})
    registry.register("metric", "no_spec", "pathlib:Path")
    with pytest.raises(CodecError, match="pathlib registers a type; a MetricSpec expected"):
        spec_of("no_spec")
    registry.register("metric", "count", spec(best=1))
    assert spec_of("count").title == "Count" and spec_of("count").scale == "-10 log10(1 - Count)"
    assert Measure(["count"]).rule("count").startswith("Count, mean over frames, by ")
    ours = registry._BUILT_IN["metric"]
    for name in ours:
        with pytest.raises(CodecError, match=f"'{name}' is taken by Corvid"):
            registry.register("metric", name, spec())
    assert len(ours) == 13


@pytest.mark.parametrize("pixels", ["yuv420p", "rgb24"])
def test_an_external_codec_that_changes_nothing_has_no_error(
    clip: Path,
    tmp_path: Path,
    pixels: str,
):
    """Catches planes or channels in another order, and padding that is not cropped."""
    source = read_source(clip)
    copy = External("copy", "cp {input} {output}", "cp {input} {output}", (1,), pixels=pixels)
    coded = copy.code(source, 1, None, tmp_path)
    again = copy.decode(coded.file, source)
    assert torch.equal(coded.decoded, again.rgb)
    if pixels == "rgb24":
        assert torch.equal(coded.decoded, source.rgb) and coded.bytes == source.rgb.numel()
    else:
        assert coded.planes is not None and coded.bytes == 2 * 48 * 64 * 3 // 2
    asking = replace(
        copy,
        decoding='python -c \'import shutil; {quality} - 7 or shutil.copy("{input}", "{output}")\'',
    )
    kept = asking.code(source, 7, None, tmp_path).file
    assert torch.equal(
        asking.decode(kept.rename(tmp_path / f"stream{kept.suffix}"), source).rgb, coded.decoded
    )
    assert copy.complexity(source)["encode_fps"] > 0
    changed = External(
        "copy", "cp {input} {output}", "cp {input} {output}", (1,), pixels=pixels, version="2"
    )
    assert stream_key("a", copy, copy.settings(), 1, None, 1) != stream_key(
        "a", changed, changed.settings(), 1, None, 1
    )


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"encode": "cp {input}"}, "copy: encode: .*{input} and {output} are needed"),
        ({"decode": "cp {input} {output} {speed}"}, "copy: decode: .*known are {input}"),
        ({"encode": "cp '{input} {output}"}, "copy: encode: .* is no command"),
        ({"encode": ""}, "copy: encode: .*are needed"),
        ({"qualities": [1.5]}, "copy: qualities .*whole numbers"),
        ({"pixels": "p010"}, "copy: pixels 'p010'; choose from yuv420p, rgb24"),
        ({"suffix": "../a"}, "copy: suffix"),
    ],
)
def test_mistakes_of_an_external_codec_are_one_line(fields: dict, message: str):
    """Catches commands that only fail after hours, at the first point of a codec."""
    plain = {
        "name": "copy",
        "encode": "cp {input} {output}",
        "decode": "cp {input} {output}",
        "qualities": [1],
    }
    registry.build("anchor", {"family": "external"} | plain, "anchors: copy")
    with pytest.raises(CodecError, match=message) as error:
        registry.build("anchor", {"family": "external"} | plain | fields, "anchors: copy")
    assert "\n" not in str(error.value)


def test_commands_that_fail_are_said(clip: Path, tmp_path: Path):
    """Catches a program without output, with other frames, or with an error, that is scored."""
    source = read_source(clip)
    copy, nothing = "cp {input} {output}", "true {input} {output}"
    cases = {
        "encode wrote no .output.": External("a", nothing, copy, (1,)),
        "decode wrote no .output.": External("a", copy, nothing, (1,)),
        "frames of 64x48, 2 were encoded": External(
            "a", copy, "dd bs=4608 count=1 if={input} of={output}", (1,)
        ),
        "no_such_program: cannot be run": External(
            "a", "no_such_program {input} {output}", copy, (1,)
        ),
    }
    for number, (message, coder) in enumerate(cases.items()):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(CodecError, match=message):
            coder.code(source, 1, None, tmp_path / str(number))
