"""RD points and rd.json."""

import json
from pathlib import Path
from typing import Any

import pytest

from codec.errors import CodecError
from codec.evaluation import Point, RDResult, load, save

POINT = Point(
    codec="corvid",
    clip="clip",
    quality=7,
    frames=10,
    width=20,
    height=30,
    fps=25.0,
    bytes=600,
    metrics={"psnr_rgb": 31.5, "lpips_alex": None},
    encode_seconds=1.5,
    decode_seconds=0.5,
    file="streams/corvid/clip_q7.cvd",
    extra={"tune": None, "notes": ["small"]},
)


def write(folder: Path, **changes: Any) -> Path:
    """An rd.json of one point, with fields changed, or removed where the change is `...`."""
    path = folder / "rd.json"
    save(RDResult({}, [POINT]), path)
    content = json.loads(path.read_text())
    content["points"][0] = {k: v for k, v in {**content["points"][0], **changes}.items() if v is not ...}
    path.write_text(json.dumps(content))
    return path


def test_rate_is_the_size_of_the_file():
    """Catches bits for bytes, kilo of 1024, and a rate by coded in place of original frames."""
    assert POINT.bpp == 600 * 8 / (20 * 30 * 10)
    assert POINT.kbps == 600 * 8 / (10 / 25) / 1000


def test_the_file_holds_the_documented_fields_and_comes_back(tmp_path: Path):
    """Catches a renamed field, which breaks whoever reads results, and extra fields that are lost."""
    path = tmp_path / "rd.json"
    save(RDResult({"torch": "2"}, [POINT]), path)
    content = json.loads(path.read_text())
    assert content["schema"] == 1 and content["conditions"] == {"torch": "2"}
    fields = "codec clip quality frames width height fps bytes bpp kbps metrics encode_seconds decode_seconds file"
    assert list(content["points"][0])[:14] == fields.split()
    assert load(path) == RDResult({"torch": "2"}, [POINT])
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bytes": ...}, r"points\[0\]: lacks bytes"),
        ({"bytes": 601}, r"points\[0\].bpp: 0.8, but its bytes"),
        ({"kbps": None}, r"points\[0\].kbps: None"),
        ({"frames": "10"}, r"points\[0\].frames: '10', a whole number"),
        ({"frames": 0}, r"points\[0\].frames: 0, more than 0"),
        ({"metrics": {"psnr_rgb": "31"}}, r"points\[0\].metrics.psnr_rgb: '31', a number or null"),
        ({"metrics": [31]}, r"points\[0\].metrics: list"),
    ],
)
def test_a_point_that_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], message: str):
    """Catches a hand-edited or foreign result that would be plotted without a word."""
    path = write(tmp_path, **changes)
    with pytest.raises(CodecError, match=f"{path}: {message}"):
        load(path)


def test_other_files_are_refused(tmp_path: Path):
    """Catches a traceback for a missing file, other JSON, another schema, or a point that stands there twice."""
    path = tmp_path / "rd.json"
    with pytest.raises(CodecError, match="not a readable rd.json"):
        load(path)
    for text, message in (("{", "not a readable"), ("[]", "schema is 'list'"), ('{"schema": 2}', "schema is 2")):
        path.write_text(text)
        with pytest.raises(CodecError, match=message):
            load(path)
    save(RDResult({}, [POINT, POINT]), path)
    with pytest.raises(CodecError, match="stand there twice"):
        load(path)


def test_nan_is_never_written(tmp_path: Path):
    """Catches NaN in rd.json, which is not JSON and which browsers refuse."""
    with pytest.raises(ValueError, match="JSON"):
        save(RDResult({"x": float("nan")}, []), tmp_path / "rd.json")
    assert not (tmp_path / "rd.json").exists()
